"""The parts of a request: its path, its query and its body."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.edge.native import bodies, openapi
from understudy.edge.native.bodies import DEPTH_MAX, NOTHING
from understudy.edge.native.calls import arguments_of, call_id, create_call, idempotency_key
from understudy.edge.native.parameters import PARAMETERS_MAX, Parameters
from understudy.edge.native.paths import Paths, path_of
from understudy.edge.native.problems import Problem, of_reply
from understudy_store.commands import Reply
from understudy_store.records import TAG_DELAY, TAG_PRIORITY, TAG_TARGET

PATHS = Paths(
    {
        "/calls": {"GET": "list"},
        "/calls/{id}": {"GET": "read"},
        "/calls/{id}/result": {"GET": "result"},
        "/calls/{group}/{function}": {"POST": "start"},
    }
)


def problem_of(function: Any, *arguments: Any) -> Problem:
    """Return the problem that a call raises."""
    with pytest.raises(Problem) as raised:
        function(*arguments)
    return raised.value


def problem_or_none(function: Any, *arguments: Any) -> int | None:
    """Return the status of the problem that a call raises; None if it raises none."""
    try:
        function(*arguments)
    except Problem as problem:
        return problem.status
    return None


# Paths -------------------------------------------------------------------------------------------


@given(st.text(min_size=1))
def test_every_id_finds_its_way_into_a_path_and_back(id_: str) -> None:
    try:
        path = path_of("calls", id_, "result").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which is no text
        return
    assert PATHS.find(path) == ({"GET": "result"}, {"id": id_})


@given(st.binary())
def test_any_path_is_found_or_not(path: bytes) -> None:
    assert problem_or_none(PATHS.find, b"/calls/" + path) in (None, 400)


def test_paths_with_open_segments() -> None:
    assert PATHS.find(b"/calls") == ({"GET": "list"}, {})
    assert PATHS.find(b"/calls/a%2Fb") == ({"GET": "read"}, {"id": "a/b"})
    assert PATHS.find(b"/calls/g/f") == ({"POST": "start"}, {"group": "g", "function": "f"})
    # A function of this name cannot be called; its id can be read.
    assert PATHS.find(b"/calls/g/result") == ({"GET": "result"}, {"id": "g"})
    assert PATHS.find(b"/calls/a/b/c").methods == {}
    assert problem_of(PATHS.find, b"/calls/").more == {"parameter": "id"}
    assert PATHS.leads(b"/calls/x")
    assert not PATHS.leads(b"/health")
    assert not PATHS.leads(b"*")


# Queries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("10m", 600),
        ("2h", 7200),
        ("0", 0),
        ("7d", 604800),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert Parameters(f"timeout={text}".encode(), ["timeout"]).seconds("timeout") == seconds


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_time_or_a_problem(text: str) -> None:
    parameters = Parameters(urlencode({"wait": text}).encode(), ["wait"])
    if problem_or_none(parameters.seconds, "wait") is None:
        assert (parameters.seconds("wait") or 0) >= 0


def test_a_wait_has_a_bound() -> None:
    assert Parameters(b"wait=7d", ["wait"]).wait_s(300) == 300
    assert Parameters(b"", ["wait"]).wait_s(300) == 0


@given(st.binary())
def test_any_query_is_read_or_a_problem(query: bytes) -> None:
    assert problem_or_none(Parameters, query, ["a", "tag"]) in (None, 400)


def test_the_names_in_a_query() -> None:
    problem = problem_of(Parameters, b"wiat=1", ["wait", "id"])
    assert problem.detail == "there is no parameter 'wiat' here; the parameters are id, wait"
    assert problem_of(Parameters, b"id=1&id=2", ["id"]).detail == "the parameter id is given twice"
    assert Parameters(b"tag=a=1&tag=b==", ["tag"]).tags() == {"a": "1", "b": "="}
    many = b"&".join([b"tag=a=1"] * (PARAMETERS_MAX + 1))
    assert "more than 200 parameters" in problem_of(Parameters, many, ["tag"]).detail


def test_reserved_tags_are_for_searches() -> None:
    parameters = Parameters(b"tag=understudy:target=x", ["tag"])
    assert parameters.tags(reserved=True) == {"understudy:target": "x"}
    assert problem_of(parameters.tags).more == {"parameter": "tag"}


# Bodies ------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


@given(JSON)
def test_json_is_read_and_written_without_loss(value: Any) -> None:
    assert json.loads(bodies.write(value)) == value
    assert bodies.parse(json.dumps(value).encode(), "application/json") == value


@given(st.binary(min_size=1))
def test_any_body_is_json_or_a_problem(body: bytes) -> None:
    assert problem_or_none(bodies.parse, body, "application/json") in (None, 400)


@pytest.mark.parametrize("around", [b"[%s]", b'{"a":%s}'])
def test_depth_has_a_bound(around: bytes) -> None:
    body = b"1"
    for _ in range(DEPTH_MAX):
        body = around % body
    bodies.parse(body, "application/json")
    problem = problem_of(bodies.parse, around % body, "application/json")
    assert problem.detail == "the body is nested deeper than 64 levels"


def test_media_types() -> None:
    assert bodies.parse(b"", None) is NOTHING
    assert bodies.parse(b"1", "application/json; charset=utf-8") == 1
    assert bodies.parse(b"1", "application/ld+json") == 1
    for kind in (None, "", "text/json", "application/jsonx", "application/json; charset=utf-16"):
        assert problem_of(bodies.parse, b"1", kind).status == 415


def test_long_integers_are_shown_as_text() -> None:
    assert bodies.write([10**30]) == b"[%d]" % 10**30
    assert bodies.write({"a": [1 << 20_000]}) == b'{"a":["<an integer of 20001 bits>"]}'


# Calls -------------------------------------------------------------------------------------------


def test_keys() -> None:
    assert idempotency_key([]) is None
    assert idempotency_key([b' "a b" ']) == "a b"
    assert idempotency_key(["ü".encode()]) == "ü"
    for headers in ([b""], [b'""'], [b"\xff"], [b"a", b"b"]):
        assert problem_of(idempotency_key, headers).status == 400


def test_whence_an_id_comes() -> None:
    chosen, none = Parameters(b"id=mine", ["id"]), Parameters(b"", ["id"])
    assert call_id("g", "f", chosen, None, "new") == ("mine", "id")
    assert call_id("g", "f", none, "k", "new") == ("g/f/k", "key")
    assert call_id("g", "f", none, None, "new") == ("new", "new")
    assert call_id("g", "f", chosen, "k", "new") == ("mine", "id")
    assert problem_of(call_id, "g", "f", none, "k" * 512, "new").status == 400


def test_arguments() -> None:
    assert arguments_of(NOTHING) == ((), {})
    assert arguments_of([1, 2]) == ((1, 2), {})
    assert arguments_of({"a": 1}) == ((), {"a": 1})
    for body, kind in ((None, "null"), (True, "a boolean"), ("x", "a string"), (1.5, "a number")):
        assert problem_of(arguments_of, body).detail.endswith(f"and this is {kind}")


def test_the_promise_of_a_call() -> None:
    query = b"timeout=1h&delay=2s&version=3&priority=-7&tag=order=7"
    parameters = Parameters(query, ["timeout", "delay", "version", "priority", "tag"])
    create = create_call("g", "f", "id-1", ((1,), {}), parameters, 1_000)
    assert (create.id, create.timeout_at) == ("id-1", 3_601_000)
    assert create.param.headers == {"kind": "rpc", "fn": "f", "v": "3"}
    assert create.tags == {
        TAG_TARGET: "poll://any@g",
        TAG_DELAY: "3000",
        TAG_PRIORITY: "-7",
        "order": "7",
    }


def test_refusals_of_brokers() -> None:
    assert of_reply(Reply(404, "promise 'x' does not exist")).data() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "promise 'x' does not exist",
    }
    assert of_reply(Reply(429, "too many")).headers == {"retry-after": "1"}
    assert of_reply(Reply(421, "elsewhere")).status == 502


def test_the_document_says_which_characters_an_id_may_have() -> None:
    """As the store does, character by character."""
    pattern = re.compile(openapi.ID_TEXT["pattern"])
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) != "Cn" and not 0xD800 <= code <= 0xDFFF:
            may = unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")
            assert (pattern.search(character) is not None) == may, hex(code)
