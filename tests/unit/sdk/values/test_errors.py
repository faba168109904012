"""Exceptions through the codec: the original class if it is known, else a RemoteError."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.actors.interpreter.harness import Harness
from understudy import errors
from understudy.errors import (
    DecodingError,
    RemoteError,
    RemoteTraceback,
    UnderstudyError,
    UnknownFunctionError,
)
from understudy.values import Codec

CODEC = Codec()
PICKLING = Codec(pickle=True)


class OutOfStock(Exception):
    def __init__(self, sku: str, wanted: int) -> None:
        super().__init__(sku, wanted)
        self.sku = sku

    def __str__(self) -> str:
        return f"no {self.sku}"


class OddConstructor(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class DictBacked(Exception):
    """As the errors of many HTTP clients are: attributes come from the answer."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__("api")
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["fields"][name]


class Hiding(Exception):
    """All that Python keeps in an exception is hidden by code that raises."""

    @property
    def _raises(self) -> Any:
        raise SystemExit("hidden")

    __notes__ = __cause__ = __context__ = __dict__ = __suppress_context__ = args = _raises


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class InterruptedText(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class ExitingPickle(Exception):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.part = Part()


class Part:
    def __reduce__(self) -> Any:
        raise SystemExit(4)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """`error` with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def travel(error: BaseException, codec: Codec = CODEC) -> BaseException:
    return codec.decode_error(codec.encode_error(raised(error)))


class TestRebuilt:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("bad", 3, (1, 2)),
            KeyError("k"),
            ZeroDivisionError(),
            FileNotFoundError(2, "No such file", "/x"),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
            OutOfStock("nut", 3),
            TimeoutError("late"),
            msgspec.ValidationError("x"),
        ],
        ids=repr,
    )
    def test_known_types_arrive_as_themselves(self, error: Exception) -> None:
        got = travel(error)
        assert type(got) is type(error)
        assert got.args == error.args
        assert str(got) == str(error)

    @pytest.mark.parametrize(
        "error",
        [
            errors.NonDeterminismError("rfc bar", "rfc baz", "a.py:1", "a.py:2"),
            errors.UnknownFunctionError("foo", 3, [1, 2], ["fooo"]),
            errors.EncodingError("argument 1", "object"),
            errors.PayloadTooLargeError("argument 1", 10, 5),
            errors.DecodingError("argument 1", "damaged"),
            errors.DeadlineExceededError("id.1"),
            errors.CanceledError("id.1"),
            errors.NameInUseError("node-1", "g"),
            errors.BrokerUnavailableError("tcp://x:1", "refused"),
            errors.ConfigurationError("x"),
            errors.NonRetryableError("x"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_the_sdks_own_errors_arrive_with_their_attributes(self, error: UnderstudyError) -> None:
        got = travel(error)
        assert type(got) is type(error)
        assert str(got) == str(error)
        assert vars(got) == vars(error)

    def test_attributes_that_cannot_travel_are_named_in_a_note(self) -> None:
        error = ValueError("x")
        error.status = 500  # type: ignore[attr-defined]
        error.sockets = [object()]  # type: ignore[attr-defined]
        got = travel(error)
        assert got.status == 500  # type: ignore[attr-defined]
        assert not hasattr(got, "sockets")
        assert got.__notes__ == [
            "sockets did not travel: [0] object of type object is not plain data"
        ]

    def test_printing_it_shows_where_it_happened(self) -> None:
        error = raised(ValueError("bad"), cause=KeyError("k"))
        got = CODEC.decode_error(CODEC.encode_error(error))
        assert isinstance(got.__cause__, KeyError)
        assert isinstance(got.__cause__.__cause__, RemoteTraceback)
        text = "".join(traceback.format_exception(got))
        assert "in raised" in text
        assert "KeyError: 'k'" in text
        assert text.rstrip().endswith("ValueError: bad")

    def test_notes_travel(self) -> None:
        error = ValueError("x")
        error.add_note("while packing")
        assert travel(error).__notes__ == ["while packing"]


class TestRemote:
    @pytest.mark.parametrize(
        "error",
        [
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            asyncio.CancelledError(),
            StopIteration(4),
            StopAsyncIteration(),
            BaseExceptionGroup("several", [SystemExit(3)]),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_other_classes_arrive_as_remote_errors(self, error: BaseException) -> None:
        got = travel(error)
        assert type(got) is RemoteError
        assert got.type_name == f"{type(error).__module__}.{type(error).__qualname__}"
        assert got.message == str(error)
        assert "in raised" in got.remote_traceback
        assert got.args_repr == repr(error.args)
        assert isinstance(got.__cause__, RemoteTraceback)

    def test_unknown_classes(self) -> None:
        data = CODEC.encode_error(Custom("x")).replace(b"Custom", b"Costum")
        got = CODEC.decode_error(data)
        assert type(got) is RemoteError
        assert str(got).endswith("Costum: x")

    def test_decoding_imports_nothing(self) -> None:
        module = "wsgiref.validate"
        assert module not in sys.modules
        fields = {"module": module, "name": "WSGIWarning", "message": "x", "args": b"\x91\xa1x"}
        got = CODEC.decode_error(msgspec.msgpack.encode(fields))
        assert type(got) is RemoteError
        assert module not in sys.modules

    @pytest.mark.parametrize("name", ["system", "path.join", "PathLike", "error.__class__", ""])
    def test_a_class_that_is_not_an_exception_is_not_called(self, name: str) -> None:
        fields = {"module": "os", "name": name, "message": "x", "args": b"\x91\xa1x"}
        assert type(CODEC.decode_error(msgspec.msgpack.encode(fields))) is RemoteError

    def test_it_passes_unchanged_through_a_process_that_does_not_know_its_class(self) -> None:
        data = CODEC.encode_error(raised(OutOfStock("nut", 1)))
        stranger = CODEC.decode_error(data.replace(b"OutOfStock", b"OutOfShock"))
        assert type(stranger) is RemoteError
        passed_on = CODEC.encode_error(raised(stranger))
        assert (
            type(CODEC.decode_error(passed_on.replace(b"OutOfShock", b"OutOfStock"))) is OutOfStock
        )

    def test_rejections_of_other_clients(self) -> None:
        assert "out of order" in str(CODEC.decode_error(CODEC.encode_value("out of order")))
        assert type(CODEC.decode_error(CODEC.encode_value({"message": 3}))) is RemoteError
        assert type(CODEC.decode_error(None)) is RemoteError


class TestBounds:
    def test_encoding_never_fails(self) -> None:
        got = travel(Unprintable())
        assert type(got) is Unprintable
        assert isinstance(got.__cause__, RemoteTraceback)
        got = travel(Unprintable(object()))
        assert type(got) is Unprintable
        assert "cannot be shown" in got.args[0]

    @pytest.mark.parametrize("kind", [DictBacked, Hiding, Exiting, ExitingPickle])
    def test_code_of_the_class_that_raises_costs_no_more_than_its_part(
        self, kind: Callable[[dict[str, int]], Exception]
    ) -> None:
        error = kind({"code": 3})
        for caught in (raised(error), raised(ValueError("outer"), error), ValueError(error)):
            PICKLING.decode_error(PICKLING.encode_error(caught))
        got = PICKLING.decode_error(PICKLING.encode_error(raised(error)))
        assert type(got) is type(error)

    def test_the_traceback_of_an_error_whose_notes_cannot_be_read(self) -> None:
        got = travel(DictBacked({"code": 3}))
        assert isinstance(got, DictBacked)
        assert got.code == 3
        text = str(got.__cause__)
        assert "in raised" in text
        # Python 3.13 adds that it ignored an error when it asked for the notes.
        assert "DictBacked: api\n" in text

    def test_parts_that_end_the_program_are_named(self) -> None:
        got = PICKLING.decode_error(PICKLING.encode_error(raised(ExitingPickle())))
        assert "part did not travel: SystemExit: 4" in got.__notes__[0]

    def test_a_ctrl_c_is_left_to_the_main_thread(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            CODEC.encode_error(InterruptedText())

    def test_lone_surrogates(self) -> None:
        got = travel(ValueError("bad \udc80"))
        assert type(got) is ValueError
        assert str(got) == "bad \\udc80"
        assert "lone surrogate" in got.__notes__[0]

    def test_long_texts_are_cut_and_the_end_of_the_traceback_is_kept(self) -> None:
        error = ValueError("x" * 10**6)
        for _ in range(100):
            error.add_note("n" * 10**5)
        data = CODEC.encode_error(raised(error))
        got = CODEC.decode_error(data)
        text = str(got.__cause__)
        assert len(text) < 17_000
        assert text.rstrip('"\n').endswith("nnn")
        assert len(got.__notes__) == 16

    @pytest.mark.parametrize("bytes_max", [2_000, 100_000])
    def test_the_size_keeps_to_the_payload_limit(self, bytes_max: int) -> None:
        codec = Codec(payload_bytes_max=bytes_max)
        data = codec.encode_error(raised(ValueError("x" * 80_000, b"y" * 200_000)))
        assert len(data) <= bytes_max
        got = codec.decode_error(data)
        assert type(got) is ValueError
        assert "xxx" in str(got)

    def test_a_deep_chain(self) -> None:
        error: BaseException = ValueError("first")
        for number in range(50):
            error = raised(RuntimeError(number), cause=error)
        assert str(CODEC.decode_error(CODEC.encode_error(error))) == "49"

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_damaged_data(self, data: st.DataObject) -> None:
        good = bytearray(CODEC.encode_error(OutOfStock("nut", 1)))
        for _ in range(data.draw(st.integers(1, 4))):
            good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        try:
            got = CODEC.decode_error(bytes(good))
        except DecodingError:
            return
        assert isinstance(got, Exception)

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.fixed_dictionaries(
            {"module": st.just("builtins"), "name": st.text(max_size=5), "message": st.text()},
            optional={
                "args": st.binary(max_size=5) | st.none(),
                "state": st.dictionaries(st.text(), st.binary(max_size=4)) | st.lists(st.none()),
                "notes": st.lists(st.text() | st.none()),
                "pickled": st.sampled_from([b"", b"junk", b"\x80\x05N."]),
                "traceback": st.text() | st.integers(-5, 5),
            },
        )
    )
    def test_fields_of_any_kind(self, fields: dict[str, Any]) -> None:
        assert isinstance(PICKLING.decode_error(msgspec.msgpack.encode(fields)), Exception)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


def test_a_frozen_exception() -> None:
    got = CODEC.decode_error(CODEC.encode_error(Frozen(3)))
    assert type(got) is Frozen
    assert got.code == 3
    assert isinstance(got.__cause__, RemoteTraceback)


def test_state_cannot_replace_pythons_own_attributes() -> None:
    state = {"__notes__": b"\x01", "__class__": b"\x01", "ok": b"\x01"}
    fields = {"module": "builtins", "name": "ValueError", "message": "", "args": b"\x90"}
    got = CODEC.decode_error(msgspec.msgpack.encode(fields | {"state": state, "notes": ["n"]}))
    assert type(got) is ValueError
    assert vars(got) == {"ok": 1, "__notes__": ["n"]}


class Custom(Exception):
    pass


class TestPickled:
    def test_arguments_that_are_not_plain(self) -> None:
        got = travel(Custom({1: bytearray(b"x")}), PICKLING)
        assert type(got) is Custom
        assert got.args == ({1: bytearray(b"x")},)
        assert isinstance(got.__cause__, RemoteTraceback)

    def test_a_reader_that_does_not_unpickle_still_learns_what_happened(self) -> None:
        got = CODEC.decode_error(PICKLING.encode_error(raised(Custom(bytearray(b"x")))))
        assert type(got) is Custom
        assert "bytearray" in str(got)
        assert got.__notes__[0].startswith("args cannot be read here: it is pickled")

    def test_plain_errors_are_not_pickled(self) -> None:
        assert b"pickled" not in PICKLING.encode_error(Custom("x"))


def test_a_traceback_shows_the_users_lines_and_not_the_interpreters() -> None:
    def child(ctx: Any) -> Any:
        raise LookupError("no such order")

    def parent(ctx: Any) -> Any:
        yield ctx.rfc("child")

    def failed(harness: Harness) -> BaseException:
        assert harness.outcome is not None
        got = CODEC.decode_error(harness.outcome.value.data)
        assert isinstance(got.__cause__, RemoteTraceback)
        return got

    first = failed(Harness(child))
    second = Harness(parent)
    second.reject("root.1", first)
    text = str(failed(second).__cause__)
    assert "understudy_actors" not in text
    assert text.index("in child") < text.index("direct cause") < text.index("in parent")


def test_an_unknown_function_has_no_traceback() -> None:
    error = raised(UnknownFunctionError("nope"))
    assert CODEC.decode_error(CODEC.encode_error(error)).__cause__ is None


def test_an_uncaught_one_prints_both_tracebacks() -> None:
    code = (
        "from understudy.values import Codec\n"
        "def far_away(): raise ValueError('bad')\n"
        "try: far_away()\n"
        "except ValueError as e: data = Codec().encode_error(e)\n"
        "raise Codec().decode_error(data)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "in far_away" in ran.stderr
    assert "direct cause" in ran.stderr
