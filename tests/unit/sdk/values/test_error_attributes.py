"""Exceptions arrive with all that they had, whatever their constructor does with its arguments."""

from __future__ import annotations

import dataclasses
import enum
import json
import subprocess
import sys
import types
import urllib.error
from typing import Any

import pydantic
import pydantic_core
import pytest

from tests.unit.sdk.values.samples import CODEC, PICKLING, Color, Item, Spot
from tests.unit.sdk.values.test_errors import raised, travel
from understudy.errors import RemoteError, RemoteTraceback


class DefaultStatus(Exception):
    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class Formatted(Exception):
    def __init__(self, card: str) -> None:
        super().__init__(f"card {card} was declined")
        self.card = card


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Slotted(Exception):
    __slots__ = ("code", "never_set")

    def __init__(self, code: int) -> None:
        self.code = code


class Counting(Exception):
    made = 0

    def __init__(self) -> None:
        type(self).made += 1


class OwnNew(Exception):
    def __new__(cls, one: int, two: int) -> OwnNew:
        made = super().__new__(cls, one)
        made.two = two  # type: ignore[attr-defined]
        return made


class Disk(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(28, "full", path)
        self.path = path


@dataclasses.dataclass
class Data(Exception):
    code: int
    items: list[str]


class Nested:
    class Inner(Exception):
        pass


class Group(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception], code: int) -> Group:
        made = super().__new__(cls, "several", errors)
        made.code = code  # type: ignore[attr-defined]
        return made


