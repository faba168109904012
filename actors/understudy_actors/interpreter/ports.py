"""The functions and values that the interpreter works with. The SDK fills these protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from understudy_store.records import PromiseRecord

Kind: TypeAlias = Literal["generator", "coroutine", "plain"]
#: the library of an event loop
LoopName: TypeAlias = Literal["trio", "asyncio"]
LOOPS: Final[tuple[LoopName, ...]] = get_args(LoopName)


class RetryPolicy(Protocol):
    """The rule by which a leaf that raised is tried again."""

    def delay_s(self, attempt: int, error: BaseException) -> float | timedelta | None:
        """Return the seconds until the next attempt after `attempt` (from 1); None: give up."""


class FunctionLike(Protocol):
    """A function that can be called durably."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def fn(self) -> Callable[..., Any]: ...
    @property
    def kind(self) -> Kind: ...
    #: the loop that runs it if it is, or returns, a coroutine
    @property
    def loop(self) -> LoopName: ...
    @property
    def retry(self) -> RetryPolicy | None: ...


class Functions(Protocol):
    """The registry of a node."""

    def get(self, name: str, version: int | None = None) -> FunctionLike:
        """Return the function, or raise an error that names the functions that are known."""

    def names(self) -> list[str]: ...


class Values(Protocol):
    """Encoding and decoding of values; the floors below never look inside the bytes."""

    def encode_call(
        self, function: FunctionLike | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes: ...
    def decode_call(
        self, function: FunctionLike | None, data: bytes | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    def encode_value(self, value: Any, what: str, function: FunctionLike | None = None) -> bytes:
        """Encode a value; `what` names it in the error if it cannot travel.

        If it is a result, `function` has returned it.
        """

    def decode_value(self, data: bytes | None, hint: Any = None) -> Any:
        """Decode a value, as the type `hint` if there is one."""

    def encode_error(self, error: BaseException) -> bytes: ...
    def settled_error(self, record: PromiseRecord) -> BaseException:
        """Return the exception that a wait for this promise raises; it was not resolved."""

    def retry_policy(self, wire: str | None) -> RetryPolicy | None:
        """Return the policy in a call's header; None if the header is absent."""

    @property
    def default_retry(self) -> RetryPolicy: ...
