"""The limits of a role, as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.grants import parse_role
from understudy_broker.keys.quota import LIMITS, NO_QUOTA, Quota, parse_quota


def test_limits_are_numbers_and_sizes() -> None:
    table = dict.fromkeys(LIMITS, 5) | {"bytes": "16MiB", "stored": "2 GiB", "retention": "1h"}
    assert parse_quota("r", table) == Quota(5, 5, 2**24, 5, 2**31, 5, 5, 5, 3_600_000)
    assert parse_quota("r", {}) == NO_QUOTA
    assert parse_role("r", {"limits": {"pending": 7}}).limits == Quota(pending=7)
    assert parse_role("r", {}).limits == NO_QUOTA


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (5, "write a table"),
        ({"calls": 5}, "calls is no limit; there are commands, burst, bytes"),
        ({"pending": 0}, "pending is a whole number, at least 1, not 0"),
        ({"pending": True}, "not True"),
        ({"pending": 1.5}, "not 1.5"),
        ({"pending": "5"}, "not '5'"),
        ({"pending": 2**54}, "at least 1"),
        ({"stored": "2GB"}, 'stored is bytes, as a number or as "2GiB"'),
        ({"stored": "-1"}, "not '-1'"),
        ({"retention": 5}, 'retention is a time longer than zero, as "30d", not 5'),
        ({"retention": "never"}, "not 'never'"),
        ({"retention": "0s"}, "not '0s'"),
        ({"retention": "1 day"}, "not '1 day'"),
        ({"burst": 5}, "burst has no meaning without commands"),
    ],
)
def test_limits_that_are_not_understood_are_refused(table: Any, said: str) -> None:
    with pytest.raises(RightsError) as caught:
        parse_quota("team-a", table)
    assert said in str(caught.value)
    assert str(caught.value).startswith("role 'team-a': limits")
