"""The chain of an audit: whatever is changed, removed or inserted shows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy_broker.audit.chain import (
    LINE_BYTES_MAX,
    START,
    ChainCheck,
    Link,
    Place,
    Record,
    begins_audit,
    extended,
    hash_of,
    last_link,
    parse_line,
    torn_record,
)

RECORDS = [Record(1_000 * number, "joined", {"name": f"n{number}"}) for number in range(5)]


def check(lines: list[bytes], expected: str | None = None) -> ChainCheck:
    found = ChainCheck(expected)
    for number, line in enumerate(lines, 1):
        found.feed(line, Place("f", number))
    return found


def made(records: list[Record] | None = None) -> list[bytes]:
    return extended(START, RECORDS if records is None else records)[0]


def test_a_line_says_what_and_when_and_what_was_before() -> None:
    [first, second], end = extended(START, RECORDS[:2])
    assert json.loads(second) == {
        "number": 2,
        "time": "1970-01-01T00:00:01.000Z",
        "what": "joined",
        "name": "n1",
        "before": hash_of(first),
    }
    assert end == Link(2, hash_of(second))
    assert json.loads(first)["before"] == "0" * 64


@settings(max_examples=50)
@given(st.text(), st.text(max_size=2_000))
def test_nothing_that_a_peer_chooses_breaks_a_line(name: str, why: str) -> None:
    [line] = made([Record(0, "refused", {"name": name, "why": why})])
    assert line.endswith(b"\n")
    body = line[:-1]
    assert all(0x20 <= byte < 0x7F for byte in body)
    assert len(line) < LINE_BYTES_MAX
    found = parse_line(line)
    assert found is not None
    assert found["name"].startswith(name[:300])


def test_what_a_peer_chooses_fills_no_line() -> None:
    long = "\N{SNAKE}" * 5_000
    [line] = made([Record(0, "refused", {"why": "x" * 5_000})])
    assert len(line) < 600
    [line] = made([Record(0, "refused", {f"detail{number}": long for number in range(10)})])
    assert parse_line(line) is not None


def test_a_chain_that_nobody_touched_holds() -> None:
    lines = made()
    found = check(lines, expected=hash_of(lines[2]))
    assert (found.problem, found.lines, found.has_expected) == (None, 5, True)
    assert found.end == extended(START, RECORDS)[1]
    assert not found.begins_later
    assert not check(lines, expected=hash_of(b"x")).has_expected
    later = check(lines[2:])
    assert (later.problem, later.begins_later) == (None, True)


@settings(max_examples=200)
@given(st.data())
def test_one_byte_that_is_changed_shows(data: st.DataObject) -> None:
    lines = made()
    whole = bytearray(b"".join(lines))
    # The last line is the only one whose hash stands nowhere.
    at = data.draw(st.integers(0, len(whole) - len(lines[-1]) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    whole[at] = value
    found = check([line + b"\n" for line in bytes(whole).split(b"\n")[:-1]])
    # What is made of the last line may also look as if a crash had left it; but then it is told.
    assert found.problem is not None or found.torn
    assert found.end != extended(START, RECORDS)[1]


@pytest.mark.parametrize(
    "lines",
    [
        [*made()[:2], *made()[3:]],
        [made()[0], made()[2], made()[1], *made()[3:]],
        [*made()[:2], made()[1], *made()[2:]],
        [*made()[:2], b"# nothing\n", *made()[2:]],
        [*made()[:2], made([Record(0, "joined", {"name": "forged"})])[0], *made()[2:]],
    ],
    ids=["removed", "swapped", "repeated", "no line", "forged"],
)
def test_what_is_removed_or_inserted_shows(lines: list[bytes]) -> None:
    problem = check(lines).problem
    assert problem is not None
    assert problem.place.line in (2, 3, 4)


def test_what_a_crash_has_left_is_told_and_is_no_error() -> None:
    lines = made()
    whole, torn = lines[:3], lines[3][:20]
    link, rest = last_link(b"".join(whole) + torn, is_whole_file=True)
    assert (link, rest) == (extended(START, RECORDS[:3])[1], torn)
    assert link is not None
    more, _ = extended(link, [torn_record(0, torn + b"\n"), *RECORDS[3:]])
    found = check([*whole, torn + b"\n", *more])
    assert (found.problem, found.torn) == (None, [Place("f", 4)])
    # Right at the end, nobody has said anything about it yet.
    found = check([*whole, torn])
    assert (found.problem, found.torn, found.lines) == (None, [Place("f", 4)], 3)
    # It excuses nothing else than what it was.
    assert check([*whole, b"{" + torn + b"\n", *more]).problem is not None


def test_a_line_that_lacks_only_its_end_is_whole() -> None:
    data = b"".join(made())[:-1]
    link, rest = last_link(data, is_whole_file=True)
    assert (link, rest) == (extended(START, RECORDS)[1], b"")
    assert check([*made()[:-1], made()[-1][:-1]]).lines == 5


def test_in_the_middle_of_a_file_the_first_line_is_not_trusted() -> None:
    data = made()[0]
    assert last_link(data, is_whole_file=False) == (None, data)
    assert last_link(b"", is_whole_file=True) == (None, b"")


@pytest.mark.parametrize(
    "line",
    [b"", b"x\n", b'{"number":1}\n', b'{"number":true,"time":"","what":"","before":""}\n',
     b'{"number":1,"time":"","what":"","before":"' + bytes([0xFF]) + b'"}\n',
     b'{"number":1,"time":"","what":"' + b"x" * LINE_BYTES_MAX + b'","before":""}\n'],
)  # fmt: skip
def test_what_is_no_line_is_none(line: bytes) -> None:
    assert parse_line(line) is None


def test_the_beginning_of_an_audit_is_known_also_when_it_is_torn() -> None:
    assert begins_audit(b"")
    assert begins_audit(b'{"num')
    assert begins_audit(made()[0])
    assert not begins_audit(b"[broker]")
