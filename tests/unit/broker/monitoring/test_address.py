"""Addresses at which metrics are shown."""

from __future__ import annotations

import pytest

from understudy_broker.monitoring.address import MonitoringAddressError, Place, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9090", "127.0.0.1:9090"),
        ("9100", "127.0.0.1:9100"),
        ("[::1]:0", "[::1]:0"),
        ("*:9090", "0.0.0.0:9090"),
        ("http://localhost:9090", "localhost:9090"),
    ],
)
def test_a_place_is_read(text: str, place: str) -> None:
    assert str(parse_place(text)) == place


@pytest.mark.parametrize("text", ["none", "off"])
def test_there_may_be_none(text: str) -> None:
    assert parse_place(text) is None


@pytest.mark.parametrize("text", ["", ":9090", "host", "host:", "host:x", "h:70000", "::1:9", "-1"])
def test_a_wrong_one_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(MonitoringAddressError, match=r"write HOST:PORT, as in 127\.0\.0\.1:9090"):
        parse_place(text)


def test_further_nodes_follow_at_the_next_ports() -> None:
    assert Place("127.0.0.1", 9100).after(3) == Place("127.0.0.1", 9103)
    assert Place("127.0.0.1", 0).after(3).port == 0