class Model(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def positive(cls, value: int) -> int:
        if value < 0:
            raise ValueError("below zero")
        if value > 100:
            raise pydantic_core.PydanticCustomError("too_big", "{what} is too big", {"what": "it"})
        return value


def validation_error(number: Any) -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as caught:
        Model(number=number)
    return caught.value


class Plain(enum.Enum):
    ONE = 1


def content(error: BaseException) -> dict[str, Any]:
    """The attributes, without what an arrival adds."""
    return {name: item for name, item in vars(error).items() if name != "__notes__"}


class TestAttributes:
    @pytest.mark.parametrize(
        "error",
        [
            DefaultStatus("no such customer", status=404),
            Formatted("4711"),
            KeywordOnly(code=3),
            Slotted(4),
            OwnNew(1, 2),
            Disk("/x"),
            Data(3, ["a"]),
            Nested.Inner("x"),
            KeyError("k"),
            KeyError(("a", 1)),
            OSError("only text"),
            OSError(2, "No such file", "a", None, "b"),
            BlockingIOError(11, "later", 5),
            ConnectionRefusedError(111, "refused"),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
            UnicodeEncodeError("ascii", "\xe9", 0, 1, "bad"),
            json.JSONDecodeError("no value", "{", 1),
            ImportError("no", name="n", path="p"),
            ModuleNotFoundError("no", name="n"),
            NameError("no", name="n"),
            SyntaxError("bad", ("f.py", 3, 4, "text", 3, 5)),
            subprocess.CalledProcessError(3, ["cmd"], b"out", b"err"),
            subprocess.TimeoutExpired("cmd", 3.5),
            MemoryError(),
            RecursionError("deep"),
            AssertionError(),
            validation_error("x"),
            validation_error(-3),
            validation_error(101),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_every_attribute_arrives(self, error: Exception) -> None:
        got = travel(error)
        assert type(got) is type(error)
        assert got.args == error.args
        assert content(got) == content(error)
        assert str(got) == str(error)
        names = ["errno", "strerror", "filename", "filename2", "characters_written", "name", "path"]
        names += ["encoding", "object", "start", "end", "reason", "lineno", "offset", "code"]
        for name in names:
            assert getattr(got, name, "absent") == getattr(error, name, "absent")
        assert not hasattr(got, "__notes__")

    def test_no_constructor_runs(self) -> None:
        error = Counting()
        assert type(travel(error)) is Counting
        assert Counting.made == 1

    def test_classes_among_the_attributes(self) -> None:
        error = Formatted("1")
        vars(error).update(color=Color.RED, items=[Item("a")], spots=(Spot, 1)[1:])
        got = travel(error)
        assert vars(got) == vars(error)

    def test_a_class_that_is_not_loaded_is_named_in_a_note(self) -> None:
        error = Formatted("1")
        vars(error)["plain"] = Plain.ONE
        data = CODEC.encode_error(error).replace(b"Plain", b"Plane")
        got = CODEC.decode_error(data)
        assert type(got) is Formatted
        assert "plain cannot be read here" in got.__notes__[0]
        assert "Plane is not loaded" in got.__notes__[0]

    def test_exceptions_among_arguments_and_attributes(self) -> None:
        error = urllib.error.URLError(ConnectionRefusedError(111, "refused"))
        got = travel(error)
        assert type(got) is urllib.error.URLError
        assert type(got.reason) is ConnectionRefusedError
        assert got.reason.errno == 111
        assert repr(got.args) == repr(error.args)

    def test_an_exception_that_contains_itself(self) -> None:
        error = Formatted("1")
        vars(error)["me"] = error
        assert type(travel(error)) is Formatted

    def test_pickles_only_for_what_is_not_plain(self) -> None:
        error = Formatted("1")
        vars(error)["raw"] = bytearray(b"x")
        got = travel(error, PICKLING)
        assert vars(got) == {"card": "1", "raw": bytearray(b"x")}

    def test_large_attributes_are_left_out_first(self) -> None:
        error = Formatted("1")
        vars(error)["body"] = "x" * 5_000_000
        got = travel(error)
        assert type(got) is Formatted
        assert vars(got)["card"] == "1"
        assert "body did not travel: 5,000,005 bytes are too large" in got.__notes__


class TestGroups:
    def test_members_arrive_with_their_classes(self) -> None:
        group = ExceptionGroup("all", [Formatted("1"), ExceptionGroup("in", [KeyError("k")])])
        got = travel(group)
        assert type(got) is ExceptionGroup
        assert got.message == "all"
        matched, rest = got.split(Formatted)
        assert matched is not None
        assert vars(matched.exceptions[0]) == {"card": "1"}
        assert rest is not None
        assert repr(rest.exceptions[0]) == repr(ExceptionGroup("in", [KeyError("k")]))

    def test_a_subclass_with_a_constructor_of_its_own(self) -> None:
        got = travel(Group([ValueError("x")], 3))
        assert type(got) is Group
        assert got.code == 3  # type: ignore[attr-defined]
        assert repr(got.exceptions) == repr((ValueError("x"),))

    def test_members_of_classes_that_are_not_loaded(self) -> None:
        data = CODEC.encode_error(ExceptionGroup("g", [Formatted("1"), KeyError("k")]))
        got = CODEC.decode_error(data.replace(b"Formatted", b"Farmotted"))
        assert isinstance(got, ExceptionGroup)
        assert [type(member) for member in got.exceptions] == [RemoteError, KeyError]


class TestCauses:
    def test_cause_and_context(self) -> None:
        error = raised(Formatted("1"), cause=raised(KeyError("k"), cause=ValueError("v")))
        got = CODEC.decode_error(CODEC.encode_error(error))
        assert type(got.__cause__) is KeyError
        assert type(got.__cause__.__cause__) is ValueError
        assert isinstance(got.__cause__.__cause__.__cause__, RemoteTraceback)

        try:
            try:
                raise KeyError("k")
            except KeyError:
                raise Formatted("1")  # noqa: B904 - the context is what is tested
        except Formatted as raised_in_handler:
            got = CODEC.decode_error(CODEC.encode_error(raised_in_handler))
        assert type(got.__context__) is KeyError
        assert isinstance(got.__cause__, RemoteTraceback)

    def test_they_arrive_after_two_journeys(self) -> None:
        first = CODEC.decode_error(CODEC.encode_error(raised(Formatted("1"), KeyError("k"))))
        got = CODEC.decode_error(CODEC.encode_error(raised(first, first.__cause__)))
        assert type(got) is Formatted
        assert type(got.__cause__) is KeyError
        assert isinstance(got.__cause__.__cause__, RemoteTraceback)

    def test_notes_that_are_added_on_the_way(self) -> None:
        data = CODEC.encode_error(Formatted("1")).replace(b"Formatted", b"Farmotted")
        stranger = CODEC.decode_error(data)
        stranger.add_note("on the way")
        passed_on = CODEC.encode_error(stranger).replace(b"Farmotted", b"Formatted")
        got = CODEC.decode_error(passed_on)
        assert type(got) is Formatted
        assert got.__notes__ == ["on the way"]


class TestClasses:
    def test_a_class_inside_a_function(self) -> None:
        class Local(Exception):
            pass

        assert type(travel(Local("x"))) is Local

    def test_a_class_of_a_script_that_is_imported_elsewhere(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = Formatted.__module__
        fields = CODEC.decode_value(CODEC.encode_error(Formatted("1")))
        fields |= {"module": "__main__", "main": here}
        assert type(CODEC.decode_error(CODEC.encode_value(fields))) is Formatted
        main = types.ModuleType("__main__")
        main.__file__ = "/somewhere/shop.py"
        main.Formatted = Formatted  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "__main__", main)
        fields |= {"module": "shop", "main": ""}
        assert type(CODEC.decode_error(CODEC.encode_value(fields))) is Formatted

    def test_a_modules_getattr_is_not_called(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def give(name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

        lazy = types.ModuleType("lazy_module")
        lazy.__getattr__ = give  # type: ignore[method-assign]
        monkeypatch.setitem(sys.modules, "lazy_module", lazy)
        fields = {"module": "lazy_module", "name": "Formatted", "message": "x"}
        assert type(CODEC.decode_error(CODEC.encode_value(fields))) is RemoteError
        assert "Formatted" not in asked


#: as early versions stored it, with arguments for the constructor
OLD_OSERROR = {
    "module": "builtins",
    "name": "FileNotFoundError",
    "message": "[Errno 2] No such file: '/x'",
    "args": CODEC.encode_value((2, "No such file", "/x")),
}


def test_errors_of_old_stores() -> None:
    got = CODEC.decode_error(CODEC.encode_value(OLD_OSERROR))
    assert type(got) is FileNotFoundError
    assert (got.errno, got.filename, str(got)) == (2, "/x", OLD_OSERROR["message"])
    old = {
        "module": Formatted.__module__,
        "name": "Formatted",
        "message": "card 1 was declined",
        "args": CODEC.encode_value(("card 1 was declined",)),
        "state": {"card": CODEC.encode_value("1")},
    }
    got = CODEC.decode_error(CODEC.encode_value(old))
    assert type(got) is Formatted
    assert vars(got) == {"card": "1"}
