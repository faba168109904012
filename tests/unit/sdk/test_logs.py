"""The run in each record, and the lines of a process's log."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from opentelemetry import trace

from tests.unit.sdk.tracing.recorder import id_of, recording, trace_of
from understudy import Runtime
from understudy.context import Context
from understudy.logs import RunFilter, TextLines, add_run, json_lines, run_facts
from understudy.testing import Stage
from understudy_broker.log_format import ForPrograms

LOG = logging.getLogger("shop")
OF_THE_STEP = {
    "understudy_id": "order-7.1",
    "understudy_origin": "order-7",
    "understudy_function": "pack",
    "understudy_group": "shop",
    "understudy_attempt": 1,
    "understudy_node": "ann",
}


class Kept(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    handler.addFilter(RunFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("INFO")
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def facts(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in record.__dict__.items() if k.startswith("understudy_")}


def order(ctx: Context) -> Generator[Any, Any, Any]:
    """Log, and take a step that does."""
    LOG.info("before")
    yield ctx.run(pack)
    LOG.info("after")


def pack(ctx: Context) -> None:
    """Log in several ways."""
    LOG.info("a parcel", extra={"parcel": 7})
    ctx.log.info("%d %% full", 80, extra={"parcel": 8})
    thread = threading.Thread(target=ctx.log.info, args=("on a thread",))
    thread.start()
    thread.join()


async def co(ctx: Context) -> None:
    """Log on a loop."""
    LOG.info("in a coroutine")


def test_every_record_of_a_run_has_its_ids(kept: Kept) -> None:
    runtime = Runtime("shop", "ann")
    runtime.register(order)
    runtime.register(co)
    with Stage(runtime):
        runtime.rpc("order-7", order).result()
        runtime.rpc("co-1", co).result()
    LOG.info("outside")
    of = {record.getMessage(): record for record in kept.records if facts(record)}
    assert facts(of["a parcel"]) == OF_THE_STEP
    assert of["a parcel"].__dict__["parcel"] == 7
    own = of["pack order-7.1: 80 % full"]
    assert (facts(own), own.__dict__["parcel"]) == (OF_THE_STEP, 8)
    assert facts(of["pack order-7.1: on a thread"]) == OF_THE_STEP
    assert facts(of["before"])["understudy_id"] == facts(of["after"])["understudy_id"] == "order-7"
    assert facts(of["in a coroutine"])["understudy_id"] == "co-1"
    assert "outside" not in of


def test_a_record_has_the_span_in_which_it_was_made(kept: Kept) -> None:
    runtime = Runtime("shop", "ann")
    runtime.register(order)
    with recording() as recorder, Stage(runtime):
        runtime.rpc("order-7", order).result()
    step = recorder.one("step pack")
    record = next(record for record in kept.records if record.getMessage() == "a parcel")
    assert record.__dict__["span_id"] == f"{id_of(step):016x}"
    assert record.__dict__["trace_id"] == f"{trace_of(step):032x}"


def test_outside_of_runs_and_spans_there_is_nothing_to_say() -> None:
    assert not trace.get_current_span().get_span_context().is_valid
    assert run_facts() == {}
    assert add_run(None, "info", {"event": "x"}) == {"event": "x"}


# Lines -------------------------------------------------------------------------------------------


def record(**more: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", logging.INFO, "shop.py", 1, "%s sent", ("parcel",), None)
    made.__dict__.update(more)
    return made


def test_json_by_structlog_is_what_a_broker_writes() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        info = sys.exc_info()
    for made in (record(), record(parcel=7, understudy_id="a"), record(exc_info=info)):
        assert json.loads(json_lines().format(made)) == json.loads(ForPrograms().format(made))


def test_events_of_structlog_become_the_same_lines() -> None:
    wrap = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
    (event,), more = wrap(LOG, "info", {"event": "sent", "parcel": 7})
    made = record(msg=event, args=(), **more["extra"], understudy_id="order-7")
    line = json.loads(json_lines().format(made))
    line.pop("timestamp")
    assert line == {
        "understudy.id": "order-7",
        "parcel": 7,
        "event": "sent",
        "level": "info",
        "logger": "shop",
    }
    assert TextLines().format(made).endswith("INFO shop: sent understudy.id=order-7 parcel=7")


def test_text_shows_what_a_record_was_given_and_the_id_once() -> None:
    assert TextLines().format(record()).endswith(" INFO shop: parcel sent")
    made = record(parcel="a b", understudy_id="order-7", understudy_attempt=1, trace_id="f")
    assert TextLines().format(made).endswith("parcel sent understudy.id=order-7 parcel='a b'")
    made = record(msg="pack order-7: sent", args=(), understudy_id="order-7")
    assert TextLines().format(made).endswith("INFO shop: pack order-7: sent")
