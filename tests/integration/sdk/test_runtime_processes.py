"""Runtimes in processes of their own, which are killed, forked and interrupted."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually, finish, free_url, start_script
from understudy import Context, Runtime
from understudy_broker.server.embedded import EmbeddedBroker

LEDGER = """
import sys, time
from understudy import Runtime

path, ledger, gate = sys.argv[1:4]
runtime = Runtime.local(path)

def note(ctx, n):
    with open(ledger, "a") as file:
        file.write(f"{ctx.id}\\n")
    return n

@runtime.register
def remote(ctx, n):
    return note(ctx, n)

@runtime.register
def count(ctx):
    total = 0
    for n in range(10):
        total += yield ctx.lfc(note, n)
        total += yield ctx.rfc(remote, n)
        if n == 4:
            with open(gate, "w") as file:
                file.write("reached")
            yield ctx.sleep(0.3)
    return total

with runtime:
    print(runtime.rpc("count", count).result(30))
"""

NODE = """
import sys, time
from understudy import Runtime

runtime = Runtime("g", url=sys.argv[1])

@runtime.register
def slow(ctx, begun):
    with open(begun, "w") as file:
        file.write("begun")
    time.sleep(0.3)
    return "finished"

@runtime.register
def quick(ctx, n):
    return n + 1

number = runtime.serve()
print("served", number, flush=True)
"""

SPAWN = """
import os
from dataclasses import dataclass
from understudy import Runtime

runtime = Runtime.local()

@dataclass
class Point:
    x: int

def helper(n):
    return n * 2

@runtime.register
def double(ctx, point: Point) -> tuple[int, int]:
    return helper(point.x), os.getpid()

@runtime.register
def sweep(ctx):
    results = yield ctx.map(double, [Point(n) for n in range(20)], target="workers")
    return results

if __name__ == "__main__":
    with runtime:
        spawned = runtime.spawn("workers", nodes=2)
        results = runtime.rpc("s", sweep).result(30)
        assert [n for n, _ in results] == [2 * n for n in range(20)], results
        pids = {pid for _, pid in results}
        assert os.getpid() not in pids
        assert pids <= set(spawned.pids), (pids, spawned.pids)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    print("spawned")
"""

CLASSES = """
from __future__ import annotations
from dataclasses import dataclass
from decimal import Decimal
from understudy import Context, Never, Runtime

runtime = Runtime.local(pickle=False)

@dataclass
class Line:
    price: Decimal

@dataclass
class Order:
    lines: list[Line]

class Refused(Exception):
    def __init__(self, *, order: Order) -> None:
        super().__init__("no money")
        self.order = order

@runtime.register(retry=Never())
def charge(ctx: Context, order: Order) -> Order:
    if len(order.lines) > 1:
        raise Refused(order=order)
    return order

@runtime.register
def flow(ctx: Context):
    line = Line(Decimal("1.50"))
    first = yield ctx.rpc(charge, Order([line])).options(target="b")
    try:
        yield ctx.rpc(charge, Order([line, line])).options(target="b")
    except Refused as error:
        return repr([first, error.order])

if __name__ == "__main__":
    with runtime:
        runtime.spawn("a")
        runtime.spawn("b")
        told = [runtime.options(target="a").rpc("f", flow).result(30)]
        line = Line(Decimal(2))
        try:
            runtime.options(target="b").rpc("c", charge, Order([line, line])).result(30)
        except Refused as error:
            told.append(f"{type(error.order) is Order} {error.order.lines == [line, line]}")
    print(*told, sep="\\n")  # once no node is left that could write within a line
"""

FORK = """
import os, sys
from understudy import Runtime

runtime = Runtime.local()

@runtime.register
def add(ctx, a, b):
    return a + b

runtime.start()
assert runtime.rpc("before", add, 1, 1).result(10) == 2
child = os.fork()
if not child:
    assert runtime.rpc("child", add, 1, 2).result(10) == 3
    assert runtime.get("before").result(10) == 2
    runtime.stop()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert runtime.get("child").result(10) == 3
assert runtime.rpc("after", add, 2, 2).result(10) == 4
runtime.stop()
print("forked")
"""

FORGETFUL = """
from understudy import Runtime

runtime = Runtime.local()

@runtime.register
def add(ctx, a, b):
    return a + b

