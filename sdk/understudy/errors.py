"""Every error that a public call raises. Each is an `UnderstudyError` and says what to do next.

The errors of the lower floors (store, broker, node) are imported here, so that one module has them
all. The arguments of each class are all that its constructor needs: so every error can be pickled,
and can travel as the failure of a durable function and arrive as itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from understudy import unanswered
from understudy_actors import errors as _actors
from understudy_actors.errors import CommandError as CommandError
from understudy_actors.errors import LateOptionsError as LateOptionsError
from understudy_actors.errors import NonDeterminismError as NonDeterminismError
from understudy_actors.errors import ProcessStartError as ProcessStartError
from understudy_actors.errors import PurgedError as PurgedError
from understudy_actors.errors import RequestError as RequestError
from understudy_actors.errors import RestartLimitError as RestartLimitError
from understudy_actors.errors import ValueDroppedError as ValueDroppedError
from understudy_broker.errors import BrokerError as BrokerError
from understudy_broker.errors import BrokerStartError as BrokerStartError
from understudy_broker.errors import ClockError as ClockError
from understudy_broker.errors import CommitFailedError as CommitFailedError
from understudy_broker.errors import HelloRefusedError as HelloRefusedError
from understudy_broker.errors import LinkClosedError as LinkClosedError
from understudy_broker.errors import LinkError as LinkError
from understudy_broker.errors import LinkFullError as LinkFullError
from understudy_broker.errors import ListenError as ListenError
from understudy_broker.errors import ProtocolMismatchError as ProtocolMismatchError
from understudy_store.addresses import InvalidAddressError as InvalidAddressError
from understudy_store.errors import StoreAccessError as StoreAccessError
from understudy_store.errors import StoreAddressError as StoreAddressError
from understudy_store.errors import StoreClosedError as StoreClosedError
from understudy_store.errors import StoreError as StoreError
from understudy_store.errors import StoreFailedError as StoreFailedError
from understudy_store.errors import StoreFormatError as StoreFormatError
from understudy_store.errors import StoreGoneError as StoreGoneError
from understudy_store.errors import StoreLockedError as StoreLockedError
from understudy_store.errors import StoreVersionError as StoreVersionError
from understudy_store.errors import UnderstudyError as UnderstudyError

PLAIN_DATA = (
    "None, bool, int, float, str, bytes, list, tuple, set, dict, dates and times, Decimal, UUID, "
    "enums, dataclasses, msgspec and pydantic models"
)


class ConfigurationError(UnderstudyError, ValueError):
    """A parameter, an option or a setting has a value that cannot be used."""


class InvalidFunctionError(UnderstudyError, TypeError):
    """An object cannot be registered, because it cannot be called durably."""


class InvalidArgumentsError(UnderstudyError, TypeError):
    """The arguments of a call do not suit the parameters of the function."""


class StoppedError(UnderstudyError, RuntimeError):
    """The runtime was stopped, so it can neither call nor wait any more."""


class WaitTimeoutError(UnderstudyError, TimeoutError):
    """A call was still pending after the time that `Handle.result` was to wait; it goes on.

    Parameters
    ----------
    promise_id : str
        The id of the call.
    timeout_s : float
        The time that was waited, in seconds.
    """

    def __init__(self, promise_id: str, timeout_s: float) -> None:
        super().__init__(promise_id, timeout_s)
        self.promise_id = promise_id
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return (
            f"{self.promise_id!r} is still pending after {self.timeout_s:g} s. It goes on: ask "
            f"again, or see where it stands with: understudy tree {self.promise_id}"
        )


class NonRetryableError(UnderstudyError):
    """The base of failures after which a function is not tried again.

    Raise it in a function, or a class of yours that inherits it.
    """


class BrokerUnavailableError(UnderstudyError):
    """No broker answers at an address.

    Parameters
    ----------
    url : str
        The address.
    reason : str, optional
        What the last attempt to connect found.
    others_answer : bool, optional
        Other brokers of the deployment answer.
    """

    def __init__(self, url: str, reason: str = "", others_answer: bool = False) -> None:
        super().__init__(url, reason, others_answer)
        self.url = url
        self.reason = reason
        self.others_answer = others_answer

    def __str__(self) -> str:
        if self.reason:
            return (
                f"the broker at {self.url} is not available: {self.reason}. If it runs, its log "
                "says more; another address is given with Runtime(url=...) or UNDERSTUDY_URL"
            )
        said = unanswered.text(
            self.url, "Runtime(url=...) or UNDERSTUDY_URL", others_answer=self.others_answer
        )
        return said if self.others_answer else f"{said}; or use Runtime.local(): it needs none"


class NameInUseError(UnderstudyError):
    """Another node that is alive has this id.

    Parameters
    ----------
    name : str
        The id.
    group : str
        The group of the node that could not connect.
    """

    def __init__(self, name: str, group: str) -> None:
        super().__init__(name, group)
        self.name = name
        self.group = group

    def __str__(self) -> str:
        return (
            f"node id {self.name!r} in group {self.group!r} belongs to a node that is alive. Stop "
            "that node, or give this one another id=, or none: then a fresh id is made up"
        )


class DeadlineExceededError(UnderstudyError):
    """A promise was still pending at its deadline.

    Parameters
    ----------
    promise_id : str
        The id of the promise.
    """

    def __init__(self, promise_id: str) -> None:
        super().__init__(promise_id)
        self.promise_id = promise_id

    def __str__(self) -> str:
        return (
            f"promise {self.promise_id!r} was not settled before its deadline. If the work needs "
            "longer, give it .options(timeout=...); a child's deadline never exceeds its parent's. "
            f"To see where it stands: understudy tree {self.promise_id}"
        )


class CanceledError(UnderstudyError):
    """A promise was canceled, by itself or with its call graph.

    Parameters
    ----------
    promise_id : str
        The id of the promise.
    """

    def __init__(self, promise_id: str) -> None:
        super().__init__(promise_id)
        self.promise_id = promise_id

    def __str__(self) -> str:
        return f"promise {self.promise_id!r} was canceled. To do the work after all, use another id"


class UnknownFunctionError(UnderstudyError, LookupError):
    """No function is registered under a name and version.

    Parameters
    ----------
    name : str
        The name that was called.
    version : int or None, optional
        The version that was called; None or 0 means the highest.
    versions : sequence of int, optional
        The versions that are registered under this name.
    similar : sequence of str, optional
        Registered names that look like it.
    known : sequence of str, optional
        Some of the names that are registered.
    """

    def __init__(
        self,
        name: str,
        version: int | None = None,
        versions: Sequence[int] = (),
        similar: Sequence[str] = (),
        known: Sequence[str] = (),
    ) -> None:
        super().__init__(name, version, tuple(versions), tuple(similar), tuple(known))
        self.name = name
        self.version = version
        self.versions = tuple(versions)
        self.similar = tuple(similar)
        self.known = tuple(known)

    def __str__(self) -> str:
        if self.versions:
            known = ", ".join(map(str, self.versions))
            problem = f"function {self.name!r} has no version {self.version}, only {known}"
        else:
            problem = f"no function {self.name!r} is registered here"
        if self.similar:
            problem += f"; similar: {', '.join(map(repr, self.similar))}"
        elif self.known:
            problem += f"; there are {', '.join(map(repr, self.known))}"
        return f"{problem}. Register it with @runtime.register before the runtime starts"


class EncodingError(UnderstudyError):
    """A value cannot be sent.

    Parameters
    ----------
    where : str
        The value ("argument 2 ('when')", "the result of foo"), with the path inside it.
    problem : str
        What is wrong there.
    advice : str, optional
        What to do about it.
    """

    def __init__(
        self,
        where: str,
        problem: str,
        advice: str = f"Pass plain data ({PLAIN_DATA}), or allow all with Runtime(pickle=True)",
    ) -> None:
        super().__init__(where, problem, advice)
        self.where = where
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}. {self.advice}"


class PayloadTooLargeError(EncodingError):
    """A value is larger than the store accepts.

    Parameters
    ----------
    where : str
        The value, as in `EncodingError`.
    size : int or None
        Its size when encoded, in bytes; None if it was not counted to the end.
    size_max : int
        The largest size that is allowed, in bytes.
    """

    def __init__(self, where: str, size: int | None, size_max: int) -> None:
        self.size = size
        self.size_max = size_max
        amount = "more" if size is None else f"{size:,} bytes"
        super().__init__(
            where,
            f"{amount} when encoded, and at most {size_max:,} bytes are allowed",
            "Store the data elsewhere and pass a reference to it, or split it over several calls",
        )
        self.args = (where, size, size_max)


class DecodingError(UnderstudyError):
    """Received data cannot be read: damaged, pickled, or unlike what the annotation says.

    Parameters
    ----------
    where : str
        The value, as in `EncodingError`.
    problem : str
        What is wrong there.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class SealedValueError(DecodingError, _actors.UnreadableError):
    """A value cannot be opened: this process lacks the key, or the value was changed or moved.

    It says nothing about the call, which has the result that it has for those with the key. A task
    whose node cannot open a value is parked.
    """


class RemoteError(UnderstudyError):
    """A function failed elsewhere with an exception that cannot be rebuilt in this process.

    Parameters
    ----------
    type_name : str
        The class of the exception, as "module.QualName".
    message : str
        Its text.
    remote_traceback : str, optional
        The traceback from there; may be empty.
    args_repr : str, optional
        Its arguments, as text.
    """

    #: The encoding that was received. It is sent on unchanged, so a process that knows the class
    #: still gets the original exception.
    received: bytes | None = None

    def __init__(
        self, type_name: str, message: str, remote_traceback: str = "", args_repr: str = ""
    ) -> None:
        super().__init__(type_name, message, remote_traceback, args_repr)
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback
        self.args_repr = args_repr

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class RemoteTraceback(Exception):
    """The cause of an exception that was raised elsewhere; prints as the traceback from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def innermost(error: BaseException) -> BaseException:
    """Return the first error in nested exception groups, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
