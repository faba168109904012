"""Every error that a public call raises is an `UnderstudyError` and is exported."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

import understudy
import understudy.errors
import understudy.testing
from understudy import (
    Constant,
    Context,
    Exponential,
    Handle,
    Linear,
    Never,
    Runtime,
    UnderstudyError,
    poll,
)
from understudy.testing import Stage

_NOT_A_POLICY: Any = 3


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime("shop", "ann")
    runtime.register(add)
    runtime.register(lambda ctx: None, name="other")
    with Stage(runtime):
        yield runtime


def alone(runtime: Runtime) -> Runtime:
    """Return a runtime with the same functions that is the only node of its group."""
    local = Runtime.local()
    for function in runtime.functions:
        local.register(function.fn, name=function.name)
    return local


def add(ctx: Context, a: int, b: int = 0) -> int:
    return a + b


def gives(ctx: Context) -> Any:
    yield 1


def perform(runtime: Runtime, body: Callable[[Context], Any]) -> Any:
    """Run `body` as a durable function; its failure is raised here."""

    def function(ctx: Context) -> Any:
        return (yield body(ctx))

    runtime.register(function, name="function", replace=True)
    return runtime.rpc("the-call", function).result()


async def asynchronous(ctx: Context) -> Any:
    yield


#: public calls that cannot succeed, each with a name that says what is wrong
BAD_CALLS: dict[str, Callable[[Any], Any]] = {
    "runtime: group": lambda r: Runtime(group="bad name!"),
    "runtime: group is no text": lambda r: Runtime(group=3),  # type: ignore[arg-type]
    "runtime: id": lambda r: Runtime(id="a/b"),
    "runtime: url": lambda r: Runtime(url="localhost"),
    "runtime: url without a port": lambda r: Runtime(url="tcp://127.0.0.1:0"),
    "runtime: url to listen at": lambda r: Runtime(url="tcp://*:5577"),
    "runtime: url is no text": lambda r: Runtime(url=5577),  # type: ignore[arg-type]
    "runtime: timeout": lambda r: Runtime(timeout=0),
    "runtime: connect timeout": lambda r: Runtime(connect_timeout=-1),
    "runtime: retry": lambda r: Runtime(retry=_NOT_A_POLICY),
    "runtime: concurrency": lambda r: Runtime(concurrency=0),
    "runtime: concurrency is no int": lambda r: Runtime(concurrency=1.5),  # type: ignore[arg-type]
    "local: group": lambda r: Runtime.local(group="bad name!"),
    "local: store is no text": lambda r: Runtime.local(5),  # type: ignore[arg-type]
    "local: timeout": lambda r: Runtime.local(timeout=math.inf),
    "configure: after connecting": lambda r: r.configure(group="late"),
    "configure: group": lambda r: Runtime().configure(group="bad name!"),
    "configure: id": lambda r: Runtime().configure(id=""),
    "configure: url": lambda r: Runtime().configure(url="ftp://x"),
    "configure: concurrency": lambda r: Runtime().configure(concurrency="all"),  # type: ignore[arg-type]
    "options: unknown": lambda r: r.options(taget="g"),
    "options: target": lambda r: r.options(target="gopher://g"),
    "options: targets differ": lambda r: r.options(target="a", send_to="b"),
    "options: timeout": lambda r: r.options(timeout="soon"),
    "options: version": lambda r: r.options(version=0),
    "options: tags": lambda r: r.options(tags={"a": 1}),
    "options: retry": lambda r: r.options(retry=Never),
    "options: delay": lambda r: r.options(delay=timedelta(-1)),
    "options: priority": lambda r: r.options(priority=1000),
    "register: no function": lambda r: r.register(7),
    "register: a class": lambda r: r.register(Handle),
    "register: no context": lambda r: r.register(lambda: None, name="empty"),
    "register: async generator": lambda r: r.register(asynchronous),
    "register: twice": lambda r: r.register(lambda ctx: 2, name="other"),
    "register: name": lambda r: r.register(add, name=""),
    "register: version": lambda r: r.register(add, version=0),
    "register: timeout": lambda r: r.register(add, timeout=-1),
    "register: retry": lambda r: r.register(add, retry=_NOT_A_POLICY),
    "rpc: id": lambda r: r.rpc("", "add"),
    "rpc: id is no text": lambda r: r.rpc(7, "add"),
    "rpc: id too long": lambda r: r.rpc("x" * 600, "other"),
    "rpc: not registered": lambda r: r.rpc("x", perform),
    "rpc: no function": lambda r: r.rpc("x", None),
    "rpc: a list": lambda r: r.rpc("x", []),
    "rpc: arguments": lambda r: r.rpc("x", "add"),
    "rpc: value": lambda r: r.rpc("x", "add", object()),
    "rpc: too large": lambda r: r.rpc("x", "add", b"x" * 9_000_000),
    "rpc: unknown function": lambda r: alone(r).rpc("x", "ad", 1),
    "rpc: unknown version": lambda r: alone(r).options(version=9).rpc("x", "add", 1),
    "rpc: id of another call": lambda r: [r.rpc("x", "add", 1), r.rpc("x", "other")],
    "run: id": lambda r: r.run("", add, 1),
    "run: unknown function": lambda r: r.run("x", "ad"),
    "run: cannot be registered": lambda r: r.run("x", asynchronous),
    "get: id": lambda r: r.get(None),
    "get: absent": lambda r: r.get("nope").result(),
    "cancel: id": lambda r: r.cancel(7),
    "cancel: absent": lambda r: r.cancel("nope"),
    "spawn: group": lambda r: r.spawn("bad name!"),
    "spawn: nodes": lambda r: r.spawn("workers", nodes=0),
    "stop: timeout": lambda r: r.stop("now"),
    "handle: timeout": lambda r: r.rpc("x", "add", 1).result(timeout="1 s"),
    "handle: endless timeout": lambda r: r.rpc("x", "add", 1).result(timeout=math.inf),
    "handle: pending": lambda r: r.options(delay=60).rpc("x", "add", 1).result(timeout=1),
    "handle: canceled": lambda r: [
        (later := r.options(delay=60).rpc("x", "add", 1)).cancel(),
        later.result(),
    ],
    "handle: deadline": lambda r: r.options(delay=60, timeout=5).rpc("x", "add", 1).result(),
    "promises: get": lambda r: r.promises.get("nope"),
    "promises: get: id": lambda r: r.promises.get(7),
    "promises: create: id": lambda r: r.promises.create(7),
    "promises: create: timeout": lambda r: r.promises.create("p", timeout="1h"),
    "promises: create: tags": lambda r: r.promises.create("p", tags={"understudy:x": "y"}),
    "promises: create: no tags": lambda r: r.promises.create("p", tags=[]),
    "promises: create: value": lambda r: r.promises.create("p", value=object()),
    "promises: resolve": lambda r: r.promises.resolve("nope"),
    "promises: resolve: id": lambda r: r.promises.resolve(None),
    "promises: resolve: value": lambda r: r.promises.resolve("nope", object()),
    "promises: reject": lambda r: r.promises.reject("nope", "why"),
    "promises: reject: no error": lambda r: r.promises.reject("p", 7),
    "promises: cancel": lambda r: r.promises.cancel("nope"),
    "promises: cancel: id": lambda r: r.promises.cancel(b"x"),
    "promises: search: state": lambda r: list(r.promises.search(state="odd")),
    "promises: search: state is no text": lambda r: list(r.promises.search(state=1)),
    "promises: search: tags": lambda r: list(r.promises.search(tags="x")),
    "promises: search: prefix": lambda r: list(r.promises.search(prefix=7)),
    "promises: search: origin": lambda r: list(r.promises.search(origin=7)),
    "promises: search: limit": lambda r: list(r.promises.search(limit=0)),
    "promises: search: limit is no int": lambda r: list(r.promises.search(limit="10")),
    "promises: value of a rejected one": lambda r: [
        r.promises.create("p"),
        r.promises.reject("p", understudy.NonRetryableError("no")).value(),
    ],
    "schedules: get": lambda r: r.schedules.get("nope"),
    "schedules: get: id": lambda r: r.schedules.get(7),
    "schedules: delete": lambda r: r.schedules.delete("nope"),
    "schedules: delete: id": lambda r: r.schedules.delete(None),
    "schedules: create: id": lambda r: r.schedules.create("", "* * * * *", "add", 1),
    "schedules: create: cron": lambda r: r.schedules.create("s", "often", "add", 1),
    "schedules: create: cron is no text": lambda r: r.schedules.create("s", 5, "add", 1),
    "schedules: create: function": lambda r: r.schedules.create("s", "* * * * *", perform),
    "schedules: create: arguments": lambda r: r.schedules.create("s", "* * * * *", "add"),
    "schedules: create: delay": lambda r: r.options(delay=1).schedules.create(
        "s", "* * * * *", add
    ),
    "schedules: options": lambda r: r.schedules.options(promise_id=7),
    "schedules: search: prefix": lambda r: list(r.schedules.search(prefix=7)),
    "schedules: search: limit": lambda r: list(r.schedules.search(limit=-1)),
    "poll: group": lambda r: poll("bad name!"),
    "poll: node": lambda r: poll("g", "a/b"),
    "retry: a number": lambda r: Exponential(initial_s=-1),
    "retry: factor": lambda r: Exponential(factor=0.5),
    "retry: attempts": lambda r: Linear(max_attempts=0),
    "retry: no number": lambda r: Constant("1"),  # type: ignore[arg-type]
    "retry: kinds": lambda r: Linear(non_retryable=ValueError),  # type: ignore[arg-type]
    "retry: attempt": lambda r: Never().delay_s(0, ValueError()),
    "ctx: sleep": lambda r: perform(r, lambda ctx: ctx.sleep(-1)),
    "ctx: not registered": lambda r: perform(r, lambda ctx: ctx.rfc(perform)),  # type: ignore[call-overload]
    "ctx: no function": lambda r: perform(r, lambda ctx: ctx.rfi(7)),  # type: ignore[call-overload]
    "ctx: arguments": lambda r: perform(r, lambda ctx: ctx.rfc(add)),  # type: ignore[call-overload]
    "ctx: arguments of a step": lambda r: perform(r, lambda ctx: ctx.lfc(add)),  # type: ignore[call-overload]
    "ctx: no step": lambda r: perform(r, lambda ctx: ctx.lfc(7)),  # type: ignore[call-overload]
    "ctx: value": lambda r: perform(r, lambda ctx: ctx.rfc("add", object())),
    "ctx: not yielded": lambda r: perform(r, lambda ctx: ctx.rfc("add", ctx.rfc("add", 1))),
    "ctx: no request": lambda r: perform(r, lambda ctx: 7),
    "ctx: truth of a call": lambda r: perform(r, lambda ctx: not ctx.rfc("add", 1)),
    "ctx: options of a step": lambda r: perform(r, lambda ctx: ctx.lfc(add, 1).options(target="g")),
    "ctx: an unknown option": lambda r: perform(
        r,
        lambda ctx: ctx.rfc(add, 1).options(taget="g"),  # type: ignore[call-arg]
    ),
    "ctx: no race": lambda r: perform(r, lambda ctx: ctx.race([])),
    "ctx: no promises": lambda r: perform(r, lambda ctx: ctx.all([7])),  # type: ignore[list-item]
    "ctx: window": lambda r: perform(r, lambda ctx: ctx.map(add, [1], window=0)),
    "ctx: promise": lambda r: perform(r, lambda ctx: ctx.promise(timeout=0)),
    "ctx: dependency": lambda r: perform(r, lambda ctx: ctx.get_dependency("bank")),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_an_error_of_a_public_call_is_ours_and_exported(what: str, runtime: Runtime) -> None:
    with pytest.raises(UnderstudyError) as caught:
        BAD_CALLS[what](runtime)
    assert getattr(understudy, caught.type.__name__, None) is caught.type
    assert str(caught.value)


def exceptions(module: Any) -> list[type[BaseException]]:
    values = (getattr(module, name) for name in dir(module))
    return [v for v in values if inspect.isclass(v) and issubclass(v, BaseException)]


@pytest.mark.parametrize("module", [understudy, understudy.testing])
def test_every_exported_error_has_the_one_root(module: Any) -> None:
    exported = {getattr(module, name) for name in module.__all__}
    assert all(issubclass(e, UnderstudyError) for e in exceptions(module) if e in exported)


def test_every_error_of_the_module_of_errors_is_exported() -> None:
    exported = {getattr(understudy, name) for name in understudy.__all__}
    # a cause that prints the traceback of another process; nobody catches it
    assert set(exceptions(understudy.errors)) - exported == {understudy.errors.RemoteTraceback}


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (understudy.ConfigurationError, ValueError),
        (understudy.InvalidAddressError, ValueError),
        (understudy.InvalidArgumentsError, TypeError),
        (understudy.InvalidFunctionError, TypeError),
        (understudy.RequestError, TypeError),
        (understudy.LateOptionsError, RuntimeError),
        (understudy.StoppedError, RuntimeError),
        (understudy.UnknownFunctionError, LookupError),
        (understudy.WaitTimeoutError, TimeoutError),
        (understudy.testing.CrashTestError, AssertionError),
    ],
)
def test_errors_are_also_what_python_would_raise(
    error: type[BaseException], builtin: type[BaseException]
) -> None:
    assert issubclass(error, builtin)


def test_an_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(understudy.WaitTimeoutError("x", 1.5)))
    assert isinstance(error, understudy.WaitTimeoutError)
    assert str(error) == (
        "'x' is still pending after 1.5 s. It goes on: ask again, or see where it stands with: "
        "understudy tree x"
    )


@pytest.mark.parametrize("name", ["all", "race"])
def test_promises_that_are_in_no_list_are_asked_for_in_one(runtime: Runtime, name: str) -> None:
    """As ``asyncio.gather`` takes them."""
    words = f"takes one list of promises: write ctx.{name}([a, b])"
    with pytest.raises(understudy.RequestError, match=re.escape(words)):
        perform(runtime, lambda ctx: getattr(ctx, name)(ctx.sleep(1), ctx.sleep(2)))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://127.0.0.1:0", "a port from 1 to 65535"),
        ("tcp://*:5577", "Name the machine that it runs on, as in tcp://127.0.0.1:5577"),
    ],
)
def test_where_nobody_can_connect_is_no_address_of_a_broker(url: str, words: str) -> None:
    with pytest.raises(understudy.ConfigurationError, match=words):
        Runtime(url=url)


@pytest.mark.parametrize("timeout", [-3, 0, timedelta(seconds=-1)])
def test_a_wait_that_is_over_before_it_began_does_not_block(timeout: Any) -> None:
    future: Future[Any] = Future()
    here: Any = SimpleNamespace(os_pid=os.getpid())
    handle: Handle[Any] = Handle("x", future, future, lambda _: None, here, here)
    with pytest.raises(understudy.WaitTimeoutError, match="after 0 s"):
        handle.result(timeout)


def test_options_after_the_yield_come_too_late(runtime: Runtime) -> None:
    def late(ctx: Context) -> Any:
        call = ctx.rfi("add", 1)
        yield call
        call.options(target="other")

    runtime.register(late)
    with pytest.raises(understudy.LateOptionsError, match="before the call is yielded"):
        runtime.rpc("late-1", late).result()


def test_what_a_function_raises_arrives_as_what_it_was(runtime: Runtime) -> None:
    def fail(ctx: Context) -> None:
        raise KeyError("the user's own")

    runtime.register(fail, retry=Never())
    with pytest.raises(KeyError, match="own"):
        runtime.rpc("fail-1", fail).result()
    with pytest.raises(KeyError, match="own"):
        asyncio.run(_awaited(runtime))


async def _awaited(runtime: Runtime) -> Any:
    return await runtime.get("fail-1")
