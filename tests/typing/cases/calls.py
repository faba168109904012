"""What the types of calls are; checked by the normal run of mypy, never executed.

`yield from` and `await` give exact types; a plain `yield` gives Any, as Python has it.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any, assert_type

from understudy import (
    CallOptions,
    Context,
    Handle,
    Handles,
    Promise,
    Runtime,
    Schedule,
    StoredPromise,
)

runtime = Runtime.local()


@runtime.register
def generator(ctx: Context, number: int, *, text: str = "") -> Generator[Any, Any, list[str]]:
    yield ctx.sleep(1)
    return [text] * number


@runtime.register
async def coroutine(ctx: Context, number: int) -> dict[str, int]:
    await ctx.sleep(1)
    return {"number": number}


@runtime.register(name="a_plain_one", version=2)
def plain(_: Context, number: int, text: str = "") -> float:
    return number * len(text) / 2


class Shop:
    def price(self, ctx: Context, number: int) -> float:
        return number / 2

    @classmethod
    async def of_class(cls, ctx: Context, number: int) -> str:
        return cls.__name__ * number

    def __call__(self, ctx: Context, number: int) -> Generator[Any, Any, bytes]:
        yield ctx.sleep(number)
        return b""


shop = Shop()
runtime.register(shop.price, target="shops")
runtime.register(Shop.of_class)


@runtime.register(target="bank")
def charge(ctx: Context, f: str, id: int) -> bool:
    return f == str(id)


async def other_callables(ctx: Context) -> None:
    assert_type(runtime.register(shop), Shop)
    assert_type(await ctx.rpc(shop.price, 1), float)
    assert_type(await ctx.rpc(Shop.of_class, number=1), str)
    assert_type(await ctx.run(shop, 1), bytes)
    assert_type(await ctx.rpc(charge, f="a", id=1), bool)
    assert_type(runtime.rpc("id", shop, 1), Handle[bytes])


def in_a_generator(ctx: Context) -> Generator[Any, Any, None]:
    # the value, at once
    assert_type((yield from ctx.rfc(generator, 1, text="x")), list[str])
    assert_type((yield from ctx.rfc(coroutine, 1)), dict[str, int])
    assert_type((yield from ctx.rfc(plain, 1, "x")), float)
    assert_type((yield from ctx.rpc(generator, 1, text="x")), list[str])
    assert_type((yield from ctx.rpc(coroutine, 1)), dict[str, int])
    assert_type((yield from ctx.rpc(plain, 1)), float)
    assert_type((yield from ctx.lfc(generator, 1)), list[str])
    assert_type((yield from ctx.lfc(coroutine, 1)), dict[str, int])
    assert_type((yield from ctx.lfc(plain, number=1, text="x")), float)
    assert_type((yield from ctx.run(generator, 1)), list[str])
    assert_type((yield from ctx.run(coroutine, 1)), dict[str, int])
    assert_type((yield from ctx.run(plain, 1)), float)

    # options change nothing about it
    assert_type((yield from ctx.rfc(plain, 1).options(target="g", timeout=5)), float)


def promises_in_a_generator(ctx: Context) -> Generator[Any, Any, None]:
    # first the promise, then the value
    assert_type((yield from ctx.rfi(generator, 1, text="x")), Promise[list[str]])
    assert_type((yield from ctx.rfi(coroutine, 1)), Promise[dict[str, int]])
    assert_type((yield from ctx.rfi(plain, 1)), Promise[float])
    assert_type((yield from ctx.begin_rpc(plain, 1)), Promise[float])
    assert_type((yield from ctx.lfi(generator, 1)), Promise[list[str]])
    assert_type((yield from ctx.lfi(coroutine, 1)), Promise[dict[str, int]])
    assert_type((yield from ctx.lfi(plain, 1)), Promise[float])
    assert_type((yield from ctx.begin_run(plain, 1)), Promise[float])
    assert_type((yield from ctx.detached(generator, 1)), Promise[list[str]])
    assert_type((yield from ctx.detached(coroutine, 1)), Promise[dict[str, int]])
    assert_type((yield from ctx.detached(plain, 1)), Promise[float])

    promise = yield from ctx.rfi(generator, 1).options(target="poll://g")
    assert_type((yield from promise), list[str])


def by_name(ctx: Context) -> Generator[Any, Any, None]:
    # nobody knows what a name stands for
    assert_type((yield from ctx.rfc("plain", 1, anything="x")), Any)
    assert_type((yield from ctx.rpc("plain")), Any)
    assert_type((yield from ctx.rfi("plain")), Promise[Any])
    assert_type((yield from ctx.detached("plain")), Promise[Any])
    assert_type((yield ctx.rfc(plain, 1)), Any)
    assert_type((yield from ctx.sleep(1)), None)
    assert_type((yield from ctx.promise()), Promise[Any])


def several(ctx: Context) -> Generator[Any, Any, None]:
    first = yield from ctx.begin_rpc(plain, 1)
    second = yield from ctx.begin_rpc(plain, 2)
    third = yield from ctx.begin_rpc(generator, 2)
    waits = [ctx.rpc(plain, 1), ctx.rpc(plain, 2)]

    # promises, calls that give one, and calls that wait, all count by their values
    assert_type((yield from ctx.all([first, second])), list[float])
    assert_type((yield from ctx.all((first, second))), list[float])
    assert_type((yield from ctx.all([ctx.begin_rpc(plain, 1)])), list[float])
    assert_type((yield from ctx.all([ctx.begin_run(generator, 1)])), list[list[str]])
    assert_type((yield from ctx.all(ctx.begin_rpc(plain, n) for n in range(3))), list[float])
    assert_type((yield from ctx.all(waits)), list[float])
    assert_type((yield from ctx.all([first], return_exceptions=False)), list[float])
    assert_type((yield from ctx.all([first], return_exceptions=True)), list[float | BaseException])
    assert_type(
        (yield from ctx.all([ctx.begin_rpc(plain, 1)], return_exceptions=True)),
        list[float | BaseException],
    )

    assert_type((yield from ctx.race([first, second])), float)
    assert_type((yield from ctx.race([ctx.begin_rpc(plain, 1), ctx.begin_rpc(plain, 2)])), float)
    assert_type((yield from ctx.race([first, ctx.sleep(1)], cancel=True)), float | None)

    # inside each other
    assert_type((yield from ctx.all([ctx.all([first]), ctx.all([second])])), list[list[float]])
    assert_type((yield from ctx.all([ctx.race([first, second])])), list[float])
    assert_type((yield from ctx.race([ctx.all([first]), ctx.sleep(1)])), list[float] | None)
    assert_type((yield from ctx.all([ctx.map(plain, [1]), ctx.map(plain, [2])])), list[list[float]])

    # Results of several types have what they share.
    assert_type((yield from ctx.all([first, third])), list[object])


def over_items(ctx: Context) -> Generator[Any, Any, None]:
    assert_type((yield from ctx.map(plain, [1, 2])), list[float])
    assert_type((yield from ctx.map(generator, range(3), window=2)), list[list[str]])
    assert_type((yield from ctx.map(coroutine, [1], target="g")), list[dict[str, int]])
    assert_type((yield from ctx.map("plain", ["x"])), list[Any])
    assert_type(
        (yield from ctx.map(generator, [1], return_exceptions=True)),
        list[list[str] | BaseException],
    )
    assert_type(
        (yield from ctx.map(coroutine, [1], return_exceptions=True)),
        list[dict[str, int] | BaseException],
    )
    assert_type(
        (yield from ctx.map(plain, [1], return_exceptions=True)), list[float | BaseException]
    )


async def in_a_coroutine(ctx: Context) -> None:
    assert_type(await ctx.rfc(generator, 1), list[str])
    assert_type(await ctx.rfc(coroutine, 1), dict[str, int])
    assert_type(await ctx.rfc(plain, 1), float)
    assert_type(await ctx.rfc("plain"), Any)
    assert_type(await ctx.lfc(generator, 1), list[str])
    assert_type(await ctx.run(coroutine, 1), dict[str, int])
    assert_type(await ctx.rfi(generator, 1), Promise[list[str]])
    assert_type(await ctx.detached(coroutine, 1), Promise[dict[str, int]])
    assert_type(await (await ctx.rfi(coroutine, 1)), dict[str, int])
    assert_type(await (await ctx.lfi(plain, 1)), float)
    assert_type(await ctx.sleep(1), None)
    assert_type(await ctx.all([ctx.rpc(plain, 1)]), list[float])
    assert_type(await ctx.race([ctx.begin_run(coroutine, 1)]), dict[str, int])
    assert_type(await ctx.map(coroutine, [1]), list[dict[str, int]])


def from_outside() -> None:
    assert_type(runtime.rpc("id", generator, 1, text="x"), Handle[list[str]])
    assert_type(runtime.rpc("id", coroutine, 1), Handle[dict[str, int]])
    assert_type(runtime.rpc("id", plain, 1), Handle[float])
    assert_type(runtime.rpc("id", "plain", 1), Handle[Any])
    assert_type(runtime.begin_rpc("id", plain, 1), Handle[float])
    assert_type(runtime.run("id", generator, 1), Handle[list[str]])
    assert_type(runtime.run("id", coroutine, 1), Handle[dict[str, int]])
    assert_type(runtime.run("id", plain, 1), Handle[float])
    assert_type(runtime.get("id"), Handle[Any])

    assert_type(runtime.rpc("id", generator, 1).result(), list[str])
    assert_type(runtime.rpc("id", plain, 1).result(timeout=1), float)
    assert_type(runtime.options(target="g", timeout=5).rpc("id", plain, 1).result(), float)
    assert_type(runtime.rpc("id", "plain").result(), Any)


def many_from_outside() -> None:
    handles = runtime.map("id", plain, [1, 2])
    assert_type(handles, Handles[float])
    assert_type(handles[0], Handle[float])
    assert_type(handles.results(), list[float])
    assert_type(handles.results(return_exceptions=True), list[float | BaseException])
    assert_type(runtime.map(["a"], generator, [1]), Handles[list[str]])
    assert_type(runtime.map("id", coroutine, range(3)), Handles[dict[str, int]])
    assert_type(runtime.map("id", "plain", [1]), Handles[Any])


async def many_awaited() -> None:
    assert_type(await runtime.map("id", plain, [1]), list[float])


def keywords_that_are_named_like_ours(ctx: Context) -> Generator[Any, Any, None]:
    def odd(context: Context, /, self: int, f: str, id: str, timeout: float) -> bytes:
        return b""

    assert_type(runtime.rpc("id", odd, self=1, f="", id="", timeout=0.5), Handle[bytes])
    assert_type((yield from ctx.rfc(odd, self=1, f="", id="", timeout=0.5)), bytes)
    assert_type((yield from ctx.lfi(odd, self=1, f="", id="", timeout=0.5)), Promise[bytes])
    made = runtime.schedules.create("id", "* * * * *", odd, self=1, f="", id="", timeout=0.5)
    assert_type(made, Schedule)


def looking_around() -> None:
    options: CallOptions = {"target": "g", "timeout": 5}
    assert_type(runtime.options(**options), Runtime)
    assert_type(runtime.promises.get("id"), StoredPromise)
    assert_type(runtime.promises.get("id").created_at, datetime)
    assert_type(runtime.schedules.get("id").next_run_at, datetime)
    assert_type(
        [node.silent_s for group in runtime.groups().groups for node in group.nodes], list[float]
    )


async def from_outside_async() -> None:
    assert_type(await runtime.rpc("id", generator, 1), list[str])
    assert_type(await runtime.rpc("id", coroutine, 1), dict[str, int])
    assert_type(await runtime.run("id", plain, 1), float)


def registered(ctx: Context) -> None:
    # register gives back the function itself, so that it can still be called as one
    assert_type(plain(ctx, 1, "x"), float)
    assert_type(generator(ctx, 1), Generator[Any, Any, list[str]])
