"""Whatever Python calls a callable, as a durable function, on a real runtime."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from understudy import Context, Never, Runtime
from understudy.errors import ConfigurationError, InvalidArgumentsError, RequestError


@dataclass
class Money:
    amount: int


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime.local(retry=Never(), pickle=False) as made:
        yield made


def passing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return what the function gives, as most decorators do."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def listing(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return list(fn(*args, **kwargs))

    return wrapper


def on_asyncio(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(fn(*args, **kwargs))

    return wrapper


def in_coroutine(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def double(ctx: Any, number: int) -> int:
    return number * 2


def generator(ctx: Context, number: int) -> Generator[Any, Any, Money]:
    doubled = yield ctx.run(double, number)
    return Money(doubled)


async def coroutine(ctx: Context, number: int) -> Money:
    return Money(await ctx.run(double, number))


async def sleepy(ctx: Context, number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def rows(ctx: Context, number: int) -> Iterator[int]:
    yield from range(number)


class Shop:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def price(self, ctx: Context, number: int) -> int:
        return number * self.factor

    def order(self, ctx: Context, number: int) -> Generator[Any, Any, int]:
        price = yield from ctx.run(self.price, number)
        return price + (yield from ctx.rpc(self.price, number))

    @classmethod
    def of_class(cls, ctx: Context, number: int) -> str:
        return f"{cls.__name__} {number}"

    @staticmethod
    async def of_none(ctx: Context, number: int) -> int:
        return number + 1

    def __call__(self, ctx: Context, number: int) -> Generator[Any, Any, int]:
        return (yield from ctx.run(double, number)) * self.factor


SHOP = Shop(3)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (passing(generator), Money(8)),
        (passing(passing(coroutine)), Money(8)),
        (passing(double), 8),
        (listing(rows), [0, 1, 2, 3]),
        (on_asyncio(sleepy), 8),
        (in_coroutine(double), 8),
        (functools.partial(generator, number=4), Money(8)),
        (functools.partial(passing(coroutine)), Money(8)),
        (SHOP.price, 12),
        (Shop.of_class, "Shop 4"),
        (Shop.of_none, 5),
        (SHOP, 24),
        (functools.partial(SHOP), 24),
        (passing(SHOP), 24),
        (lambda ctx, number: generator(ctx, number), {"amount": 8}),
    ],
)
@pytest.mark.parametrize("where", ["rpc", "step"])
def test_all_kinds(runtime: Runtime, fn: Any, expected: Any, where: str) -> None:
    args = () if isinstance(fn, functools.partial) and fn.keywords else (4,)
    if where == "rpc":
        runtime.register(fn, name="it")
        assert runtime.rpc("x", fn, *args).result(10) == expected
        return

    def outer(ctx: Context) -> Any:
        found = yield ctx.run(fn, *args)
        assert found == expected
        return [found, (yield ctx.run(fn, *args))] == [expected, expected]

    runtime.register(outer)
    assert runtime.rpc("x", outer).result(10) is True


def test_a_method_is_found_again(runtime: Runtime) -> None:
    runtime.register(SHOP.order)
    runtime.register(SHOP.price)
    runtime.register(SHOP.price)  # The same once more.
    assert runtime.rpc("a", SHOP.order, 4).result(10) == 24
    assert runtime.run("b", SHOP.order, 4).result(10) == 24
    with pytest.raises(ConfigurationError, match="registered twice"):
        runtime.register(Shop(4).price)
    with pytest.raises(ConfigurationError, match="price is not registered"):
        runtime.rpc("c", Shop(4).price, 4)


def test_a_quick_step_may_return_a_coroutine(runtime: Runtime) -> None:
    """The executor performs steps of quick functions within their caller's step."""
    step = passing(coroutine)

    @runtime.register
    def outer(ctx: Context) -> Any:
        total = 0
        for _ in range(20):
            money = yield ctx.run(step, 1)
            total += money.amount
        return total

    assert runtime.rpc("x", outer).result(10) == 40


