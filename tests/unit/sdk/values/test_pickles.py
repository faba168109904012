"""Pickled values: only where both sides allow them."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import OrderedDict

import pytest

from tests.unit.sdk.values.samples import (
    CODEC,
    PICKLING,
    Color,
    Item,
    same,
)
from understudy.errors import DecodingError, EncodingError


class TestPickle:
    def test_other_values_are_pickled_if_allowed(self) -> None:
        value = {"f": functools.partial(int, base=2), "o": OrderedDict(a=1), "t": (1,)}
        got = PICKLING.decode_value(PICKLING.encode_value(value))
        assert got["f"]("101") == 5
        assert same(got["o"], value["o"])
        assert got["t"] == (1,)

    def test_functions_travel_by_value(self) -> None:
        secret = 42
        ((f,), _) = PICKLING.decode_call(PICKLING.encode_call((lambda: secret,), {}))
        assert f() == 42

    def test_plain_data_and_records_are_never_pickled(self) -> None:
        value = (Item("a"), [Color.RED], 2**70)
        assert PICKLING.encode_value(value) == CODEC.encode_value(value)

    def test_pickled_data_is_refused_unless_allowed(self) -> None:
        data = PICKLING.encode_call((OrderedDict(a=1),), {})
        with pytest.raises(DecodingError, match=r"it is pickled.*pickle=True"):
            CODEC.decode_call(data)
        with pytest.raises(DecodingError, match="it is pickled"):
            CODEC.decode_value(PICKLING.encode_value(OrderedDict()), Item)

    def test_a_failure_to_pickle_names_the_place(self) -> None:
        with pytest.raises(
            EncodingError, match=r"argument 'g' at g\[0\]: .*generator cannot be pick"
        ):
            PICKLING.encode_call((), {"g": [(i for i in "")]})

    def test_damaged_pickles(self) -> None:
        data = PICKLING.encode_value(OrderedDict(a=1))
        with pytest.raises(DecodingError, match="cannot be unpickled"):
            PICKLING.decode_value(data.replace(b"OrderedDict", b"DisorderDic"))


def test_importing_values_imports_nothing_heavy() -> None:
    heavy = {"trio", "zmq", "asyncio", "pydantic", "cloudpickle", "sqlmodel", "sqlalchemy"}
    code = (
        "import sys, understudy.values, understudy.errors, understudy.retry, understudy.options, "
        f"understudy.registry; print(sorted({heavy!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
