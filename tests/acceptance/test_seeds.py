"""The programs of the published articles about asynchronous RPC run here, almost unchanged.

They differ from the articles in the import, the constructor and the broker's address (each program
begins with `HEAD` instead), in the parts that the articles leave out, and in durations. Every
changed line ends with ``# ours``, or is in `HEAD` or `SERVE`.
"""

from __future__ import annotations

import http.client
import os
import signal
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from tests.acceptance.system import (
    PATIENCE_S,
    Program,
    System,
    listening,
    open_system,
    post,
    until,
)
from understudy import CanceledError
from understudy.bench.deployment import free_port

# instead of: from resonate.resonate import Resonate ... resonate = Resonate(store=..., ...)
HEAD = """\
import time
from pathlib import Path
from understudy import Runtime, poll, Never, NonRetryableError
resonate = Runtime(group={group!r})

def note(file, text):
    with Path(file).open("a") as ledger:
        ledger.write(f"{{text}}\\n")

"""

SERVE = """
if __name__ == "__main__":
    resonate.serve()
"""


# The gateway's id and group are fixed in the article. Every other node has a new id.
GATEWAY_HEAD = HEAD.format(group="gateway").replace(")\n\n", ", id='gateway')\n\n", 1)


def service(group: str, functions: str) -> str:
    return HEAD.format(group=group) + dedent(functions) + SERVE


@pytest.fixture
def system(tmp_path: Path, has_failed: Callable[[], bool]) -> Iterator[System]:
    """A system; a test that fails shows the output of its programs."""
    with open_system(tmp_path) as system:
        yield system
        if has_failed():
            print(system.report())


# The article "Resonate is also an async RPC framework" -------------------------------------------

ARTICLE_FIRST = """
@resonate.register
def foo(ctx, args):
    # highlight-next-line
    promise_bar = yield ctx.rfi(
        "bar", args
    ).options(send_to=poll("service-bar"))
    # ... Do some stuff
    # Await on the result of your_customer_function
    result = yield promise_bar
    # ...
    return result  # ours
"""

ARTICLE_FAN_OUT = """
@resonate.register
def foo(ctx):
    try:
        print("running function foo")
        promise_bar = yield ctx.rfi("bar").options(send_to=poll("service-bar"))
        promise_baz = yield ctx.rfi("baz").options(send_to=poll("service-baz"))
        result_bar = yield promise_bar
        result_baz = yield promise_baz
        return result_bar + result_baz + 1
    except Exception as e:
        print(e)
        raise
"""


def test_article_remote_function_invocation(system: System) -> None:
    system.run("service-foo", service("service-foo", ARTICLE_FIRST))
    system.run(
        "service-bar",
        service("service-bar", "@resonate.register\ndef bar(ctx, args): return args | {'seen': 1}"),
    )
    handle = system.runtime.options(send_to="poll://service-foo").rpc("first", "foo", {"a": [1, 2]})
    assert handle.result(PATIENCE_S) == {"a": [1, 2], "seen": 1}


def test_article_fan_out_and_its_error(system: System) -> None:
    foo = system.run("service-foo", service("service-foo", ARTICLE_FAN_OUT))
    one = "@resonate.register\ndef {name}(ctx): return 1"
    system.run("service-bar", service("service-bar", one.format(name="bar")))
    baz = system.run("service-baz", service("service-baz", one.format(name="baz")))
    calls = system.runtime.options(target="service-foo")
    assert calls.rpc("fan-out", "foo").result(PATIENCE_S) == 3
    assert "running function foo" in foo.output

    baz.kill()
    raising = """
    @resonate.register(retry=Never())
    def baz(ctx):
        raise ValueError("baz has no result")
    """
    system.run("service-baz", service("service-baz", raising))
    with pytest.raises(ValueError, match="baz has no result"):
        calls.rpc("fan-out-2", "foo").result(PATIENCE_S)
    # The function has caught it, printed it, and raised it again.
    assert "baz has no result" in foo.output


# The page "Async RPC between services", and its example application ------------------------------

CHAIN = {
    "service-a": """
@resonate.register
def foo(ctx):
    # ctx.rfc dispatches to service-b and waits for the result.
    # Both sides are durable; the call resumes if either process crashes.
    result = yield ctx.rfc("bar").options(target="poll://service-b")
    return result + 1
""",
    "service-b": """
@resonate.register
def bar(ctx):
    note("bar.txt", ctx.id)  # ours
    result = yield ctx.rfc("baz").options(target="poll://service-c")
    return result + 1
""",
    "service-c": """
@resonate.register
def baz(_):
    print("running function baz")
    note("baz.txt", "ran")  # ours
    deadline = time.monotonic() + 40  # ours: works until the test lets it end
    while not Path("go").exists() and time.monotonic() < deadline:  # ours
        time.sleep(0.01)  # ours
    return 1
""",
}