print(runtime.rpc("x", add, 1, 2).result(10))
"""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("memory", "tcp://127.0.0.1:0") as broker:
        yield broker


def test_a_killed_program_goes_on_without_repeating_steps(tmp_path: Path) -> None:
    gate, ledger = tmp_path / "gate", tmp_path / "ledger"
    args = [str(tmp_path / "store.db"), str(ledger), str(gate)]
    first = start_script(tmp_path / "app.py", LEDGER, *args)
    eventually(gate.exists, 20)
    first.send_signal(signal.SIGKILL)
    finish(first)
    done = ledger.read_text().split()
    assert len(done) == 10
    code, out, err = finish(start_script(tmp_path / "app.py", LEDGER, *args), 30)
    assert (code, out) == (0, "90\n"), err
    assert Counter(ledger.read_text().split()) == Counter(
        f"count.{n}" for n in range(1, 22) if n != 11
    )


def test_spawned_nodes_perform_functions_of_a_script(tmp_path: Path) -> None:
    code, out, err = finish(start_script(tmp_path / "app.py", SPAWN), 40)
    assert (code, out.strip().splitlines()[-1:]) == (0, ["spawned"]), out + err


@pytest.mark.parametrize("annotations", ["text", "evaluated"])
def test_classes_of_a_script_are_themselves_in_the_nodes_that_it_spawns(
    tmp_path: Path, annotations: str
) -> None:
    script = CLASSES if annotations == "text" else CLASSES.replace("from __future__", "#")
    code, out, err = finish(start_script(tmp_path / "app.py", script), 40)
    line = "Line(price=Decimal('1.50'))"
    shown = f"[Order(lines=[{line}]), Order(lines=[{line}, {line}])]"
    assert code == 0, err
    assert [told for told in out.splitlines() if "|" not in told] == [shown, "True True"], err


def test_a_forked_child_has_a_connection_of_its_own(tmp_path: Path) -> None:
    code, out, err = finish(start_script(tmp_path / "app.py", FORK))
    assert (code, out) == (0, "forked\n"), err


def test_a_script_ends_although_it_does_not_stop_its_runtime(tmp_path: Path) -> None:
    code, out, err = finish(
        start_script(tmp_path / "app.py", FORGETFUL, env={"TMPDIR": str(tmp_path)}), 10
    )
    assert (code, out, err) == (0, "3\n", "")
    assert [p.name for p in tmp_path.iterdir()] == ["app.py"], "nothing is left behind"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: Path, broker: EmbeddedBroker, number: signal.Signals) -> None:
    begun = tmp_path / "begun"
    node = start_script(tmp_path / "node.py", NODE, broker.endpoint)
    client = Runtime("clients", url=broker.endpoint)
    handle = client.options(target="g").rpc("x", "slow", str(begun))
    eventually(begun.exists, 20)
    node.send_signal(number)
    code, out, err = finish(node)
    assert (code, out) == (0, f"served {int(number)}\n"), err
    assert handle.result(10) == "finished", "what had begun was finished first"
    client.stop()


def test_a_second_signal_ends_a_node_at_once(tmp_path: Path, broker: EmbeddedBroker) -> None:
    source = NODE.replace("time.sleep(0.3)", "time.sleep(60)")
    begun = tmp_path / "begun"
    node = start_script(tmp_path / "node.py", source, broker.endpoint)
    client = Runtime("clients", url=broker.endpoint)
    client.options(target="g").rpc("x", "slow", str(begun))
    eventually(begun.exists, 20)

    def ended() -> bool:
        node.send_signal(signal.SIGINT)
        return node.poll() is not None

    eventually(ended)
    assert finish(node)[0] == 130
    client.stop()


def test_a_killed_nodes_task_goes_to_another(tmp_path: Path, broker: EmbeddedBroker) -> None:
    source = NODE.replace("time.sleep(0.3)", "time.sleep(60)")
    begun = tmp_path / "begun"
    node = start_script(tmp_path / "node.py", source, broker.endpoint)
    client = Runtime("clients", url=broker.endpoint)
    handle = client.options(target="g").rpc("x", "slow", str(begun))
    eventually(begun.exists, 20)
    node.send_signal(signal.SIGKILL)
    finish(node)
    other = Runtime("g", url=broker.endpoint)

    @other.register
    def slow(ctx: Context, begun: str) -> list[object]:
        return ["other", ctx.info.attempt]

    with other:
        # A crash does not count as a failed attempt.
        assert handle.result(10) == ["other", 1]
    client.stop()


def test_calls_outlive_the_broker(tmp_path: Path) -> None:
    """The broker is killed while a node works and a client waits; both reconnect by themselves."""
    url = free_url()
    source = (
        "import sys, threading\n"
        "from understudy_broker.server.embedded import EmbeddedBroker\n"
        "with EmbeddedBroker(sys.argv[1], sys.argv[2]):\n"
        "    print('listens', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    args = [str(tmp_path / "store.db"), url]
    broker = start_script(tmp_path / "broker.py", source, *args)
    assert broker.stdout is not None
    assert broker.stdout.readline() == "listens\n"
    # On a busy machine the broker takes long to start again.
    runtime = Runtime("g", url=url, connect_timeout=60)

    @runtime.register
    def waits(ctx: Context) -> Any:
        first = yield ctx.promise(id="first")
        one = yield first
        second = yield ctx.promise(id="second")
        return [one, (yield second)]

    with runtime:
        handle = runtime.rpc("x", waits)
        eventually(lambda: list(runtime.promises.search(prefix="first")))
        runtime.promises.resolve("first", 1)
        eventually(lambda: list(runtime.promises.search(prefix="second")))
        broker.send_signal(signal.SIGKILL)
        finish(broker)
        broker = start_script(tmp_path / "broker.py", source, *args)
        runtime.promises.resolve("second", 2)
        assert handle.result(20) == [1, 2]
    broker.kill()
    finish(broker)


def test_a_node_logs_that_no_broker_answers(tmp_path: Path) -> None:
    url = free_url()
    node = start_script(tmp_path / "node.py", NODE, url)
    assert node.stderr is not None
    line = node.stderr.readline()
    assert f"no broker answers at {url}" in line
    assert "understudy broker" in line
    node.send_signal(signal.SIGTERM)
    code, out, _ = finish(node)
    assert (code, out) == (0, "served 15\n")
