"""The examples' functions, tested as users would: on a stage, with crashes and replays."""

from __future__ import annotations

import queue
import re
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from examples import (
    async_style,
    countdown,
    fan_out,
    fib,
    human_in_the_loop,
    retries,
    saga,
    schedule,
    versions,
)
from understudy import Context, NonDeterminismError
from understudy.testing import Stage, crash_everywhere, record, replay


@pytest.fixture(autouse=True)
def mail() -> Iterator[queue.Queue[tuple[str, str]]]:
    """The reviewer's mail. The queues are emptied, so that nothing reaches the next test."""
    yield human_in_the_loop.mail
    human_in_the_loop.mail.queue.clear()
    schedule.reports.queue.clear()


def test_fib_survives_every_crash() -> None:
    report = crash_everywhere(fib.fib, 4)
    assert report.result == 3
    assert report.crashes > 40


def test_fan_out_survives_every_crash() -> None:
    report = crash_everywhere(fan_out.survey, list(fan_out.PAGES))
    assert "[4, 6, 5], together 15" in report.result


def test_async_functions_survive_every_crash() -> None:
    assert crash_everywhere(async_style.foo, 4).result == 45


def test_a_countdown_takes_no_time_and_repeats_at_most_one_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[list[str]] = []

    def check() -> None:
        said.append(re.findall(r"\d+", capsys.readouterr().out))

    report = crash_everywhere.on(check=check)(countdown.countdown, 5)
    assert report.result == "Lift-off!"
    assert [step.name for step in report.repeated] == ["print_number"]
    for numbers in said:
        assert list(dict.fromkeys(numbers)) == ["5", "4", "3", "2", "1"]
        assert len(numbers) <= 6


def test_a_trip_is_booked_or_undone_wherever_it_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def every_booking_is_canceled() -> None:
        lines = capsys.readouterr().out.splitlines()
        booked = {line.split()[0] for line in lines if line.endswith("booked")}
        canceled = {line.split()[0] for line in lines if line.endswith("canceled")}
        assert booked == canceled == {"flight", "hotel"}

    crashes = crash_everywhere.on(check=every_booking_is_canceled, raises=saga.SoldOutError)
    report = crashes(saga.book_trip, "Paris")
    assert str(report.error) == "the theater in Paris is sold out"
    assert len(crash_everywhere(saga.book_trip, "London").result) == 3


def test_an_answer_from_outside(mail: queue.Queue[tuple[str, str]]) -> None:
    with Stage(human_in_the_loop.runtime):
        handle = human_in_the_loop.runtime.rpc("post-1", human_in_the_loop.publish, "Calls")
        promise_id, text = mail.get_nowait()
        assert text == "May 'Calls' be published?"
        human_in_the_loop.runtime.promises.resolve(promise_id, "yes")
        assert handle.result() == "'Calls' is published"
    report = crash_everywhere.on(outside=lambda _: "no")(human_in_the_loop.publish, "Draft")
    assert report.result == "'Draft' stays in the drawer"


def test_retries_take_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Stage(retries.runtime) as stage:
        began = stage.clock.time
        assert retries.runtime.rpc("checkout-1", retries.checkout).result() == "checked out"
        assert stage.clock.time == pytest.approx(began + 0.1)
    assert "ann charged at attempt 3" in capsys.readouterr().out


def test_a_schedule_follows_the_clock() -> None:
    with Stage(schedule.runtime) as stage:
        schedule.runtime.schedules.create("minutely", "* * * * *", schedule.report, "the sales")
        stage.clock.advance(3600)
    assert schedule.reports.qsize() == 60


def test_changed_code_cannot_continue_calls_of_the_old_code() -> None:
    with Stage(versions.runtime):
        versions.runtime.rpc("price-1", versions.price_v1, 100).result()
        history = record("price-1", versions.runtime)
    assert replay(history, versions.price_v1)[0].same_result

    def price(ctx: Context, amount: int) -> Generator[Any, Any, int]:
        yield ctx.sleep(1)
        return (yield from ctx.run(versions.tax, amount, 16))

    with pytest.raises(NonDeterminismError, match=r"run tax .*but the code now asks for sleep"):
        replay(history, price)
