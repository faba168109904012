"""The output of children: split into lines, and printed with their names."""

import io
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_actors.processes import printer as printer_module
from understudy_actors.processes.child import LineSplitter
from understudy_actors.processes.printer import LinePrinter


def _split(pieces: list[bytes], line_bytes_max: int) -> list[str]:
    splitter = LineSplitter(line_bytes_max)
    return [line for piece in pieces for line in splitter.feed(piece)] + splitter.flush()


def test_lines_arrive_in_pieces() -> None:
    assert _split([b"on", b"e\ntwo\r\n\nth", b"ree"], 100) == ["one", "two", "", "three"]


def test_a_long_line_is_split_into_pieces() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"abcdefghij") == ["abcd", "efgh"]
    assert splitter.feed(b"k\nl") == ["ijk"]
    assert splitter.flush() == ["l"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert _split([b"\xff\xfe caf\xc3\xa9\n"], 100) == ["\ufffd\ufffd café"]


@given(
    pieces=st.lists(st.text("ab\n", max_size=20)),
    line_bytes_max=st.integers(min_value=1, max_value=8),
)
def test_nothing_is_lost_and_every_line_is_bounded(pieces: list[str], line_bytes_max: int) -> None:
    lines = _split([piece.encode() for piece in pieces], line_bytes_max)
    assert "".join(lines) == "".join(pieces).replace("\n", "")
    assert all(len(line) <= line_bytes_max for line in lines)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_are_aligned() -> None:
    stream = io.StringIO()
    printer = LinePrinter(["gateway", "a/1"], stream)
    printer("a/1", "hello")
    printer("gateway", "ready")
    printer.close()
    assert stream.getvalue() == "a/1     | hello\ngateway | ready\n"


def test_each_name_has_its_color_on_a_terminal() -> None:
    stream = _Terminal()
    printer = LinePrinter(["a", "b"], stream)
    for name in ("a", "b", "a"):
        printer(name, "x")
    printer.close()
    first, second, third = stream.getvalue().splitlines()
    assert first == third == "\x1b[36ma | \x1b[0mx"
    assert second == "\x1b[33mb | \x1b[0mx"


class _Stuck(io.StringIO):
    """A stream that blocks until the test releases it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.released.wait(10)
        return super().write(text)


def test_a_blocked_stream_blocks_nobody_else() -> None:
    stream = _Stuck()
    printer = LinePrinter(stream=stream)
    printer("a", "first")
    assert stream.reached.wait(10)
    for number in range(printer_module.LINES_WAITING_MAX + 3):
        printer("a", str(number))
    stream.released.set()
    printer.close()
    lines = stream.getvalue().splitlines()
    assert "pool | 3 lines dropped" in lines
    assert len(lines) == 1 + printer_module.LINES_WAITING_MAX + 1


def test_a_closed_stream_is_no_error() -> None:
    stream = io.StringIO()
    printer = LinePrinter(stream=stream)
    stream.close()
    printer("a", "x")
    printer.close()
    assert not printer._thread.is_alive()


def test_lines_of_json_stay_whole_and_other_text_becomes_json(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNDERSTUDY_LOG_FORMAT", "json")
    stream = io.StringIO()
    printer = LinePrinter(["a"], stream)
    for line in ('{"event": "one", "process": "own"}', "{not json}", "{}", "two", "[1]"):
        printer("node/1", line)
    printer.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["one", "{not json}", "{}", "two", "[1]"]
    assert {line["process"] for line in lines} == {"node/1"}
