"""cloudpickle, imported on first use because most programs never need it."""

from __future__ import annotations

from typing import Any


def dumps(value: Any) -> bytes:
    """Pickle `value`; may raise any `Exception`."""
    import cloudpickle  # type: ignore[import-untyped]  # it has no stubs

    data: bytes = cloudpickle.dumps(value)
    return data


def loads(data: bytes | memoryview) -> Any:
    """Unpickle `data`, which may run any code; may raise any `Exception`."""
    import cloudpickle

    return cloudpickle.loads(data)
