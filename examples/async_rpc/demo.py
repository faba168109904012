"""The demo: three request flows, then two crashes.  ``make demo``

Starts what topology.toml says (on free ports, with a store in a temporary folder), sends the three
requests, and then kills processes in the middle of a call: a service, and the gateway. Each time
the call ends as if nothing had happened, and its work was done once. Leaves nothing behind.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from understudy import Runtime
from understudy_actors.processes import Pool, open_pool
from understudy_actors.processes.topology import Topology, load_topology, processes

TOPOLOGY = Path(__file__).with_name("topology.toml")

#: seconds that anything may take before the demo has failed
PATIENCE_S = 60.0
#: seconds that service-c works, while others are killed
WORK_S = 4
#: seconds between two looks at something that is waited for
LOOK_S = 0.02
#: what the await chain answers
CHAIN = '{"message": 3}'
#: lines of the processes' output that a failure shows
TAIL_LINES = 40

#: 127.0.0.1 is not reached through a proxy, whatever the environment says
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """Something did not go as it should; the message says what."""


class Demo:
    """The running system, and what the acts need of it.

    Parameters
    ----------
    folder
        For the store, the ledger and the log.
    pool
        Which runs the processes.
    """

    def __init__(self, folder: Path, pool: Pool, lines: Lines) -> None:
        self.pool = pool
        self.lines = lines
        self.port = _free_port()
        self.url = f"tcp://127.0.0.1:{_free_port()}"
        self.ledger = folder / "ledger.txt"
        self.topology = _adapted(load_topology(TOPOLOGY), self.port, self.url, folder)
        self.runtime = Runtime(group="demo", url=self.url)

    async def start(self) -> int:
        """Start all processes, wait until each is ready for work; how many there are."""
        specs = processes(self.topology)
        await self.pool.start(specs[0])
        await self.until("the broker listens", lambda: self.lines.have("broker", "listening on"))
        for spec in specs[1:]:
            await self.pool.start(spec)
        for group in self.topology.groups:
            await self.joined(group.name, not_pid=None)
        await self.gateway_listens()
        return len(specs)

    async def post(self, path: str) -> str:
        """Send a request to the gateway; the body of the answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="POST")
        return await trio.to_thread.run_sync(_answer, request, abandon_on_cancel=True)

    def pid(self, name: str) -> int | None:
        """The process that runs under that name now."""
        return next(p.pid for p in self.pool.statistics().processes if p.name == name)

    def kill(self, name: str) -> int:
        """SIGKILL: no goodbye, no clean-up. The id of the process that was."""
        pid = self.pid(name)
        if pid is None:
            raise DemoError(f"{name} does not run")
        os.kill(pid, signal.SIGKILL)
        return pid

    def runs(self, root: str) -> int:
        """How often baz ran in the call graph of `root`, by the ledger that it writes."""
        if not self.ledger.exists():
            return 0
        return sum(id.startswith(f"{root}.") for id in self.ledger.read_text().splitlines())

    async def joined(self, group: str, not_pid: int | None) -> int:
        """Wait until the group has a node in a process other than `not_pid`; its process."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                report = await trio.to_thread.run_sync(self.runtime.groups, abandon_on_cancel=True)
                found = [n.os_pid for g in report.groups if g.name == group for n in g.nodes]
                if found and found[0] != not_pid:
                    return found[0]
                await trio.sleep(LOOK_S)
        raise DemoError(f"no node of {group} came up within {PATIENCE_S:g} s")

    async def gateway_listens(self) -> None:
        await self.until("the gateway listens", self._listening)

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition; `DemoError` if it does not come about in a minute."""
        with trio.move_on_after(PATIENCE_S):
            while not condition():
                await trio.sleep(LOOK_S)
            return
        raise DemoError(f"it took longer than {PATIENCE_S:g} s until {what}")

    async def show(self, *arguments: str) -> None:
        """Run ``understudy ...`` and print what it prints."""
        done = await trio.run_process(
            [sys.executable, "-m", "understudy", *arguments],
            env={**os.environ, "UNDERSTUDY_URL": self.url},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        text = done.stdout.decode().rstrip()
        if done.returncode:
            raise DemoError(f"understudy {' '.join(arguments)}: {text}")
        say(f"   $ understudy {' '.join(arguments)}")
        for line in text.splitlines():
            say(f"   {line}".rstrip())


class Lines:
    """What the processes write: into a file, and kept to be waited for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._all: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self._all.append((name, line))
        self._file.write(f"{name:<11} | {line}\n")
        self._file.flush()

    def have(self, name: str, text: str) -> bool:
        """Whether that process has written a line with `text` in it."""
        return any(text in line for who, line in self._all if who == name)

    def close(self) -> None:
        self._file.close()


# -- the acts -------------------------------------------------------------------------------------


async def play(demo: Demo) -> None:
    """All acts, in order."""
    say("understudy: durable calls between processes, and what is left of them after a crash\n")
    say("Starting a broker, nine services and a gateway, each a process of its own ...\n")
    started_at = time.monotonic()
    count = await demo.start()
    say(f"1. {count} processes run: a broker, nine services, a gateway ({since(started_at)})\n")
    await three_flows(demo)
    await service_crashes(demo)
    await gateway_crashes(demo)
    say("7. What the broker knows of it")
    await demo.show("tree", "await-chain-2")
    await demo.show("groups")


async def three_flows(demo: Demo) -> None:
    say("2. Await chain: gateway → foo (service-a) → bar (service-b) → baz (service-c), and back")
    await request(demo, "/await-chain", CHAIN)
    say("3. Detached chain: qux (service-d) → quz (service-e) → cog (service-f); nobody waits")
    await request(demo, "/detached-chain", '{"message": "detached-chain started"}')
    ending = "the detached chain ends with 3"
    await demo.until("cog has run", lambda: demo.lines.have("service-f/1", ending))
    say(f"   service-f, a moment later: {ending!r}")
    say("4. Fan-out: zim (service-g) calls rax (service-h) and dop (service-i) at the same time")
    await request(demo, "/fan-out-workflow", '{"message": 3}')
    say("")


async def service_crashes(demo: Demo) -> None:
    root = "await-chain-2"
    say(f"5. A service crashes. The await chain again, and baz takes {WORK_S} s; bar waits for it")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, demo, f"/await-chain?id={root}&seconds={WORK_S}", CHAIN)
        await demo.until("service-c works", lambda: demo.runs(root) > 0)
        killed_at = time.monotonic()
        old = demo.kill("service-b/1")
        say(f"   while service-c works: SIGKILL to service-b (process {old})")
        new = await demo.joined("service-b", not_pid=old)
        say(f"   service-b is back as process {new}, {since(killed_at)} later")
    ran_once(demo, root)


async def gateway_crashes(demo: Demo) -> None:
    root = "await-chain-3"
    path = f"/await-chain?id={root}&seconds={WORK_S}"
    say("6. The gateway crashes, with a request in it. The call goes on; the request is sent again")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lost_request, demo, path)
        await demo.until("service-c works", lambda: demo.runs(root) > 0)
        old = demo.kill("gateway")
        say(f"   while service-c works: SIGKILL to the gateway (process {old})")
    await demo.until("the gateway is back", lambda: demo.pid("gateway") not in (None, old))
    await demo.gateway_listens()
    say(f"   the gateway is back as process {demo.pid('gateway')}")
    await request(demo, path, CHAIN)
    ran_once(demo, root)


async def request(demo: Demo, path: str, expected: str) -> None:
    """Send a request, print the answer, and check it."""
    sent_at = time.monotonic()
    try:
        answer = await demo.post(path)
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise DemoError(f"POST {path}: {error}") from error
    say(f"   POST {path}  →  {answer}  ({since(sent_at)})")
    if answer != expected:
        raise DemoError(f"POST {path} answered {answer}, not {expected}")


async def lost_request(demo: Demo, path: str) -> None:
    """Send a request that gets no answer, since the gateway dies."""
    try:
        answer = await demo.post(path)
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        say(f"   POST {path}  →  no answer: {type(error).__name__}")
    else:
        raise DemoError(f"POST {path} answered {answer}, though the gateway was killed")


def ran_once(demo: Demo, root: str) -> None:
    """Check, and say, that the work of that call was done once."""
    count = demo.runs(root)
    if count != 1:
        raise DemoError(f"baz ran {count} times in {root}, not once")
    say("   baz ran once: the ledger that it writes has one line of this call\n")


# -- around the acts ------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, flush=True)


def since(start: float) -> str:
    return f"{time.monotonic() - start:.2f} s"


def main() -> int:
    """Run the demo; 0 if all went well, 1 if not, 128 + its number after a signal."""
    started_at = time.monotonic()
    received: list[int] = []
    with tempfile.TemporaryDirectory(prefix="understudy-demo-") as name:
        lines = Lines(Path(name, "demo.log"))
        try:
            trio.run(perform, Path(name), lines, received)
        except Exception as error:
            report_failure(error, lines)
            return 1
        finally:
            lines.close()
    if received:
        say("\ninterrupted: everything is stopped")
        return 128 + received[0]
    say(f"\nEverything is stopped. All of it took {time.monotonic() - started_at:.0f} s.")
    return 0


async def perform(folder: Path, lines: Lines, received: list[int]) -> None:
    """The acts, inside a pool that ends with them, or at the first signal."""
    async with open_pool(on_line=lines) as pool:
        demo = Demo(folder, pool, lines)
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(obey_signals, nursery.cancel_scope, received)
                try:
                    await play(demo)
                except Exception as error:  # raised below, bare: not inside a group
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            demo.runtime.stop()
        if failure is not None:
            raise failure


async def obey_signals(
    scope: trio.CancelScope,
    received: list[int],
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            scope.cancel()


def report_failure(error: BaseException, lines: Lines) -> None:
    """Say what failed, with the end of the processes' output; the whole of it is kept."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kept = Path(tempfile.gettempdir(), f"understudy-demo-{os.getpid()}.log")
    shutil.copyfile(lines.path, kept)
    tail = kept.read_text(encoding="utf-8").splitlines()[-TAIL_LINES:]
    print("\n".join(["", *tail]), file=sys.stderr)
    print(f"\nThe demo failed: {str(error) or type(error).__name__}", file=sys.stderr)
    print(f"Above is the end of what the processes wrote; all of it: {kept}", file=sys.stderr)


def _adapted(topology: Topology, port: int, url: str, folder: Path) -> Topology:
    """The topology, with addresses and files of this run."""
    assert topology.broker is not None
    replace = msgspec.structs.replace
    return replace(
        topology,
        url=url,
        broker=replace(topology.broker, listen=url, store=f"sqlite:///{folder / 'store.db'}"),
        groups=tuple(
            replace(group, env=group.env | {"ASYNC_RPC_LEDGER": str(folder / "ledger.txt")})
            for group in topology.groups
        ),
        processes=tuple(
            replace(process, env=process.env | {"PORT": str(port)})
            for process in topology.processes
        ),
    )


def _answer(request: urllib.request.Request) -> str:
    with _OPENER.open(request, timeout=PATIENCE_S) as response:
        return json.dumps(json.load(response))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
