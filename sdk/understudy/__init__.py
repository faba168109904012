"""Durable async RPC between actor processes.

``Runtime`` joins a group and calls functions by name; ``Context`` is what a durable function gets.
"""

from understudy._version import __version__
from understudy.context import Context, Info
from understudy.errors import (
    BrokerUnavailableError,
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    DecodingError,
    EncodingError,
    NameInUseError,
    NonDeterminismError,
    NonRetryableError,
    PayloadTooLargeError,
    RemoteError,
    UnderstudyError,
    UnknownFunctionError,
)
from understudy.handle import Handle
from understudy.options import poll
from understudy.retry import Constant, Exponential, Linear, Never, Retry
from understudy.runtime import Runtime
from understudy_actors.errors import CommandError
from understudy_actors.interpreter.requests import Promise

__all__ = [
    "BrokerUnavailableError",
    "CanceledError",
    "CommandError",
    "ConfigurationError",
    "Constant",
    "Context",
    "DeadlineExceededError",
    "DecodingError",
    "EncodingError",
    "Exponential",
    "Handle",
    "Info",
    "Linear",
    "NameInUseError",
    "Never",
    "NonDeterminismError",
    "NonRetryableError",
    "PayloadTooLargeError",
    "Promise",
    "RemoteError",
    "Retry",
    "Runtime",
    "UnderstudyError",
    "UnknownFunctionError",
    "__version__",
    "poll",
]
