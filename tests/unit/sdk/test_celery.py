"""Celery's names: tasks, retries, and chains, groups and chords that survive any crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from understudy import CanceledError, Context, Runtime
from understudy.celery import (
    AsyncResult,
    BoundTask,
    Celery,
    MaxRetriesExceededError,
    Signature,
    Task,
    chain,
    chord,
    group,
)
from understudy.errors import ConfigurationError, WaitTimeoutError
from understudy.testing import crash_everywhere

TIMEOUT_S = 20


def make(runtime: Runtime) -> Celery:
    app = Celery("shop", runtime=runtime)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="shop.total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def fetch(self: BoundTask, failures: int, is_told: bool = True) -> tuple[str, int]:
        if self.request.retries < failures:
            self.retry(ValueError("away") if is_told else None)
        return self.request.id, self.request.retries

    @app.task(autoretry_for=(OSError,), max_retries=1, default_retry_delay=0)
    def connect(error: str) -> None:
        raise {"os": OSError, "value": ValueError}[error](error)

    return app


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    """An app whose node is in this process."""
    app = make(Runtime.local())
    with app.runtime:
        yield app


def value(result: AsyncResult) -> Any:
    return result.get(timeout=TIMEOUT_S)


def test_a_task_is_called_here_or_durably(app: Celery) -> None:
    add = app.tasks["add"]
    assert add(1, 2) == 3
    assert value(add.delay(1, y=2)) == 3
    later = add.apply_async((1, 2), countdown=0.01, task_id="add-7", priority=3)
    assert (later.id, value(later), later.state) == ("add-7", 3, "SUCCESS")
    assert later.ready()
    assert later.successful()
    assert value(AsyncResult(app, "add-7")) == 3
    moment = datetime.now(UTC) - timedelta(seconds=1)
    assert value(app.send_task("shop.total", [[1, 2]], {}, eta=moment, expires=60)) == 3


def test_a_task_has_the_parameters_of_its_function(app: Celery) -> None:
    with pytest.raises(TypeError, match="add"):
        value(app.tasks["add"].delay(1, 2, 3))


CANVASES: dict[str, tuple[Callable[[Task, Task], Signature], object]] = {
    "chain": (lambda add, total: chain(add.s(1, 2), add.s(10), add.s(100)), 113),
    "pipe": (lambda add, total: add.s(1, 2) | add.si(7, 7), 14),
    "group": (lambda add, total: group(add.s(n, n) for n in range(3)), [0, 2, 4]),
    "chord": (lambda add, total: chord([add.s(1, 1), add.s(2, 2)], total.s()), 6),
    "group-in-chain": (lambda add, total: add.s(1, 1) | group(add.s(1), add.s(2)), [3, 4]),
    "chain-in-group": (
        lambda add, total: chord([add.s(1, 1) | add.s(3), add.s(0, 1)], total.s()) | add.s(1),
        7,
    ),
}


@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_has_celerys_result(app: Celery, name: str) -> None:
    canvas, expected = CANVASES[name]
    made = canvas(app.tasks["add"], app.tasks["shop.total"])
    assert value(made.delay()) == expected
    assert value(made.apply_async(task_id=f"canvas-{name}")) == expected


def test_a_canvas_survives_a_crash_at_every_step() -> None:
    app = make(Runtime("shop"))
    canvas = chord(
        [app.tasks["add"].s(1, 1), app.tasks["add"].s(2, 2)], app.tasks["shop.total"].s()
    )

    @app.runtime.register
    def order(ctx: Context) -> Any:
        return (yield ctx.rpc("understudy.celery.canvas", canvas.tree))

    report = crash_everywhere.on(app.runtime)(order)
    assert report.result == 6


def test_signatures_have_options_and_are_called_here(app: Celery) -> None:
    add = app.tasks["add"]
    assert add.s(1)(2) == 3
    assert value((add.s(1, 1) | add.s(3))()) == 5
    late = add.s(1, 1).set(countdown=0.01, priority=1)
    assert value(chain(late, add.s(3)).delay()) == 5
    away = group(add.s(1, 1)).set(queue="nobody").delay()
    assert away.state == "PENDING"
    away.revoke()


def test_a_bound_task_is_tried_again(app: Celery) -> None:
    fetch = app.tasks["fetch"]
    assert value(fetch.apply_async((2,), task_id="fetch-2")) == ("fetch-2", 2)
    with pytest.raises(ValueError, match="away"):
        value(fetch.delay(3))
    with pytest.raises(MaxRetriesExceededError, match="2 times"):
        value(fetch.delay(3, is_told=False))


@pytest.mark.parametrize(("error", "kind"), [("os", OSError), ("value", ValueError)])
def test_failures_are_results(app: Celery, error: str, kind: type[Exception]) -> None:
    failed = app.tasks["connect"].delay(error)
    assert isinstance(failed.get(timeout=TIMEOUT_S, propagate=False), kind)
    assert (failed.state, failed.failed()) == ("FAILURE", True)
    assert isinstance(failed.result, kind)


def test_a_call_is_revoked(app: Celery) -> None:
    waiting = app.tasks["add"].apply_async((1, 2), queue="nobody")
    assert (waiting.state, waiting.result, waiting.ready()) == ("PENDING", None, False)
    with pytest.raises(WaitTimeoutError):
        waiting.get(timeout=0.01, propagate=False)
    waiting.revoke()
    assert waiting.state == "REVOKED"
    with pytest.raises(CanceledError):
        value(waiting)


def test_what_has_no_meaning_is_refused_in_words(app: Celery) -> None:
    add = app.tasks["add"]
    with pytest.raises(ConfigurationError, match="link: use chain"):
        add.apply_async((1, 2), link=add.s(1))
    with pytest.raises(ConfigurationError, match="rate_limit: use Runtime"):
        app.task(rate_limit="10/s")
    with pytest.raises(ConfigurationError, match="colour: there is no such option"):
        add.s(1).set(colour="red")
    with pytest.raises(ConfigurationError, match="broker: leave it out"):
        Celery("shop", broker="redis://localhost")
    with pytest.raises(ConfigurationError, match="at least one call"):
        group()
    with pytest.raises(ConfigurationError, match="plain function"):

        @app.task
        async def away() -> None:
            """Wait for nothing."""
