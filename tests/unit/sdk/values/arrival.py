"""A value as the result of an annotated function: it arrives, or is refused where it is sent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.unit.sdk.values.samples import CODEC
from understudy.errors import EncodingError
from understudy.values import Codec


@dataclasses.dataclass
class Returning:
    """A function, as far as the codec looks at one that returned a value."""

    result_hint: Any


def arrive(value: Any, hint: Any, codec: Codec = CODEC) -> Any:
    return codec.decode_value(codec.encode_value(value, function=Returning(hint)), hint)


def check(value: Any, hint: Any) -> None:
    got = arrive(value, hint)
    assert type(got) is type(value)
    assert got == value
    assert repr(got) == repr(value)


def refuse(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        CODEC.encode_value(value, "it", Returning(hint))
