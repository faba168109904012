"""Pickled values: only where both sides allow them."""

from __future__ import annotations

import enum
import functools
import subprocess
import sys
from collections import OrderedDict, namedtuple
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

from tests.unit.sdk.values.arrival import Returning
from tests.unit.sdk.values.samples import (
    CODEC,
    PICKLING,
    Color,
    Item,
    Point,
    same,
)
from understudy.errors import DecodingError, EncodingError


class Op(enum.Enum):
    MARK = object()
    ADD = functools.partial(sum)
    HALF = Fraction(1, 2)


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    known: Item
    _hidden: Any = None


Bare = namedtuple("Bare", "inner")


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

    @pytest.mark.parametrize("member", Op)
    def test_members_of_enums_by_name(self, member: Op) -> None:
        """A value that is pickled arrives as another object, which may equal no member's."""
        for hint in (Op, Op | None, Literal[member]):
            assert PICKLING.decode_value(PICKLING.encode_value(member), hint) is member
        data = PICKLING.encode_value({member: [member]}, function=Returning(dict[Op, list[Op]]))
        assert PICKLING.decode_value(data, dict[Op, list[Op]]) == {member: [member]}
        assert type(PICKLING.decode_value(PICKLING.encode_value(member))) is type(member.value)
        with pytest.raises(DecodingError, match="it is pickled"):
            CODEC.decode_value(PICKLING.encode_value(member), Op)

    def test_a_member_that_the_reader_does_not_have(self) -> None:
        data = PICKLING.encode_value(Op.MARK).replace(b"MARK", b"BARK")
        with pytest.raises(DecodingError, match=r"'BARK' is no member of .*Op"):
            PICKLING.decode_value(data, Op)

    def test_instances_in_attributes_without_annotation(self) -> None:
        item = Item("a")
        vars(item)["noted"] = {"by": [Color.RED]}
        allowed = Open.model_validate({"known": Item("b"), "extra": Item("c")})
        allowed._hidden = Point(1, 2)
        for value in (item, allowed, Bare(Point(1, 2))):
            hint = type(value)
            got = PICKLING.decode_value(
                PICKLING.encode_value(value, function=Returning(hint)), hint
            )
            assert got == value
            assert getattr(got, "__dict__", None) == getattr(value, "__dict__", None)
        with pytest.raises(EncodingError, match=r"at \.noted: .*Annotate the attribute"):
            CODEC.encode_value(item, function=Returning(Item))
        with pytest.raises(EncodingError, match=r"at \._hidden: .*Annotate the field"):
            CODEC.encode_value(allowed, function=Returning(Open))
        # Without a hint the reader wants raw data, not an object.
        assert CODEC.decode_value(CODEC.encode_value(Bare(Point(1, 2)))) == ({"x": 1, "y": 2},)

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

    def test_open_files_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with (tmp_path / "file").open("w+") as file:
            for value in (file, [file], functools.partial(print, file=file)):
                with pytest.raises(EncodingError, match=r"an open file .*: pass its path"):
                    PICKLING.encode_value(value)
            # Every process has an output.
            monkeypatch.setattr(sys, "stdout", file)
            assert PICKLING.decode_value(PICKLING.encode_value(file)) is file

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