GATEWAY = """
import os  # ours
from flask import Flask, jsonify
app = Flask(__name__)

@app.route("/await-chain", methods=["POST"])
def await_chain_route_handler():
    try:
        print("running await_chain_route_handler")
        promise_id = "await-chain"
        handle = resonate.options(target="poll://service-a").rpc(promise_id, "foo")
        print("waiting on result")
        message = handle.result()
        return jsonify({"message": message}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500

@app.route("/detached-chain", methods=["POST"])
def detached_chain_route_handler():
    try:
        promise_id = "detached-chain"
        resonate.options(target="poll://service-d").rpc(promise_id, "qux")
        return jsonify({"message": "detached-chain started"}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500

@app.route("/fan-out-workflow", methods=["POST"])
def fan_out_workflow_route_handler():
    try:
        promise_id = "fan-out-workflow"
        handle = resonate.options(target="poll://service-g").rpc(promise_id, "zim", 1)
        message = handle.result()
        return jsonify({"message": message}), 200
    except Exception as e:
        print(e)
        return jsonify({"error": str(e)}), 500

app.run(port=int(os.environ["PORT"]))  # ours: the port
"""


def start_chain(system: System) -> None:
    for group, functions in CHAIN.items():
        system.run(group, service(group, functions))


def start_gateway(system: System, port: int) -> Program:
    """Start the gateway once the broker listens; its calls fail if none answers within 5 s."""
    system.wait_for_broker()
    gateway = system.run("gateway", GATEWAY_HEAD + GATEWAY, PORT=str(port))
    until("the gateway listens", lambda: listening(port))
    return gateway


def release_baz(system: System) -> None:
    (system.folder / "go").touch()


def test_await_chain_with_a_fixed_id_returns_again(system: System) -> None:
    port = free_port()
    release_baz(system)
    start_chain(system)
    start_gateway(system, port)
    assert post(port, "/await-chain") == (200, {"message": 3})
    # The id is fixed, so the result comes from the store.
    assert post(port, "/await-chain") == (200, {"message": 3})
    assert system.ledger("baz.txt") == ["ran"]


def test_a_failed_call_is_a_response_with_status_500(system: System) -> None:
    port = free_port()
    start_gateway(system, port)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, port, "/await-chain")
        until("the call is stored", lambda: list(system.runtime.promises.search()))
        system.runtime.cancel("await-chain")
        status, body = answer.result(PATIENCE_S)
    assert status == 500
    assert "'await-chain' was canceled" in body["error"]
    with pytest.raises(CanceledError):
        system.runtime.get("await-chain").result(PATIENCE_S)


# service-e never waits for the promise, so its `result + 1` fails. Nobody waits for service-e.
DETACHED = {
    "service-d": """
@resonate.register
def qux(ctx):
    print("running function qux")
    yield ctx.detached("quz", 1).options(target="poll://service-e")
""",
    "service-e": """
@resonate.register
def quz(ctx, arg):
    print("running function quz")
    result = yield ctx.detached("cog", arg + 1).options(target="poll://service-f")
    return result + 1
""",
    "service-f": """
@resonate.register
def cog(_, arg):
    print("running function cog")
    print(arg + 1)
    note("cog.txt", arg + 1)  # ours
    return arg + 1
""",
}

FAN_OUT = {
    "service-g": """
@resonate.register
def zim(ctx, arg):
    print("running function zim")
    promise_bar = yield ctx.rfi("rax").options(target="poll://service-h")
    promise_baz = yield ctx.rfi("dop").options(target="poll://service-i")
    result_bar = yield promise_bar
    result_baz = yield promise_baz
    return result_bar + result_baz + arg
""",
    "service-h": "@resonate.register\ndef rax(_): return 1\n",
    "service-i": "@resonate.register\ndef dop(_): return 1\n",
}


def test_detached_chain_and_fan_out_workflow(system: System) -> None:
    port = free_port()
    for group, functions in (DETACHED | FAN_OUT).items():
        system.run(group, service(group, functions))
    start_gateway(system, port)
    assert post(port, "/detached-chain") == (200, {"message": "detached-chain started"})
    assert post(port, "/fan-out-workflow") == (200, {"message": 3})
    until("cog has printed", lambda: system.ledger("cog.txt"))
    assert system.ledger("cog.txt") == ["3"]
    assert system.runtime.get("detached-chain").result(PATIENCE_S) is None


@pytest.mark.parametrize(
    "rest",
    [
        'yield ctx.sleep(0.01)\n        return "fired"',
        'return "fired"',
    ],
    ids=["generator", "plain function"],
)
def test_an_invocation_that_is_not_yielded_is_still_made(system: System, rest: str) -> None:
    caller = f"""
    @resonate.register
    def fire(ctx):
        # Detached: dispatch and don't wait.
        ctx.rfi("qux").options(target="poll://service-d")
        {rest}
    """
    qux = "@resonate.register\ndef qux(_):\n    note('qux.txt', 'ran')\n"
    system.run("service-a", service("service-a", caller))
    system.run("service-d", service("service-d", qux))
    assert system.runtime.options(target="service-a").rpc("f", "fire").result(PATIENCE_S) == "fired"
    until("qux has run", lambda: system.ledger("qux.txt"))


