"""cloudpickle, imported on first use: most programs never do."""

from __future__ import annotations

from typing import Any


def dumps(value: Any) -> bytes:
    """May raise any `Exception`."""
    import cloudpickle  # type: ignore[import-untyped]

    data: bytes = cloudpickle.dumps(value)
    return data


def loads(data: bytes | memoryview) -> Any:
    """May raise any `Exception`, and run any code."""
    import cloudpickle

    return cloudpickle.loads(data)
