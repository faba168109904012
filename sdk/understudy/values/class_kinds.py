"""Kinds of classes, as encoding and rebuilding distinguish them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import sys
import uuid
from typing import Final

import msgspec

#: types that msgpack holds as they are
SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


#: types whose values always arrive as what they were
PLAIN: Final = SCALARS | {
    list,
    dict,
    tuple,
    set,
    frozenset,
    dt.datetime,
    dt.time,
    dt.date,
    dt.timedelta,
    decimal.Decimal,
    uuid.UUID,
}


def is_data_class(kind: type) -> bool:
    """Return whether the values of a class are sent by their fields."""
    return (
        issubclass(kind, enum.Enum | msgspec.Struct)
        or dataclasses.is_dataclass(kind)
        or is_named_tuple(kind)
        or is_model(kind)
    )


def is_model(kind: type) -> bool:
    """Return whether `kind` is a pydantic model. Does not import pydantic.

    If nobody has imported pydantic, then no class can be a model.
    """
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def is_named_tuple(kind: type) -> bool:
    """Return whether `kind` was made by `typing.NamedTuple` or `collections.namedtuple`."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")
