"""Pages of other sites are known by what browsers say of their requests."""

from __future__ import annotations

import pytest

from understudy.edge.sites import is_from_elsewhere

HOST = (b"Host", b"127.0.0.1:8001")


@pytest.mark.parametrize(
    ("headers", "is_elsewhere"),
    [
        ({}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://edge.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://127.0.0.1:8001"}, False),
        ({"origin": "http://127.0.0.1:3000"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://[evil"}, True),
    ],
)
def test_where_a_request_comes_from(headers: dict[str, str], is_elsewhere: bool) -> None:
    given = [(name.encode(), text.encode()) for name, text in headers.items()]
    assert is_from_elsewhere([HOST, *given]) == is_elsewhere
