"""The class of an exception as text, whatever the class says about itself."""

from __future__ import annotations

from typing import cast

from understudy.errors import RemoteError
from understudy_actors.error_classes import error_class
from understudy_store.records import ERROR_CHARS_MAX


class _Odd(type):
    def __getattribute__(cls, name: str) -> object:
        if name == "__qualname__":
            raise SystemExit
        return super().__getattribute__(name)


class _OddError(metaclass=_Odd):
    """No exception, because whoever looks through all classes of those would meet it."""


def test_the_module_is_named_unless_it_is_pythons() -> None:
    assert error_class(KeyError("x")) == "KeyError"
    assert error_class(RemoteError("shop.Declined", "no money")) == "shop.Declined"


def test_odd_classes_are_named_somehow() -> None:
    assert error_class(cast(BaseException, _OddError())) == "unknown"
    long = type("E" * 500 + "nd\n", (Exception,), {})
    assert error_class(long()).endswith("nd")
    assert len(error_class(long())) == ERROR_CHARS_MAX
