"""Durable async RPC between actor processes.

`Runtime` joins a group, registers functions and calls them by name. A durable function gets a
`Context` as its first argument. Every error is an `UnderstudyError`.

Examples
--------
>>> from understudy import Context, Runtime
>>> runtime = Runtime.local()
>>> @runtime.register
... def greet(ctx: Context, name: str) -> str:
...     return f"Hello, {name}!"
>>> with runtime:
...     runtime.rpc("greet-1", greet, "Ann").result()
'Hello, Ann!'
"""

from understudy._version import __version__
from understudy.calls import Attempt, Calls, StoredCall
from understudy.context import Context
from understudy.current_context import current
from understudy.errors import (
    BrokerError,
    BrokerStartError,
    BrokerUnavailableError,
    CanceledError,
    ClockError,
    CommandError,
    CommitFailedError,
    ConfigurationError,
    DeadlineExceededError,
    DecodingError,
    EncodingError,
    HelloRefusedError,
    InvalidAddressError,
    InvalidArgumentsError,
    InvalidFunctionError,
    LateOptionsError,
    LinkClosedError,
    LinkError,
    LinkFullError,
    ListenError,
    NameInUseError,
    NonDeterminismError,
    NonRetryableError,
    PayloadTooLargeError,
    ProcessStartError,
    ProtocolMismatchError,
    PurgedError,
    RemoteError,
    RequestError,
    RestartLimitError,
    SealedValueError,
    StoppedError,
    StoreAccessError,
    StoreAddressError,
    StoreClosedError,
    StoreError,
    StoreFailedError,
    StoreFormatError,
    StoreGoneError,
    StoreLockedError,
    StoreVersionError,
    UnderstudyError,
    UnknownFunctionError,
    ValueDroppedError,
    WaitTimeoutError,
)
from understudy.groups import Group, Groups, Node
from understudy.handle import Handle, Handles
from understudy.info import Info
from understudy.options import CallOptions, poll
from understudy.promises import Promises, StoredPromise
from understudy.registry import Function
from understudy.retry import Constant, Exponential, Linear, Never, Retry
from understudy.runtime import Runtime
from understudy.schedules import Schedule, Schedules
from understudy_actors.interpreter.requests import Promise

__all__ = [
    # calling and being called
    "CallOptions",
    "Context",
    "Function",
    "Handle",
    "Handles",
    "Info",
    "Promise",
    "Runtime",
    "current",
    "poll",
    # looking into the store and the broker
    "Attempt",
    "Calls",
    "Group",
    "Groups",
    "Node",
    "Promises",
    "Schedule",
    "Schedules",
    "StoredCall",
    "StoredPromise",
    # retry policies
    "Constant",
    "Exponential",
    "Linear",
    "Never",
    "Retry",
    # errors
    "BrokerError",
    "BrokerStartError",
    "BrokerUnavailableError",
    "CanceledError",
    "CommandError",
    "ClockError",
    "CommitFailedError",
    "ConfigurationError",
    "DeadlineExceededError",
    "DecodingError",
    "EncodingError",
    "HelloRefusedError",
    "InvalidAddressError",
    "InvalidArgumentsError",
    "InvalidFunctionError",
    "LateOptionsError",
    "LinkClosedError",
    "LinkError",
    "LinkFullError",
    "ListenError",
    "NameInUseError",
    "NonDeterminismError",
    "PurgedError",
    "ValueDroppedError",
    "NonRetryableError",
    "PayloadTooLargeError",
    "ProcessStartError",
    "ProtocolMismatchError",
    "RemoteError",
    "RequestError",
    "RestartLimitError",
    "SealedValueError",
    "StoppedError",
    "StoreAccessError",
    "StoreAddressError",
    "StoreClosedError",
    "StoreError",
    "StoreFailedError",
    "StoreFormatError",
    "StoreGoneError",
    "StoreLockedError",
    "StoreVersionError",
    "UnderstudyError",
    "UnknownFunctionError",
    "WaitTimeoutError",
    "__version__",
]
