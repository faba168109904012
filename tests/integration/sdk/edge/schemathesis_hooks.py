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
