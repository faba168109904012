"""What others write is shown, and commands neither the terminal nor the eye."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
import trio

from tests.integration.cli.commands import Cli
from understudy import Runtime
from understudy.errors import CommandError
from understudy.values import Codec
from understudy_broker.link.link import open_link
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello
from understudy_store.commands import PromiseCreate, PromiseSettle, TaskHalt
from understudy_store.records import TAG_TARGET, Value

#: sets the title, clears the screen, goes to the line's begin, turns the direction, ends the line
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rFAKE \u202eslaes\u202c\u2028FAKE\nFAKE: well\x1b[0m"
COMMANDS = "\x1b\x07\x9b\r\u202e\u202c\u2028"


@pytest.fixture
def hostile_calls(url: str) -> list[str]:
    """Promises with hostile texts wherever a peer may put them; their ids."""
    deadline = int(time.time() * 1000) + 10**6
    arguments = Codec().encode_call((HOSTILE,), {HOSTILE: HOSTILE})
    failure = {"module": "m", "name": HOSTILE, "message": HOSTILE, "traceback": HOSTILE}
    commands: list[PromiseCreate | PromiseSettle | TaskHalt] = [
        PromiseCreate("pending", deadline, Value({"fn": HOSTILE}, arguments), {"note": HOSTILE}),
        PromiseCreate("failed", deadline, Value({"fn": "leaf"}, b""), {HOSTILE: "tag"}),
        PromiseSettle("failed", "rejected", Value({}, msgspec.msgpack.encode(failure))),
        PromiseCreate("done", deadline, Value({"fn": HOSTILE}, b""), {}),
        PromiseSettle("done", "resolved", Value({}, Codec().encode_value({HOSTILE: [HOSTILE]}))),
        PromiseCreate("parked", deadline, Value({"fn": HOSTILE}, arguments), {TAG_TARGET: "g"}),
        TaskHalt("parked", HOSTILE),
        PromiseCreate("queued", deadline, Value({"fn": HOSTILE}, arguments), {TAG_TARGET: "g"}),
    ]
    with Runtime(group="attackers", url=url) as runtime:
        for command in commands:
            reply = runtime.session.connection.command(command).result(10)
            assert reply.reply.status < 300, reply
    return ["pending", "failed", "done", "parked", "queued"]


def assert_harmless(text: str) -> None:
    for character in COMMANDS:
        assert character not in text, text
    assert not any(line.lstrip().startswith("FAKE") for line in text.splitlines()), text


def test_records(cli: Cli, hostile_calls: list[str]) -> None:
    searches = [("promises", "search"), ("tasks", "search"), ("groups",)]
    looks = [(what, id) for id in hostile_calls for what in ("tree",)]
    gets = [("promises", "get", id) for id in hostile_calls] + [("tasks", "get", "parked")]
    for command in [*searches, *looks, *gets]:
        _, out, err = cli(*command)
        if command[:2] != ("promises", "get"):
            # There a traceback, and texts of several lines, are shown as such.
            assert_harmless(out + err)
        for character in COMMANDS:
            assert character not in out + err, command
        code, out, _ = cli(*command, "--json")
        assert code == 0
        for character in COMMANDS:
            assert character not in out, command
        assert json.loads(out)


def test_the_data_of_json_stay_the_same(cli: Cli, hostile_calls: list[str]) -> None:
    assert hostile_calls
    _, out, _ = cli("promises", "get", "done", "--json")
    assert json.loads(out)["value"]["data"] == {HOSTILE: [HOSTILE]}


def test_a_call_that_is_waited_for(cli: Cli, hostile_calls: list[str]) -> None:
    assert hostile_calls
    for id in ("done", "failed"):
        _, out, err = cli("invoke", id, "leaf", "--target", "g", "--wait")
        for character in COMMANDS:
            assert character not in out + err


async def test_a_node(cli: Cli, url: str) -> None:
    hello = Hello(
        PROTOCOL_VERSION, "node", "g", "victim", "1", 1, HOSTILE, "t", 1, functions=(HOSTILE,)
    )
    async with open_link(url, lambda: hello, print) as link:
        with trio.fail_after(10):
            await link.wait_connected()
        _, out, err = await trio.to_thread.run_sync(lambda: cli("groups"))
    assert "victim" in out
    assert_harmless(out + err)


@pytest.mark.parametrize("id", ["a\u202eb", "a\u200bb", "a\u2028b", "a\x9bb", "a\u00adb"])
def test_no_id_has_what_is_not_seen(calls: Runtime, id: str) -> None:
    with pytest.raises(CommandError, match="control character"):
        calls.promises.create(id)
    calls.promises.create("Grüße an Ölçü, 価格 und 😀")
