"""What keys cost, and what a flood of one team costs another.

``python -m benchmarks.keyed cost`` measures a fan-out and a chain with and without keys, in turns.
``python -m benchmarks.keyed flood`` measures the calls of a team alone, and while another team
sends ten times what its quota permits and does not care for refusals.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import zmq

from benchmarks.deployment import ROOT, Deployment, client_of, wait_for_nodes
from benchmarks.workloads import MODULES
from understudy import Runtime
from understudy_broker.keys.peer_keys import read_peer_keys
from understudy_broker.protocol.frames import decode_to_peer, encode
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, Refused, Request
from understudy_broker.transport.curve import as_client
from understudy_store.commands import PromiseGet

#: commands a second that the flooding team may send, and that it does send
QUOTA: Final = 1_000
FLOOD: Final = 10 * QUOTA
#: commands that the flood sends at once
BATCH: Final = 100
ROLES: Final = f"""
[role.flood]
ids = ["flood/"]
limits = {{ commands = {QUOTA} }}
"""


@contextmanager
def deployed(keys: bool, nodes: int = 2) -> Iterator[tuple[Deployment, Runtime]]:
    """Start a broker with nodes, with keys or without, and open a client."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        folder = Path(name)
        deployment = Deployment(folder, keys=folder / "keys" if keys else None)
        try:
            deployment.start_broker()
            for _ in range(nodes):
                deployment.start_node()
            with client_of(deployment.url, deployment.key_of("client")) as client:
                wait_for_nodes(client, nodes)
                yield deployment, client
        finally:
            deployment.close()


def cost(rounds: int) -> None:
    """Print the medians of both, and of the ratios of each round."""
    figures: dict[tuple[str, bool], list[float]] = {}
    for number in range(rounds):
        with ExitStack() as stack:
            clients = {
                keys: stack.enter_context(deployed(keys))[1]
                for keys in ((False, True) if number % 2 else (True, False))
            }
            for name, warm_up, size, figure in (
                ("fan_out", 2_000, 10_000, "calls_per_s"),
                ("chain", 50, 300, "p50_ms"),
            ):
                for client in clients.values():
                    MODULES[name].understudy(client, warm_up)
                for _ in range(3):
                    for keys, client in clients.items():
                        found = MODULES[name].understudy(client, size)
                        figures.setdefault((name, keys), []).append(found[figure])
    for name in ("fan_out", "chain"):
        plain, keyed = figures[name, False], figures[name, True]
        pairs = [with_keys / without for with_keys, without in zip(keyed, plain, strict=True)]
        print(
            f"{name}: without keys {median(plain):,.2f}, with keys {median(keyed):,.2f}, "
            f"ratio {median(pairs):.3f} (median of {len(pairs)} pairs)"
        )


def flood(seconds: float) -> None:
    """Print how long calls take, alone and under the flood."""
    with deployed(keys=True) as (deployment, client):
        rights = deployment.folder / "keys" / "rights.toml"
        rights.write_text(rights.read_text() + ROLES)
        environment = deployment.key_of("flood/1", "flood")
        _latencies(client, "warm", 2.0)
        for number in range(3):
            alone = _latencies(client, f"alone-{number}", seconds)
            command = [sys.executable, "-m", "benchmarks.keyed", "send", deployment.url]
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE
            )
            try:
                assert process.stdout is not None
                process.stdout.readline()  # It has begun.
                under = _latencies(client, f"under-{number}", seconds)
            finally:
                process.terminate()
                sent = process.communicate()[0].decode().strip()
            for what, found in (("alone", alone), ("under the flood", under)):
                p99 = quantiles(found, n=100)[98]
                print(f"{what}: {len(found)} chains, p50 {median(found):.2f} ms, p99 {p99:.2f} ms")
            print(f"the flood: {sent}", flush=True)


def _latencies(client: Runtime, name: str, seconds: float) -> list[float]:
    """Make calls one after the other; return how long each took, milliseconds."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        client.rpc(f"{name}-{len(found)}", "hop_a").result()
        found.append((time.perf_counter() - began) * 1_000)
        time.sleep(0.002)
    return found


def send(url: str) -> None:
    """Send commands as fast as `FLOOD` says, without heed of the answers, until terminated."""
    keys = read_peer_keys()
    assert keys is not None
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    as_client(socket, keys)
    socket.connect(url)
    hello = Hello(PROTOCOL_VERSION, "client", "flood", "flood", "1", os.getpid(), "h", "bench")
    socket.send(encode([hello]))
    socket.recv()
    print("it begins", flush=True)
    began, sent, refused = time.perf_counter(), 0, 0
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    while not ended:
        socket.send(encode([Request(sent + n, PromiseGet("flood/1")) for n in range(1, BATCH + 1)]))
        sent += BATCH
        while socket.poll(0):
            refused += sum(isinstance(each, Refused) for each in decode_to_peer(socket.recv()))
        time.sleep(max(0.0, began + sent / FLOOD - time.perf_counter()))
    took_s = time.perf_counter() - began
    print(f"{sent / took_s:,.0f} commands/s, of which {refused / took_s:,.0f} were refused")
    context.destroy(linger=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cost", "flood", "send"))
    parser.add_argument("url", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    if args.what == "cost":
        cost(args.rounds)
    elif args.what == "flood":
        flood(args.seconds)
    else:
        send(args.url)


if __name__ == "__main__":
    main()
