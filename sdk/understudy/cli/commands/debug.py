"""``understudy debug``: run a stored call under a debugger, its steps answered from the record."""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import completion
from understudy.cli.options import Store, Url
from understudy.cli.printing import out

if TYPE_CHECKING:
    from understudy.cli.store_client import AnySource
    from understudy.client.node_environment import NodeEnvironment
    from understudy.registry import Function
    from understudy.replays.debugger import MakeDebugger
    from understudy.replays.record import Record
    from understudy_store.records import PromiseRecord, TaskRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def debug(
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The id of the call; it may be under way, parked, or have ended.",
            autocompletion=completion.promise_ids,
        ),
    ],
    runtime: Annotated[
        str | None,
        typer.Argument(
            metavar="[APP]",
            help="The Runtime with the functions, as module:name. [default: app, if there is an "
            "app.py here]",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="STEP",
            help="Stop before this step: its number, its id, or the name of its function. "
            "[default: stop at the first line]",
        ),
    ] = None,
    debugpy: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Wait there for an editor that speaks the Debug Adapter Protocol, in the place of "
            "the prompt. [default host: 127.0.0.1]",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read the call from a file that understudy.testing.record has saved, without a "
            "broker.",
        ),
    ] = None,
    store: Store = None,
    url: Url = None,
) -> int:
    """Run a stored call under pdb, with its steps answered from the record.

    The function runs in this process, from its first line, with the stored arguments. Each step
    that it made gives what is recorded, so it takes the path that it took. Nothing is sent or
    stored, no step is performed, and a node that has the call keeps it. Where the record ends, the
    function is shown where it waits; where the call failed, at the line that raised.

    What stands between the steps does run. A plain function has no steps: all of its lines are
    performed, as you step through them.

    All commands of pdb work (n, s, c, p, w, u, b, q; h lists them), and two more:

    \b
      sb [COUNT]   go back to the step before: the call is run again up to there
      run          run it again from its first line

    Sealed values need the key, and pickles are loaded only if the Runtime trusts them.

    \b
    Examples:
      understudy debug order-7 app:runtime
      understudy debug order-7 app:runtime --at 3
      understudy debug order-7 app:runtime --at charge
      understudy debug order-7 app:runtime --debugpy 5678
      understudy debug order-7 app:runtime --store copy.db

    \b
    Exit codes:
      1  there is no such call, its function is not here, or code and record differ
      2  wrong usage, or the app cannot be imported
      3  the broker refused the request
      4  no broker answers
    """
    from understudy.cli.runtime_loader import load_runtime
    from understudy.cli.store_client import reading
    from understudy.replays.debugger import debug as run_call
    from understudy.replays.record import Record

    name = _app(runtime)
    make = _debugger(debugpy)
    loaded = load_runtime(name)
    with reading(loaded, url, store, history) as source:
        task, promises, held = _read(source, id)
    env = loaded.session.env
    function = _function(env, task, name)
    record = Record(promises)
    _introduce(task, function, record, held)
    attempt = 1 if held is None else held.failures + 1
    if not function.may_make_calls:
        _refuse_step(id, function, at)
    with _terminal_kept():
        return run_call(env, function, task, record, say=_say, at=at, attempt=attempt, make=make)


@contextmanager
def _terminal_kept() -> Iterator[None]:
    """Leave the terminal as it was: after Ctrl-C the prompt, on its thread, cannot do that."""
    if not sys.stdin.isatty():
        yield
        return
    attributes = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attributes)


def _say(text: str) -> None:
    out(text, flush=True)


def _app(given: str | None) -> str:
    from understudy.cli.errors import UsageError

    if given is None and not Path("app.py").exists():
        raise UsageError(
            "name the Runtime that has the function, as module:name: understudy debug ID "
            "app:runtime"
        )
    return given or "app"


def _debugger(address: str | None) -> MakeDebugger:
    if address is None:
        from understudy.replays.prompt import Prompt

        return Prompt
    from understudy.cli.errors import UsageError
    from understudy.replays.editor import wait_for_editor

    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--debugpy {address!r}: write --debugpy PORT or HOST:PORT")
    return wait_for_editor(host or "127.0.0.1", int(port), _say)


def _read(
    source: AnySource, id: str
) -> tuple[PromiseRecord, list[PromiseRecord], TaskRecord | None]:
    """Return the call, all that is known of its graph, and its task."""
    from understudy.cli.errors import CliError
    from understudy.cli.under_way import record_of
    from understudy_store.records import origin_of

    task = source.find_promise(id)
    if task is None:
        raise CliError(
            f"there is no call {id!r} at {source.url}. To list them: understudy promises search"
        )
    known = next((reply.task for reply in source.tasks_of([id])), None)
    return task, record_of(source, [origin_of(task)]), known


def _function(env: NodeEnvironment, task: PromiseRecord, app: str) -> Function:
    """Return the function of a call; raise an error that says why it cannot be debugged."""
    from understudy.cli.errors import CliError
    from understudy.errors import UnknownFunctionError
    from understudy_store.records import (
        HEADER_FUNCTION,
        HEADER_VERSION,
        TAG_BRANCH,
        TAG_TARGET,
        is_local,
    )

    headers = task.param.headers
    if is_local(task):
        branch = task.tags.get(TAG_BRANCH, "")
        raise CliError(
            f"{task.id} is a step inside {branch}, whose arguments are not stored. To stop before "
            f"it: understudy debug {branch} {app} --at {task.id}"
        )
    name = headers.get(HEADER_FUNCTION)
    if TAG_TARGET not in task.tags or not name:
        raise CliError(
            f"{task.id} is no call of a function, but a sleep, or a promise that others resolve"
        )
    version = headers.get(HEADER_VERSION, "")
    try:
        return env.registry.get(name, int(version) if version.isdecimal() else None)
    except UnknownFunctionError as error:
        raise CliError(f"{app} cannot run {task.id}: {error}") from None


def _introduce(
    task: PromiseRecord, function: Function, record: Record, held: TaskRecord | None
) -> None:
    from understudy_store.records import PROMISE_WORDS

    steps = sum(map(len, record.made_by(task).values()))
    _say(
        f"{task.id}: {function.name} version {function.version} at {function.where}, "
        f"{PROMISE_WORDS[task.state]}, {steps} steps recorded"
    )
    if held is not None and held.state == "halted" and held.cause:
        _say(f"It is parked: {held.cause}")
    if not function.may_make_calls:
        _say("It is a plain function: its lines are PERFORMED as you step through them; q leaves.")
    elif function.kind == "coroutine" and not steps:
        _say("It has made no step: its lines, and all that they await, are PERFORMED; q leaves.")
    else:
        _say("Its steps are answered from the record. Nothing is sent, and none is performed.")


def _refuse_step(id: str, function: Function, at: str | None) -> None:
    from understudy.cli.errors import UsageError

    if at is not None:
        raise UsageError(
            f"--at {at}: {function.name} is a plain function, which makes no steps: leave it out "
            f"to stop at the first line of {id}"
        )
