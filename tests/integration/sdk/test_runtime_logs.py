"""Logs of a runtime: failures, functions that block the loop, and handlers that make calls."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from tests.integration.sdk.functions import add
from tests.support import eventually
from understudy import Context, Runtime
from understudy.retry import Never


def test_a_function_that_blocks_the_async_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    runtime = Runtime.local()
    release = threading.Event()

    @runtime.register
    async def blocking(_: Context) -> bool:
        return release.wait(20)

    def named() -> bool:
        return any(
            "blocking" in r.getMessage() and "held up" in r.getMessage() for r in caplog.records
        )

    try:
        handle = runtime.rpc("blocking", blocking)
        eventually(named, 20)
        release.set()
        assert handle.result(10) is True
    finally:
        release.set()
        runtime.stop()


def test_a_final_failure_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(_: Context) -> None:
        raise LookupError("no such order")

    caplog.set_level(logging.INFO)
    runtime = Runtime.local(retry=Never())
    runtime.register(fails)
    try:
        with pytest.raises(LookupError):
            runtime.rpc("fails-1", fails).result(20)
    finally:
        runtime.stop()
    [record] = [r for r in caplog.records if r.exc_info is not None]
    assert "fails fails-1 failed" in record.getMessage()
    assert record.exc_text is None or "understudy_actors" not in record.exc_text
    assert record.exc_info is not None
    assert record.exc_info[2] is not None
    assert record.exc_info[2].tb_frame.f_code.co_name == "fails"


def test_no_text_of_an_error_commands_the_terminal_that_shows_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(_: Context) -> None:
        raise LookupError("no order\n\x1b[2Jall is well\r")

    caplog.set_level(logging.INFO)
    runtime = Runtime.local(retry=Never())
    runtime.register(fails)
    try:
        with pytest.raises(LookupError):
            runtime.rpc("fails-1", fails).result(20)
    finally:
        runtime.stop()
    [record] = [r for r in caplog.records if r.exc_info is not None]
    assert isinstance(record.exc_info[1] if record.exc_info else None, LookupError)
    shown = logging.Formatter().format(record)
    assert "LookupError: no order\n\\x1b[2Jall is well\\r" in shown
    assert record.funcName == "failure"
    assert "\x1b" not in caplog.text


def test_a_log_handler_may_make_durable_calls() -> None:
    """A handler never runs under the lock of the loop, whose work it may wait for."""

    class Reporting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().endswith("failed"):
                threads.append(threading.current_thread().name)
                reports.append(runtime.rpc(f"report-{len(threads)}", add, len(threads), 0))

    def fail(ctx: Context) -> None:
        raise ValueError("no")

    threads: list[str] = []
    reports: list[Any] = []
    runtime = Runtime.local()
    runtime.register(add)
    failing = runtime.register(fail, retry=Never())
    logger, handler = logging.getLogger("understudy"), Reporting()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with runtime:
            for number in range(10):
                with pytest.raises(ValueError, match="no"):
                    runtime.rpc(f"fail-{number}", failing).result(10)
            eventually(lambda: len(reports) == 10)
            assert [report.result(10) for report in reports] == list(range(1, 11))
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
    assert set(threads) == {"understudy"}