def test_parameters_of_any_name(runtime: Runtime) -> None:
    @runtime.register
    def plot(
        ctx: Context,
        f: str = "",
        id: int = 0,
        self: int = 0,
        cron: int = 0,
        args: int = 0,
        kwargs: int = 0,
        kind: int = 0,
        fn: int = 0,
        name: int = 0,
    ) -> list[Any]:
        return [f, id, self, cron, args, kwargs, kind, fn, name]

    @runtime.register
    def greedy(ctx: Context, /, **kwargs: int) -> dict[str, int]:
        return kwargs

    @runtime.register
    def parent(ctx: Context) -> Any:
        found = []
        for call in (ctx.rpc, ctx.run):
            found.append((yield call(plot, **names)))
            found.append((yield call(greedy, ctx=1, **names)))
        promise = yield ctx.detached(plot, **names)
        return [*found, (yield promise), (yield ctx.rpc("plot", **names))]

    names: Any = {"f": 1, "id": 2, "self": 3, "cron": 4, "args": 5, "kwargs": 6}
    names |= {"kind": 7, "fn": 8, "name": 9}
    values = list(names.values())
    assert runtime.rpc("a", plot, **names).result(10) == values
    assert runtime.run("b", plot, **names).result(10) == values
    assert runtime.rpc("c", "plot", **names).result(10) == values
    assert runtime.schedules.create("s", "0 0 1 1 *", plot, **names).id == "s"
    more = {"ctx": 1, **names}
    assert runtime.rpc("d", greedy, **more).result(10) == more
    assert runtime.rpc("e", parent).result(10) == [values, more] * 2 + [values] * 2


class TestOtherRuntimes:
    def test_a_function_of_another_runtime_keeps_types_and_options(self) -> None:
        bank = Runtime("bank")

        @bank.register(name="charge-it", version=3)
        def charge(ctx: Context, money: Money) -> Money:
            assert isinstance(money, Money)
            return Money(money.amount + ctx.info.version)

        with Runtime.local(group="shop") as shop:
            shop.run("here", charge, Money(1)).result(10)  # Which registers it here, too.
            promise = shop.promises.get("here")
            assert promise.tags["understudy:target"].startswith("poll://any@shop")

            @shop.register
            def outer(ctx: Context) -> Any:
                paid = yield ctx.rpc(charge, Money(2)).options(target="shop")
                return isinstance(paid, Money), paid

            assert shop.rpc("x", outer).result(10) == (True, {"amount": 5})

    def test_calls_go_to_its_group(self) -> None:
        bank = Runtime("bank")
        bank.register(double)
        with Runtime.local(group="shop", retry=Never()) as shop:
            bank_here = Runtime("bank", url=shop.url)
            bank_here.register(double)
            with bank_here:
                assert shop.rpc("x", double, 2).result(10) == 4
                assert shop.rpc("y", double, number=2).result(10) == 4
            with pytest.raises(InvalidArgumentsError):
                shop.rpc("z", double)  # type: ignore[call-overload]
            assert shop.promises.get("x").tags["understudy:target"] == "poll://any@bank"


class TestTargets:
    def test_a_function_has_a_target(self, runtime: Runtime) -> None:
        @runtime.register(target="bank")
        def charge(ctx: Context) -> str:
            raise AssertionError("nothing serves its group")

        @runtime.register
        def outer(ctx: Context) -> Any:
            for call in (
                ctx.begin_rpc(charge),
                ctx.begin_rpc("charge"),
                ctx.detached(charge),
                ctx.begin_rpc(charge).options(target="other"),
            ):
                _ = yield call
            yield ctx.promise(id="done")
            yield ctx.sleep(3600)

        def target(id: str) -> str:
            return runtime.promises.get(id).tags["understudy:target"]

        runtime.rpc("a", charge)
        runtime.rpc("b", "charge")
        runtime.options(target="other").rpc("c", charge)
        assert [target(id) for id in "abc"] == ["poll://any@bank"] * 2 + ["poll://any@other"]
        schedule = runtime.schedules.create("s", "0 0 1 1 *", charge)
        assert schedule.tags["understudy:target"] == "poll://any@bank"
        runtime.rpc("x", outer)
        while not list(runtime.promises.search(prefix="done")):
            runtime.promises.get("x")
        assert [target(f"x.{n}") for n in (1, 2, 3)] == ["poll://any@bank"] * 3
        assert target("x.4") == "poll://any@other"
        runtime.cancel("x")

    def test_a_bad_target_is_refused_where_it_is_registered(self, runtime: Runtime) -> None:
        with pytest.raises(ConfigurationError, match="target"):
            runtime.register(double, target="not a group!")