# The recovery stories ----------------------------------------------------------------------------


def test_service_b_dies_while_service_c_works(system: System) -> None:
    """Trigger the chain, kill service-b while service-c is still working. Restart service-b."""
    start_chain(system)
    handle = system.runtime.options(target="poll://service-a").rpc("await-chain", "foo")
    until("service-c works", lambda: system.ledger("baz.txt"))
    (old,) = system.nodes("service-b").values()
    os.kill(old, signal.SIGKILL)
    until("the broker has noticed", lambda: not system.nodes("service-b"))
    release_baz(system)
    until(
        "baz has ended", lambda: system.runtime.promises.get("await-chain.1.1").state != "pending"
    )
    assert not handle.done()
    system.again("service-b")
    assert handle.result(PATIENCE_S) == 3
    # service-b ran again from its first line, and did not call service-c again.
    assert system.ledger("bar.txt") == ["await-chain.1"] * 2
    assert system.ledger("baz.txt") == ["ran"]


SLEEPER = """
def step(ctx):
    note("step.txt", "ran")

@resonate.register
def bar(ctx):
    yield ctx.lfc(step)
    yield ctx.sleep(1.5)  # ours: 10 in the seed
    return "slept"
"""


def test_a_node_dies_in_a_durable_sleep_and_another_continues(system: System) -> None:
    first = system.run("service-b", service("service-b", SLEEPER))
    handle = system.runtime.options(target="poll://service-b").rpc("sleep", "bar")
    until("it sleeps", lambda: [p.id for p in system.runtime.promises.search(prefix="sleep.2")])
    first.kill()
    system.again("service-b")
    assert handle.result(PATIENCE_S) == "slept"
    # The step before the sleep was stored, so it does not run again.
    assert system.ledger("step.txt") == ["ran"]


def test_the_gateway_dies_and_the_same_request_attaches(system: System) -> None:
    port, other_port = free_port(), free_port()
    start_chain(system)
    gateway = start_gateway(system, port)
    with ThreadPoolExecutor(2) as pool:
        lost = pool.submit(post, port, "/await-chain")
        until("service-c works", lambda: system.ledger("baz.txt"))
        gateway.kill()
        with pytest.raises((urllib.error.URLError, ConnectionError, http.client.HTTPException)):
            lost.result(PATIENCE_S)
        start_gateway(system, other_port)
        answer = pool.submit(post, other_port, "/await-chain")
        release_baz(system)
        assert answer.result(PATIENCE_S) == (200, {"message": 3})
    assert system.ledger("baz.txt") == ["ran"]
    assert system.ledger("bar.txt") == ["await-chain.1"]


def test_the_broker_dies_and_the_chain_continues(system: System) -> None:
    start_chain(system)
    handle = system.runtime.options(target="poll://service-a").rpc("await-chain", "foo")
    until("service-c works", lambda: system.ledger("baz.txt"))
    system.broker.kill()
    system.start_broker()
    release_baz(system)
    assert handle.result(PATIENCE_S) == 3
    # The nodes came back with their tasks, so nothing ran again.
    assert system.ledger("bar.txt") == ["await-chain.1"]
    assert system.ledger("baz.txt") == ["ran"]


# Identities --------------------------------------------------------------------------------------

WORKER = """
import os  # ours
resonate = Runtime(group="service-a", id=os.environ["NODE_ID"], concurrency=4)  # ours

@resonate.register
def foo(_, number):
    note("foo.txt", number)  # ours
    time.sleep(0.02)  # ours
    return resonate.id
"""


def test_two_nodes_of_a_group_share_its_calls_and_one_can_be_named(system: System) -> None:
    """Anycast: only one node in the group claims an invocation. Unicast: only that one gets it."""
    nodes = ["node-1", "node-2"]
    for node in nodes:
        system.run("worker", service("service-a", WORKER), NODE_ID=node)
    until("both are there", lambda: sorted(system.nodes("service-a")) == nodes)

    group = system.runtime.options(target="poll://any@service-a")
    handles = [group.begin_rpc(f"call-{number}", "foo", number) for number in range(60)]
    assert {handle.result(PATIENCE_S) for handle in handles} == set(nodes)
    assert sorted(map(int, system.ledger("foo.txt"))) == list(range(60))

    for node in nodes:
        only = system.runtime.options(target=f"poll://uni@service-a/{node}")
        handles = [only.rpc(f"{node}-{number}", "foo", number) for number in range(5)]
        assert {handle.result(PATIENCE_S) for handle in handles} == {node}
