"""The demo: three request flows, then two crashes. Run it with ``make demo``.

It starts the processes of topology.toml (on free ports, with a store in a temporary folder), sends
three requests, and then kills a process in the middle of a call: first a service, then the gateway.
Both times the call ends as if nothing had happened, and its work is done once. Then curl calls a
service through the broker's edge. Everything is stopped and removed at the end; with ``--keep``
(``make demo ARGS=--keep``) it runs on, with a dashboard of these calls, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import http.client
import shlex
import shutil
import sys
import time
import urllib.error
from functools import partial
from pathlib import Path

import trio

from examples.async_rpc.demo_program import DemoError, ProcessLog, play, say, since
from examples.async_rpc.demo_system import DemoSystem
from understudy_actors.processes import open_pool

#: Seconds for which service-c works while another process is killed.
WORK_S = 4
#: characters of a line of curl's output
WIDTH = 110
#: The response to the await chain.
AWAIT_CHAIN_RESPONSE = '{"message": 3}'

# The story --------------------------------------------------------------------------------------


async def tell(folder: Path, log: ProcessLog, *, keep: bool) -> None:
    """Play all parts of the demo with a pool of processes, which stops at its end."""
    async with open_pool(on_line=log.add) as pool:
        system = DemoSystem(folder, pool, log)
        try:
            await tell_parts(system)
            if keep:
                await stay(system)
        finally:
            system.runtime.stop()


async def tell_parts(system: DemoSystem) -> None:
    """Play all parts of the demo, in order."""
    say("understudy: durable calls between processes, and how they survive crashes\n")
    say("Starting a broker, nine services and a gateway, each in a process of its own ...\n")
    started_at = time.monotonic()
    count = await system.start()
    say(f"1. {count} processes run: a broker, nine services, a gateway ({since(started_at)})\n")
    await three_flows(system)
    await service_crashes(system)
    await gateway_crashes(system)
    await calls_by_http(system)
    say("8. What the broker knows about these calls")
    await show_command(system, "tree", "await-chain-2")
    await show_command(system, "groups")


async def stay(system: DemoSystem) -> None:
    """Start a dashboard, print its address, and wait for a signal."""
    say("\n9. Everything keeps running, with a dashboard. Ctrl-C stops it\n")
    page = await system.start_dashboard()
    say(f"   {page}")
    say(f"   {page}/call?id=await-chain-2    the call that survived")
    await trio.sleep_forever()


async def three_flows(system: DemoSystem) -> None:
    """Send one request for each flow."""
    say("2. Await chain: gateway → foo (service-a) → bar (service-b) → baz (service-c), and back")
    await request(system, "/await-chain", AWAIT_CHAIN_RESPONSE)
    say("3. Detached chain: qux (service-d) → quz (service-e) → cog (service-f); nobody waits")
    await request(system, "/detached-chain", '{"message": "detached-chain started"}')
    line = "the detached chain ends with 3"
    await system.until("cog has run", lambda: system.log.has("service-f/1", line))
    say(f"   a moment later service-f prints: {line!r}")
    say("4. Fan-out: zim (service-g) calls rax (service-h) and dop (service-i) at the same time")
    await request(system, "/fan-out-workflow", '{"message": 3}')
    say("")


async def service_crashes(system: DemoSystem) -> None:
    """Kill the service in the middle of an await chain."""
    root = "await-chain-2"
    say(f"5. A service crashes. In the await chain, baz now takes {WORK_S} s, and bar waits for it")
    async with trio.open_nursery() as nursery:
        path = f"/await-chain?id={root}&seconds={WORK_S}"
        nursery.start_soon(request, system, path, AWAIT_CHAIN_RESPONSE)
        await system.until("service-c works", lambda: system.count_runs(root) > 0)
        killed_at = time.monotonic()
        old = system.kill("service-b/1")
        say(f"   while baz runs: service-b (process {old}) is killed with SIGKILL")
        new = await system.wait_for_node("service-b", other_than=old)
        say(f"   service-b is back as process {new}, {since(killed_at)} later")
    check_ran_once(system, root)


async def gateway_crashes(system: DemoSystem) -> None:
    """Kill the gateway while a request waits in it, and send the request again."""
    root = "await-chain-3"
    path = f"/await-chain?id={root}&seconds={WORK_S}"
    say("6. The gateway crashes while a request waits in it. The call continues without it")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request_without_response, system, path)
        await system.until("service-c works", lambda: system.count_runs(root) > 0)
        old = system.kill("gateway")
        say(f"   while baz runs: the gateway (process {old}) is killed with SIGKILL")
    await system.until("the gateway is back", lambda: system.pid("gateway") not in (None, old))
    await system.wait_for_gateway()
    say(f"   the gateway is back as process {system.pid('gateway')}; the same request again:")
    await request(system, path, AWAIT_CHAIN_RESPONSE)
    check_ran_once(system, root)


async def calls_by_http(system: DemoSystem) -> None:
    """Make a call by curl, and read its events."""
    say("7. Whatever speaks HTTP can call them, through the edge that runs beside the broker")
    if shutil.which("curl") is None:
        say("   (curl is not installed here, so this part is left out)\n")
        return
    await system.until("the edge listens", system.edge_listens)
    url = f"http://{system.edge}/calls"
    call = f"{url}/service-a/foo?id=by-curl"
    await show_curl("-s", "--json", "[0.5]", call, expected='"state":"pending"')
    await show_curl("-sN", f"{url}/by-curl/events", expected='"data":3')
    say("")


async def show_curl(*arguments: str, expected: str) -> None:
    """Run curl, and print it with what it prints, which has the text `expected`."""
    done = await trio.run_process(["curl", *arguments], capture_stdout=True, check=False)
    output = done.stdout.decode()
    say(f"   $ curl {shlex.join(arguments)}")
    for line in filter(None, output.splitlines()):
        say(f"   {line[:WIDTH]}")
    if expected not in output:
        raise DemoError(f"curl has not printed {expected}")


async def request(system: DemoSystem, path: str, expected: str) -> None:
    """Send a request, print the response, and check it."""
    sent_at = time.monotonic()
    try:
        response = await system.post(path)
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise DemoError(f"POST {path}: {error}") from error
    say(f"   POST {path}  →  {response}  ({since(sent_at)})")
    if response != expected:
        raise DemoError(f"POST {path} returned {response}, not {expected}")


async def request_without_response(system: DemoSystem, path: str) -> None:
    """Send a request that gets no response because the gateway is killed."""
    try:
        response = await system.post(path)
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        say(f"   POST {path}  →  no response: {type(error).__name__}")
    else:
        raise DemoError(f"POST {path} returned {response}, although the gateway was killed")


def check_ran_once(system: DemoSystem, root: str) -> None:
    """Check, and print, that baz ran once in the call graph of `root`."""
    count = system.count_runs(root)
    if count != 1:
        raise DemoError(f"baz ran {count} times in {root}, not once")
    say("   baz ran once: its ledger has one line for this call\n")


async def show_command(system: DemoSystem, *arguments: str) -> None:
    """Run an ``understudy`` command, and print it with its output."""
    output = await system.run_command(*arguments)
    say(f"   $ understudy {' '.join(arguments)}")
    for line in output.splitlines():
        say(f"   {line}".rstrip())


def main() -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep running, with a dashboard")
    return play(partial(tell, keep=parser.parse_args().keep))


if __name__ == "__main__":
    sys.exit(main())
