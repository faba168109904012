"""pydantic's ValidationError, which is built of its errors, because it has no attributes."""

from __future__ import annotations

import sys
from typing import Any


def is_validation_error(kind: type) -> bool:
    """Return whether `kind` is pydantic's ValidationError. Does not import pydantic."""
    pydantic = sys.modules.get("pydantic_core")
    return pydantic is not None and kind is pydantic.ValidationError


def validation_parts(error: Any) -> dict[str, Any]:
    """Return what `build_validation_error` needs."""
    _, (title, _, mode, hides_input) = error.__reduce__()
    return {
        "title": title,
        "mode": mode,
        "hides_input": hides_input,
        "errors": [
            {name: item[name] for name in ("type", "loc", "msg", "input", "ctx") if name in item}
            for item in error.errors(include_url=False)
        ],
    }


def build_validation_error(parts: Any) -> Exception:
    """Build the error; may raise any `Exception`."""
    core = sys.modules["pydantic_core"]
    errors = []
    for item in parts["errors"]:
        try:
            core.PydanticKnownError(item["type"], item.get("ctx"))
        except KeyError:
            # A text that is no template must not be taken for one.
            message = item["msg"].replace("{", "{{").replace("}", "}}")
            custom = core.PydanticCustomError(item["type"], message, item.get("ctx"))
            item = {**item, "type": custom}
        errors.append({name: value for name, value in item.items() if name != "msg"})
    made: Exception = core.ValidationError.from_exception_data(
        parts["title"], errors, parts["mode"], parts["hides_input"]
    )
    return made