class TestMistakes:
    def test_the_id_was_forgotten(self, runtime: Runtime) -> None:
        runtime.register(double)
        wrong: Any = runtime
        for call in (wrong.rpc, wrong.run, wrong.map, wrong.schedules.create):
            with pytest.raises(ConfigurationError, match="where the id of the call belongs"):
                call(double, double, 4)
        with pytest.raises(ConfigurationError, match="4 stands where the function belongs"):
            wrong.rpc("double", 4)

    def test_the_function_was_called(self, runtime: Runtime) -> None:
        runtime.register(generator)
        runtime.register(coroutine)
        wrong: Any = runtime

        def outer(ctx: Any, how: str) -> Any:
            if how == "rpc":
                yield ctx.rpc(generator(ctx, 4))
            elif how == "run":
                yield ctx.run(coroutine(ctx, 4))
            else:
                yield generator(ctx, 4)

        runtime.register(outer)
        for called in (generator, coroutine):
            with pytest.raises(ConfigurationError, match="was called directly"):
                wrong.rpc("a", called(wrong, 4))
        for how in ("rpc", "run"):
            with pytest.raises((ConfigurationError, TypeError), match="was called"):
                runtime.rpc(how, outer, how).result(10)
        with pytest.raises(RequestError, match="generator was called directly"):
            runtime.rpc("yield", outer, "yield").result(10)

    def test_an_argument_was_left_out(self, runtime: Runtime) -> None:
        runtime.register(double)

        @runtime.register
        def outer(ctx: Any, how: str) -> Any:
            if how == "direct":
                return double(4)  # type: ignore[call-arg]
            return (yield getattr(ctx, how)(double))

        with pytest.raises(InvalidArgumentsError, match=r"missing 1 .*'number'.*\(number\)"):
            runtime.rpc("a", double)  # type: ignore[call-overload]
        for how in ("rpc", "run"):
            with pytest.raises(InvalidArgumentsError, match=r"missing 1 .*'number'"):
                runtime.rpc(how, outer, how).result(10)
        with pytest.raises(InvalidArgumentsError, match="'number'"):
            runtime.options(target=runtime.group).rpc("b", "double").result(10)
        with pytest.raises(TypeError, match="missing 1") as caught:
            runtime.rpc("direct", outer, "direct").result(10)
        assert "yield ctx.rpc(double, ...)" in str(caught.value.__notes__)

    def test_an_async_generator_from_a_wrapper(self, runtime: Runtime) -> None:
        async def numbers(ctx: Any) -> Any:
            yield 1

        wrapped = passing(numbers)
        runtime.register(wrapped)
        with pytest.raises(RequestError, match="returned an async generator"):
            runtime.rpc("a", wrapped).result(10)


def test_the_log_takes_any_id(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "understudy.function")

    @runtime.register
    def greet(ctx: Context, name: str) -> None:
        ctx.log.info("hello %s", name)
        ctx.log.info("100%")
        try:
            raise OSError("down")
        except OSError:
            ctx.log.exception("failed %d%%", 5)

    runtime.rpc("a%20b%s", greet, "ann").result(10)
    ours = [record for record in caplog.records if record.name == "understudy.function"]
    assert [record.getMessage() for record in ours] == [
        "greet a%20b%s: hello ann",
        "greet a%20b%s: 100%",
        "greet a%20b%s: failed 5%",
    ]
    assert {(record.filename, record.funcName) for record in ours} == {
        ("test_callables.py", "greet")
    }
    assert ours[2].exc_info is not None
