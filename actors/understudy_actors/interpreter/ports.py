"""The functions and values that the interpreter works with. The SDK fills these protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from understudy_store.records import PromiseRecord

Kind: TypeAlias = Literal["generator", "coroutine", "plain"]


class RetryPolicy(Protocol):
    """When a leaf that raised is tried again."""

    def delay_s(self, attempt: int, error: BaseException) -> float | None:
        """Seconds until the next attempt after `attempt` (from 1) failed; None: give up."""


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
    @property
    def retry(self) -> RetryPolicy | None: ...


class Functions(Protocol):
    """The registry of a node."""

    def get(self, name: str, version: int | None = None) -> FunctionLike:
        """The function, or an error that says what is known instead."""

    def names(self) -> list[str]: ...


class Values(Protocol):
    """How values become bytes; the floors below never look inside."""

    def encode_call(
        self, function: FunctionLike | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes: ...
    def decode_call(
        self, function: FunctionLike, data: bytes | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    def encode_value(self, value: Any, what: str) -> bytes: ...
    def decode_value(self, data: bytes | None, hint: Any = None) -> Any: ...
    def encode_error(self, error: BaseException) -> bytes: ...
    def settled_error(self, record: PromiseRecord) -> BaseException:
        """The exception that a promise that was not resolved stands for."""

    def retry_policy(self, wire: str | None) -> RetryPolicy | None:
        """The policy that a call's header names; None where it names none."""

    @property
    def default_retry(self) -> RetryPolicy: ...
