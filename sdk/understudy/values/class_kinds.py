"""Kinds of classes, as encoding and rebuilding distinguish them."""

from __future__ import annotations

import sys
from typing import Final

#: types that msgpack holds as they are
SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


def is_model(kind: type) -> bool:
    """Return whether `kind` is a pydantic model. Does not import pydantic.

    If nobody has imported pydantic, then no class can be a model.
    """
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def is_named_tuple(kind: type) -> bool:
    """Return whether `kind` was made by `typing.NamedTuple` or `collections.namedtuple`."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")
