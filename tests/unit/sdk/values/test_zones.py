"""Times keep their zone, or are refused where they are sent."""

from __future__ import annotations

import io
import sys
import threading
import zoneinfo
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo

import pydantic
import pytest
import pytz
from dateutil import tz
from pydantic_core import TzInfo

from tests.unit.sdk.values.samples import CODEC, PICKLING, round_trip
from understudy.errors import DecodingError, EncodingError

#: in Berlin this hour comes twice, and the one of SPRING never
AUTUMN = datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001 - each test gives it a zone
SPRING = datetime(2024, 3, 31, 2, 30)  # noqa: DTZ001
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Meeting(pydantic.BaseModel):
    at: datetime
    daily: time


class Own(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, when: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, when: datetime | None) -> str:
        return "own"


def shown(value: datetime | time) -> tuple[object, ...]:
    offset, name = value.utcoffset(), value.tzname()
    return repr(value), value.fold, repr(value.tzinfo), offset, name, value.dst()


class TestStandardLibrary:
    @pytest.mark.parametrize(
        "value",
        [
            AUTUMN,
            AUTUMN.replace(tzinfo=UTC),
            AUTUMN.replace(tzinfo=BERLIN),
            AUTUMN.replace(tzinfo=BERLIN, fold=1),
            SPRING.replace(tzinfo=BERLIN),
            SPRING.replace(tzinfo=BERLIN, fold=1),
            AUTUMN.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
            AUTUMN.replace(tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
            AUTUMN.replace(tzinfo=timezone(timedelta(seconds=61, microseconds=5))),
            AUTUMN.replace(tzinfo=timezone(timedelta(hours=1), "CET")),
            AUTUMN.replace(tzinfo=timezone(timedelta(0), "a|b:c")),
            time(1, 2, tzinfo=BERLIN, fold=1),
            time(1, 2, tzinfo=timezone(timedelta(hours=1), "CET")),
            datetime.min.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))),
        ],
        ids=str,
    )
    def test_times_keep_their_zone(self, value: datetime | time) -> None:
        assert shown(round_trip(value)) == shown(value)

    @pytest.mark.parametrize(
        "zone",
        [
            Own(),
            zoneinfo.ZoneInfo.from_file(
                io.BytesIO(
                    b"TZif2"
                    + bytes(15)
                    + (0).to_bytes(4, "big") * 3
                    + (0).to_bytes(4, "big")
                    + (1).to_bytes(4, "big")
                    + (4).to_bytes(4, "big")
                    + bytes(6)
                    + b"UTC\0"
                    + b"TZif2"
                    + bytes(15)
                    + (0).to_bytes(4, "big") * 3
                    + (0).to_bytes(4, "big")
                    + (1).to_bytes(4, "big")
                    + (4).to_bytes(4, "big")
                    + bytes(6)
                    + b"UTC\0\nUTC0\n"
                )
            ),
        ],
        ids=["class", "file"],
    )
    def test_zones_that_cannot_be_kept_are_refused(self, zone: tzinfo) -> None:
        with pytest.raises(EncodingError, match=r"\['at'\]: a time: its zone.*Use a zoneinfo"):
            CODEC.encode_value({"at": AUTUMN.replace(tzinfo=zone)})

    def test_zones_that_cannot_be_kept_are_pickled_if_that_is_allowed(self) -> None:
        value = {"at": AUTUMN.replace(tzinfo=Own(), fold=1)}
        data = PICKLING.encode_value(value)
        got = PICKLING.decode_value(data)["at"]
        assert shown(got)[1:2] + shown(got)[3:] == (1, timedelta(hours=1), "own", timedelta(0))
        assert type(got.tzinfo) is Own
        with pytest.raises(DecodingError, match="it is pickled"):
            CODEC.decode_value(data)

    def test_a_zone_that_cannot_even_be_pickled_is_refused(self) -> None:
        zone = Own()
        vars(zone)["lock"] = threading.Lock()
        with pytest.raises(EncodingError, match=r"\['at'\]: a time: its zone.*Use a zoneinfo"):
            PICKLING.encode_value({"at": AUTUMN.replace(tzinfo=zone)})

    def test_a_name_that_is_no_text(self) -> None:
        zone = timezone(timedelta(0), "\udc80")
        with pytest.raises(EncodingError, match="Give the zone another name"):
            CODEC.encode_value(AUTUMN.replace(tzinfo=zone))


class TestLibraries:
    def test_pytz(self) -> None:
        berlin = pytz.timezone("Europe/Berlin")
        values: list[datetime | time] = [
            berlin.localize(AUTUMN, is_dst=True),
            berlin.localize(AUTUMN, is_dst=False),
            AUTUMN.replace(tzinfo=pytz.utc),
            AUTUMN.replace(tzinfo=pytz.FixedOffset(-90)),
            time(1, 2, tzinfo=pytz.utc),
        ]
        for value in values:
            assert shown(round_trip(value)) == shown(value)
        with pytest.raises(EncodingError, match="localize"):
            CODEC.encode_value(AUTUMN.replace(tzinfo=berlin))

    def test_dateutil(self) -> None:
        for zone in [tz.UTC, tz.tzoffset("a", 3600), tz.tzoffset(None, -60), tz.gettz(BERLIN.key)]:
            for fold in (0, 1):
                value = AUTUMN.replace(tzinfo=zone, fold=fold)
                assert shown(round_trip(value)) == shown(value)
        with pytest.raises(EncodingError, match="cannot be kept"):
            CODEC.encode_value(AUTUMN.replace(tzinfo=tz.tzlocal()))

    @pytest.mark.parametrize("text", ["Z", "+00:00", "+01:00", "-03:30", "+23:59"])
    def test_pydantic(self, text: str) -> None:
        """What pydantic reads from text has a zone of its own class."""
        read = Meeting.model_validate_json(
            f'{{"at": "2024-10-27T02:30:00.5{text}", "daily": "10:00:00{text}"}}'
        )
        for value in (read.at, read.daily, read.at.replace(fold=1)):
            assert type(value.tzinfo) is TzInfo
            got = round_trip(value)
            assert shown(got) == shown(value)
            assert type(got.tzinfo) is TzInfo
            assert got.tzinfo == value.tzinfo
            assert PICKLING.encode_value(value) == CODEC.encode_value(value)
        assert round_trip(read, Meeting) == read

    def test_a_reader_without_pydantic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = CODEC.encode_value(AUTUMN.replace(tzinfo=TzInfo(3600)))
        monkeypatch.setitem(sys.modules, "pydantic_core", None)
        with pytest.raises(DecodingError, match=r"not known here .*Install the package pydantic"):
            CODEC.decode_value(data)
