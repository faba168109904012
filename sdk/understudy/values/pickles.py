"""cloudpickle, imported on first use because most programs never need it."""

from __future__ import annotations

import functools
import io
import pickle
import sys
from collections import ChainMap
from typing import Any, Final


def dumps(value: Any) -> bytes:
    """Pickle `value`; may raise any `Exception`."""
    with io.BytesIO() as file:
        _pickler_class()(file).dump(value)
        return file.getvalue()


def loads(data: bytes | memoryview) -> Any:
    """Unpickle `data`, which may run any code; may raise any `Exception`."""
    import cloudpickle  # type: ignore[import-untyped]  # it has no stubs

    return cloudpickle.loads(data)


@functools.cache
def _pickler_class() -> Any:
    """Return cloudpickle's pickler, made to refuse open files."""
    import cloudpickle

    table = cloudpickle.Pickler.dispatch_table

    def reduce_file(file: io.TextIOWrapper) -> Any:
        # cloudpickle reads it, and the reader would get a StringIO.
        if not any(file is standard for standard in (sys.stdin, sys.stdout, sys.stderr)):
            raise pickle.PicklingError("an open file stays in its process: pass its path")
        return table[io.TextIOWrapper](file)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no stubs
        dispatch_table: Final = ChainMap({io.TextIOWrapper: reduce_file}, table)

    return Pickler
