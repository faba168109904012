"""Cron lines in time zones: what is due on days when clocks are set forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from understudy_store.machine import cron
from understudy_store.zones import system_zone

VIENNA = ZoneInfo("Europe/Vienna")
DAY = timedelta(days=1)
#: zones and days on which their clocks are set: by an hour, by half an hour, at midnight
CHANGES = [
    ("Europe/Vienna", 2026, 3, 29),
    ("Europe/Vienna", 2026, 10, 25),
    ("America/New_York", 2026, 3, 8),
    ("America/New_York", 2026, 11, 1),
    ("Australia/Lord_Howe", 2026, 4, 5),
    ("Australia/Lord_Howe", 2026, 10, 4),
    ("America/Sao_Paulo", 2018, 11, 4),
    ("America/Sao_Paulo", 2018, 2, 18),
]


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def due(line: str, zone: ZoneInfo, first: datetime, last: datetime) -> list[int]:
    """All occurrences after a time, up to another one."""
    found: list[int] = []
    at = cron.following(line, ms(first), zone)
    while at is not None and at <= ms(last):
        found.append(at)
        at = cron.following(line, at, zone)
    return found


def shown(times: list[int], zone: ZoneInfo) -> list[str]:
    return [f"{datetime.fromtimestamp(at / 1000, zone):%d %H:%M%z}" for at in times]


@pytest.mark.parametrize(
    ("line", "day", "expected"),
    [
        # Forward: a time that is left out comes at once after the gap, once.
        ("30 2 * * *", 28, ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("0 30 2 * * *", 28, ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("15,45 2 29 * *", 28, ["29 03:00+0200"]),
        ("0 3 29 * *", 28, ["29 03:00+0200"]),
        ("0 1-4 29 * *", 28, ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]),
        # Intervals know of no gap.
        ("30 * 29 * *", 28, [f"29 {h:02}:30+0{1 + (h > 1)}00" for h in range(24) if h != 2]),
    ],
)
def test_a_day_with_a_gap(line: str, day: int, expected: list[str]) -> None:
    first = datetime(2026, 3, day, tzinfo=VIENNA)
    assert shown(due(line, VIENNA, first, first + 3 * DAY), VIENNA) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Back: a time that is there twice counts the first time.
        ("30 2 25 * *", ["25 02:30+0200"]),
        ("0 30 2 25 * *", ["25 02:30+0200"]),
        ("0 1-3 25 * *", ["25 01:00+0200", "25 02:00+0200", "25 03:00+0100"]),
        # Intervals go on.
        (
            "*/30 2 25 * *",
            ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100"],
        ),
    ],
)
def test_a_day_with_an_hour_twice(line: str, expected: list[str]) -> None:
    first = datetime(2026, 10, 24, tzinfo=VIENNA)
    assert shown(due(line, VIENNA, first, first + 3 * DAY), VIENNA) == expected


def test_what_was_due_in_the_first_of_two_hours_is_not_due_in_the_second() -> None:
    within = datetime(2026, 10, 25, 2, 10, tzinfo=VIENNA, fold=1)
    found = cron.following("30 2 * * *", ms(within), VIENNA)
    assert found == ms(datetime(2026, 10, 26, 2, 30, tzinfo=VIENNA))


def _expected(
    minutes: set[int], hours: set[int], zone: ZoneInfo, first: datetime, *, fixed: bool
) -> list[int]:
    """What is due in three days, found minute by minute."""
    found: set[int] = set()
    if fixed:
        for minute in range(5 * 24 * 60):
            wall = first.replace(tzinfo=None) - DAY + timedelta(minutes=minute)
            if wall.minute not in minutes or wall.hour not in hours:
                continue
            at = wall.replace(tzinfo=zone)
            while at.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall:
                wall += timedelta(minutes=1)
                at = wall.replace(tzinfo=zone)
            found.add(ms(at))
    else:
        start = first.astimezone(UTC) - DAY
        for minute in range(5 * 24 * 60):
            utc = start + timedelta(minutes=minute)
            wall = utc.astimezone(zone)
            if wall.minute in minutes and wall.hour in hours:
                found.add(ms(utc))
    return sorted(at for at in found if ms(first) < at)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_it_agrees_with_a_clock_on_the_wall(change: tuple[str, int, int, int]) -> None:
    name, year, month, day = change
    zone = system_zone(name)
    assert isinstance(zone, ZoneInfo)
    random = Random(str(change))
    first = datetime(year, month, day, tzinfo=zone) - DAY
    for _ in range(6):
        minutes = {random.randrange(60) for _ in range(random.choice([1, 2]))}
        hours = {random.choice([0, 1, 1, 2, 2, 3, 12, 23]) for _ in range(random.choice([1, 3]))}
        line = ",".join(map(str, minutes)), ",".join(map(str, hours))
        found = due(f"{line[0]} {line[1]} * * *", zone, first, first + 3 * DAY)
        expected = _expected(minutes, hours, zone, first, fixed=True)
        assert found == [at for at in expected if at <= ms(first + 3 * DAY)]
        # `cronsim` does not count hours right where clocks are set by half an hour.
        every = "*" if zone.key == "Australia/Lord_Howe" else line[1]
        step = random.choice([7, 15, 20])
        interval = f"*/{step} {every} * * *"
        found = due(interval, zone, first, first + 3 * DAY)
        steps, hours = set(range(0, 60, step)), set(range(24)) if every == "*" else hours
        expected = _expected(steps, hours, zone, first, fixed=False)
        assert found == [at for at in expected if at <= ms(first + 3 * DAY)]
        # Backwards it is the same.
        for at, before in zip(found[1:], found, strict=False):
            assert cron.preceding(interval, at - 1, zone) == before
            assert cron.preceding(interval, at, zone) == at


@pytest.mark.parametrize(
    "line", ["30 2 * * *", "0 */6 * * *", "15 2,3 * * 0", "10 0 0 1 * *", "* * * * *"]
)
@pytest.mark.parametrize("month", [3, 10])
def test_the_last_occurrence_is_the_one_before_the_next(line: str, month: int) -> None:
    random = Random(f"{line}{month}")
    around = ms(datetime(2026, month, 25 if month == 10 else 29, 2, tzinfo=VIENNA))
    for _ in range(60):
        until = around + random.randrange(-8 * 3_600_000, 8 * 3_600_000)
        before = cron.preceding(line, until, VIENNA)
        assert before is not None
        assert before <= until
        after = cron.following(line, before, VIENNA)
        assert after is not None
        assert after > until
        assert cron.following(line, before - 1, VIENNA) == before


def test_times_that_no_calendar_has() -> None:
    assert cron.following("0 0 31 2 1#1", 2**62) is None
    assert cron.preceding("0 0 * * *", 2**62) is None
    assert cron.preceding("0 0 1 1 *", -(2**62)) is None


def test_what_is_put_off_is_put_off_alike_each_time() -> None:
    each = [cron.offset("s", at, at + 60_000, 30_000) for at in range(0, 600_000, 60_000)]
    assert each == [cron.offset("s", at, at + 60_000, 30_000) for at in range(0, 600_000, 60_000)]
    assert len(set(each)) > 5
    assert all(0 <= ms <= 30_000 for ms in each)
    assert all(cron.offset("s", at, at + 5_000, 30_000) <= 4_000 for at in range(100))
    assert cron.offset("s", 0, 1_000, 30_000) == cron.offset("s", 0, 60_000, 0) == 0


@pytest.mark.parametrize("name", ["Europe/Vienna", "UTC", "America/Argentina/Salta"])
def test_zones_have_the_names_of_the_database(name: str) -> None:
    assert str(system_zone(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Vienna",
        "europe/vienna",
        "../etc/passwd",
        "/etc/passwd",
        "Europe",
        "zone.tab",
        "\0",
        "localtime",
        "posix/UTC",
        "right/UTC",
        "Europe/" + "x" * 5000,
        "\ud800",
    ],
)
def test_what_is_no_zone_is_none(name: str) -> None:
    assert system_zone(name) is None
