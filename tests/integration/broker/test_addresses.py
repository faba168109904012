"""Addresses with names and of IPv6, over real sockets; only the look-up of names is imagined."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from tests.integration.broker.peers import DEADLINE_S, Peer, broker, joined
from tests.support import free_url
from understudy.cli.commands.up import check_address_is_free
from understudy.cli.errors import CliError
from understudy_broker.errors import ListenError
from understudy_broker.link.link import open_link
from understudy_broker.protocol.frames import FrameLimits, decode_to_broker, encode, numbered
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Message, Pulse, Welcome
from understudy_broker.transport.host_names import UnknownHostError, numeric_addresses
from understudy_broker.transport.zeromq_router import bind_router

V4, V6 = "127.0.0.1", "::1"


class Names:
    """The names that the system knows, each with its addresses, and how often it was asked."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked = 0
        self._real = socket.getaddrinfo

    def look_up(self, host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer as `socket.getaddrinfo` does."""
        if not host.endswith(".test"):
            return self._real(host, port, *args, **kwargs)
        self.asked += 1
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = [self._real(address, port, *args, **kwargs) for address in self.known[host]]
        return [entry for entries in found for entry in entries]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    return names


def renamed(endpoint: str, name: str) -> str:
    return f"tcp://{name}:{endpoint.rpartition(':')[2]}"


@pytest.mark.parametrize("addresses", [[V6], [V6, V4], [V4, V6]], ids=" ".join)
async def test_a_broker_at_ipv6_is_reached_by_name(names: Names, addresses: list[str]) -> None:
    names.known["broker.test"] = addresses
    with broker("memory", listen="tcp://[::1]:0") as running:
        client = Peer("c")
        async with joined(renamed(running.endpoint, "broker.test"), client):
            await client.create("p")


async def test_the_address_that_worked_is_taken_again_without_a_look_up(names: Names) -> None:
    names.known["broker.test"] = [V4, V6]
    with broker("memory", listen="tcp://[::1]:0") as running:
        client = Peer("c")
        async with joined(renamed(running.endpoint, "broker.test"), client):
            before = names.asked
            names.known.clear()
            client.link.connection.rejoin()
            with trio.fail_after(DEADLINE_S):
                while client.link.statistics().connections < 2:
                    await trio.sleep(0.01)
            assert names.asked == before


async def test_an_unknown_name_is_named_and_looked_up_again(names: Names) -> None:
    client = Peer("c")
    with broker("memory") as running:
        url = renamed(running.endpoint, "later.test")
        async with open_link(url, client.hello, client.on_messages) as link:
            with trio.fail_after(DEADLINE_S):
                while link.last_error is None:
                    await trio.sleep(0.01)
                assert link.last_error == (
                    "the host name 'later.test' is not known (Name or service not known): check "
                    f"the address {url}"
                )
                names.known["later.test"] = [V4]
                await link.wait_connected()


async def test_of_several_addresses_one_that_answers_is_enough(names: Names) -> None:
    names.known["b.test"] = [V6, V4]
    client = Peer("c")
    with broker("memory") as running:
        there = renamed(running.endpoint, "b.test")
        async with joined(f"{free_url()},tcp://unknown.test:5577, {there}", client):
            await client.create("p")


async def test_several_addresses_that_are_all_unknown_are_named(names: Names) -> None:
    assert names.known == {}
    client = Peer("c")
    url = "tcp://a.test:5577,tcp://b.test:5577"
    async with open_link(url, client.hello, client.on_messages) as link:
        with trio.fail_after(DEADLINE_S):
            while link.last_error is None:
                await trio.sleep(0.01)
    assert "'a.test' is not known" in link.last_error
    assert "'b.test' is not known" in link.last_error
    assert url in link.last_error


@pytest.mark.parametrize(
    ("addresses", "bound"), [([V6], "[::1]"), ([V6, V4], V4), ([V4], V4)], ids=repr
)
async def test_a_broker_listens_at_a_name(names: Names, addresses: list[str], bound: str) -> None:
    names.known["here.test"] = addresses
    with broker("memory", listen="tcp://here.test:0") as running:
        assert running.endpoint.startswith(f"tcp://{bound}:")
        async with joined(renamed(running.endpoint, "here.test"), Peer("c")):
            pass


def test_a_broker_does_not_listen_at_an_unknown_name(names: Names) -> None:
    assert names.known == {}
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with pytest.raises(ListenError, match=r"the host name 'gone\.test' is not known \(Name"):
            bind_router(context, "tcp://gone.test:0", 1024)
    finally:
        context.term()


def test_names_that_cannot_be_names() -> None:
    with pytest.raises(UnknownHostError, match="is not known"):
        numeric_addresses(f"tcp://{'x' * 300}.test:5577")
    assert numeric_addresses("tcp://*:5577") == ["tcp://*:5577"]
    assert numeric_addresses("ipc:///run/x") == ["ipc:///run/x"]


async def test_a_node_shows_its_pulse_over_ipv6() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = bind_router(context, "tcp://[::1]:0", 1 << 20)
    url = router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    node, got = Peer("n", credit=1), list[Message]()

    def take() -> None:
        peer, frame = router.recv_multipart(zmq.NOBLOCK)
        got.extend(decode_to_broker(frame, FrameLimits()))
        if len(got) == 1:
            welcome = Welcome(PROTOCOL_VERSION, "b", "n#1", 10_000, 2_500, 9, 1 << 20, 1 << 20)
            router.send_multipart([peer, numbered(encode([welcome]), 1)])

    try:
        async with open_link(url, node.hello, node.on_messages):
            with trio.fail_after(DEADLINE_S):
                while not any(isinstance(message, Pulse) for message in got):
                    if router.poll(0):
                        take()
                    await trio.sleep(0.01)
    finally:
        router.close(0)
        context.term()


@pytest.mark.parametrize(
    ("family", "host"),
    [
        (socket.AF_INET6, "[::1]"),
        (socket.AF_INET6, "six.test"),
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "both.test"),
        (socket.AF_INET, "*"),
    ],
)
def test_up_notices_that_an_address_is_in_use(
    names: Names, family: socket.AddressFamily, host: str
) -> None:
    names.known |= {"six.test": [V6], "both.test": [V6, V4]}
    with closing(socket.socket(family)) as other:
        other.bind((V6 if family == socket.AF_INET6 else V4, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CliError, match="is in use by another broker or program"):
            check_address_is_free(f"tcp://{host}:{port}")
        check_address_is_free("tcp://unknown.test:1")
    check_address_is_free(renamed(free_url(), host))


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_a_socket_in_the_file_system_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with zmq.Context() as context, bind_router(context, f"ipc://{tmp_path}/socket", 1024):
            assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o700
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
