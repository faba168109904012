"""What schemathesis is told of this API beyond its OpenAPI document."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("zone", st.sampled_from(["UTC", "Europe/Vienna", "America/New_York"]))
schemathesis.openapi.format("cron", st.sampled_from(["0 3 * * *", "*/5 * * * *", "30 0 3 * * 1"]))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give each call a key of its own: the same key with other arguments is refused."""
    if case.headers and case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = uuid4().hex
    _ask_for_one_order(case)


def _ask_for_one_order(case: Any) -> None:
    """Leave out of a list of calls the parameters that belong to its other order."""
    query = case.query
    if case.path != "/calls" or not query:
        return
    newest = {"since", "until", "error", "slow", "counts"}
    if query.get("order") == "newest" or (newest & query.keys() and "order" not in query):
        for name in ("origin", "cursor"):
            query.pop(name, None)
        return
    for name in newest:
        query.pop(name, None)
    if query.get("state") == "failed":
        del query["state"]
