"""The registry: names, versions, kinds, hints and arguments."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from understudy.errors import ConfigurationError, UnknownFunctionError
from understudy.registry import Function, Registry
from understudy.retry import Never
from understudy.values import Codec

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]


@dataclass
class Item:
    sku: str


def generator(ctx: Any, item: Item) -> Generator[Any, Any, Item]:
    yield item
    return item


def iterator(ctx: Any) -> Iterator[Item]:
    yield Item("a")


async def coroutine(ctx: Any, item: Item) -> Item:
    return item


def plain(ctx: Any, item: Item, missing: Missing | None = None) -> Item:
    return item


async def async_generator(ctx: Any) -> AsyncIterator[int]:
    yield 1


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


def marked(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function as Python 3.12 does, and before it only asyncio."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(fn)
    fn._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return fn


class Callables:
    @classmethod
    def of_class(cls, ctx: Any, x: int) -> Iterator[int]:
        yield x

    def method(self, ctx: Any, x: int) -> None:
        raise AssertionError("only its signature counts")

    async def __call__(self, ctx: Any) -> None:
        raise AssertionError("only its signature counts")


class TestFunction:
    @pytest.mark.parametrize(
        ("fn", "kind"),
        [
            (generator, "generator"),
            (iterator, "generator"),
            (coroutine, "coroutine"),
            (plain, "plain"),
            (decorated(generator), "plain"),
            (decorated(decorated(coroutine)), "plain"),
            (decorated(async_generator), "plain"),
            (staticmethod(generator), "generator"),
            (functools.partial(staticmethod(coroutine)), "coroutine"),
            (functools.partial(generator, item=Item("a")), "generator"),
            (functools.partial(functools.partial(coroutine)), "coroutine"),
            (functools.partial(Callables()), "coroutine"),
            (marked(lambda ctx: None), "coroutine"),
            (Callables.of_class, "generator"),
            (lambda ctx: None, "plain"),
            (lambda ctx: (yield), "generator"),
            (lambda *args: None, "plain"),
            (Callables().method, "plain"),
        ],
    )
    def test_kind(self, fn: Any, kind: str) -> None:
        assert Function(fn).kind == kind

    def test_objects_that_are_called(self) -> None:
        function = Function(Callables())
        assert (function.name, function.kind) == ("Callables", "coroutine")
        assert Function(Callables(), name="c").name == "c"

    @pytest.mark.parametrize(
        "fn",
        [generator, coroutine, plain, decorated(plain), decorated(generator), decorated(coroutine)],
    )
    def test_hints(self, fn: Any) -> None:
        function = Function(fn)
        codec = Codec()
        data = codec.encode_call((Item("a"),), {})
        assert codec.decode_call(data, function.types) == ((Item("a"),), {})
        assert function.types.names[0] == "item"
        assert function.result_hint is Item

    def test_no_hint(self) -> None:
        assert Function(iterator).result_hint is None
        assert Function(lambda ctx: None).result_hint is None

    def test_a_wrapper_of_a_generator_without_result_gives_what_it_likes(self) -> None:
        def rows(ctx: Any) -> Generator[int, None, None]:
            yield 1

        assert Function(rows).result_hint in (None, type(None))
        assert Function(decorated(rows)).result_hint is None

    def test_leaves_make_no_calls(self) -> None:
        assert not Function(plain).may_make_calls
        assert not Function(decorated(plain)).may_make_calls
        assert Function(generator).may_make_calls
        assert Function(decorated(coroutine)).may_make_calls

    def test_names_and_places(self) -> None:
        line = inspect.getsourcelines(plain)[1]
        for fn in (plain, decorated(plain), functools.partial(plain)):
            function = Function(fn)
            assert function.name == "plain"
            assert function.where == f"test_registry.py:{line}"
        assert Function(plain, name="other").name == "other"

    @pytest.mark.parametrize(
        ("fn", "message"),
        [
            (lambda: None, "no parameter for the context"),
            (lambda *, ctx: None, "no parameter for the context"),
            (lambda **ctx: None, "no parameter for the context"),
            (async_generator, "async generator"),
            (Callables.__dict__["of_class"], "has no class yet"),
            (iterator(None), "iterator was called"),
            (Item, "is not a function"),
            (max, "does not show its parameters"),
        ],
    )
    def test_what_cannot_be_called_durably(self, fn: Any, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            Function(fn)

    @pytest.mark.parametrize(
        "given",
        [{"version": 0}, {"version": "1"}, {"name": ""}, {"timeout_s": -1}, {"retry": Never}],
        ids=repr,
    )
    def test_options_that_make_no_sense(self, given: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            Function(plain, **given)

    def test_options(self) -> None:
        function = Function(plain, version=3, retry=Never(), timeout_s=timedelta(seconds=2))
        assert (function.version, function.retry, function.timeout_s) == (3, Never(), 2.0)


def foo(ctx: Any, x: int, /, y: int, z: int = 1, *, k: int = 2) -> None:
    raise AssertionError("only its signature counts")


class TestArguments:
    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [((1, 2), {}), ((1, 2, 3), {}), ((1,), {"y": 2}), ((1, 2), {"k": 3, "z": 4})],
    )
    def test_that_suit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        Function(foo).check_arguments(args, kwargs)

    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            ((), {}),
            ((1,), {}),
            ((1, 2, 3, 4), {}),
            ((1, 2), {"y": 3}),
            ((1, 2), {"nope": 3}),
            ((), {"x": 1, "y": 2}),
        ],
    )
    def test_that_do_not_fail_as_python_does(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        with pytest.raises(TypeError) as python:
            foo(None, *args, **kwargs)
        with pytest.raises(TypeError) as ours:
            Function(foo).check_arguments(args, kwargs)
        parameters = "; its parameters, beside the context: (x, /, y, z=..., *, k=...)"
        assert str(ours.value) == str(python.value) + parameters

    def test_the_message(self) -> None:
        function = Function(lambda ctx, x: None, name="foo")
        with pytest.raises(
            TypeError, match=r"^foo\(\) missing 1 required positional argument: 'x'; .*: \(x\)$"
        ):
            function.check_arguments((), {})

    def test_of_any_shape(self) -> None:
        for fn in (lambda *args, **kwargs: None, lambda ctx, *args, k=Item, **others: None):
            Function(fn).check_arguments((1, 2, 3), {"a": 1})
        Function(functools.partial(foo, None)).check_arguments((2,), {"k": 3})
        Function(Callables().method).check_arguments((2,), {})


class TestRegistry:
    def test_versions(self) -> None:
        registry = Registry()
        one = registry.register(plain)
        three = registry.register(decorated(plain), version=3)
        assert registry.get("plain") is three
        assert registry.get("plain", 0) is three
        assert registry.get("plain", 1) is one
        assert registry.functions() == [one, three]

    def test_unknown_names_and_versions(self) -> None:
        registry = Registry()
        registry.register(plain, version=2)
        registry.register(coroutine)
        with pytest.raises(UnknownFunctionError, match=r"'zebra' .* there are .*'plain'.*Register"):
            registry.get("zebra")
        with pytest.raises(UnknownFunctionError, match=r"no function 'plane' .*similar: 'plain'"):
            registry.get("plane")
        with pytest.raises(UnknownFunctionError, match="has no version 7, only 2") as caught:
            registry.get("plain", 7)
        assert caught.value.versions == (2,)
        with pytest.raises(LookupError, match="Register it with"):
            registry.get("zzz", 1)

    def test_the_same_function_again_is_fine(self) -> None:
        registry = Registry()
        registry.register(plain)
        again = registry.register(plain, timeout_s=3)
        assert registry.get("plain") is again
        assert registry.of(plain) is again

    def test_another_under_the_same_name_is_not(self) -> None:
        registry = Registry()
        first = registry.register(plain)
        with pytest.raises(ValueError, match="registered twice") as caught:
            registry.register(coroutine, name="plain")
        assert f"{first.where} and at test_registry.py:" in str(caught.value)
        assert registry.get("plain") is first
        assert registry.of(coroutine) is None

    def test_unless_it_replaces_it(self) -> None:
        registry = Registry()
        registry.register(plain)
        second = registry.register(coroutine, name="plain", replace=True)
        assert registry.get("plain") is second
        assert registry.of(plain) is None
        assert registry.of(coroutine) is second

    def test_a_failed_registration_leaves_nothing(self) -> None:
        registry = Registry()
        with pytest.raises(TypeError):
            registry.register(async_generator)
        assert registry.functions() == []

    def test_finding_by_function(self) -> None:
        registry = Registry()
        function = registry.register(plain, name="p")
        assert registry.of(plain) is function
        assert registry.of(generator) is None
