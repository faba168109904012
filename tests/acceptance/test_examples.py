"""Every small program in examples/ runs and prints the expected lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

#: seconds after which a program counts as hung; each needs about one
PATIENCE_S = 60

#: the output of each program, as a regular expression for all of it
OUTPUT = {
    "hello": r"Hello, world!",
    "fib": r"fib\(10\) = 55\n177 calls were made, and each is stored\. .*\n.* fib-10\.1 and .*",
    "countdown": (
        r"4 \.\.\.\n3 \.\.\.\n2 \.\.\.\n\(the first runtime has stopped\)\n"
        r"\(a second runtime has opened the store\)\n1 \.\.\.\nLift-off!"
    ),
    "human_in_the_loop": (
        r"May 'Durable calls' be published\? \(the answer goes to promise post-1\.1\)\n"
        r"yes: 'Durable calls' is published\n"
        r"May 'Draft' be published\? \(the answer goes to promise post-2\.1\)\n"
        r"no: 'Draft' stays in the drawer"
    ),
    "fan_out": r"words per page: \[4, 6, 5\], together 15; .* is 'understudy'",
    "saga": (
        r"A trip to London:\n  flight to London booked\n  hotel in London booked\n"
        r"  theater in London booked\n"
        r"  done: flight to London, hotel in London, theater in London\n"
        r"A trip to Paris:\n  flight to Paris booked\n  hotel in Paris booked\n"
        r"  hotel in Paris canceled\n  flight to Paris canceled\n"
        r"  no trip: the theater in Paris is sold out"
    ),
    "retries": (
        r"  attempt 1 for ann: the bank does not answer\n"
        r"  attempt 2 for ann: the bank does not answer\nann charged at attempt 3\n"
        r"  attempt 1 for bob: the bank does not answer\n"
        r"bob has only one attempt: the bank does not answer\n"
        r"not retried: no customer 'nobody'\nchecked out"
    ),
    "progress": (
        r"this call has 1\.0 hours left\ncopied: 3\nthis call has 720\.0 hours left\n"
        r"stopped at page \d+\nlarge was canceled\n"
        r"the program has ended, too\nfilm was canceled"
    ),
    "schedule": (
        r"(a report on the sales, by the call every-second\.<time>\n){2}"
        r"a report on the stock, by the call nightly\.<time>\nschedules left: 0"
    ),
    "traces": (
        r"14 kg\nrequest\n  call order\n    attempt order \(waits\)\n      step pack\n"
        r"        weigh\n    attempt order\n      call ship\n        attempt ship"
    ),
    "versions": r"old: 116 by version 1\nnew: 124 by version 2",
    "http_call": (
        r"a price: 15\.0\nthe same call: True as local/order/order-7\n"
        r"an order: 2 of 'Emma' for 4\.0, approved by Ann"
    ),
    "grpc_call": (
        r"a price: 15\.0\nthe same call: True as order-7\n"
        r"an order: 2 of 'Emma' for 4\.0, approved by Ann"
    ),
    "two_teams": (
        r"a letter to Ann, for shop/node\nmail reads what is the shop's: 403\n"
        r"mail calls what is the shop's: 403"
    ),
    "sealed_values": (
        r"charge-1: charged the card 4711-0815\nthe id is in the files: True\n"
        r"the card is in the files: False\nwithout the key there is no result\n"
        r"with the key: charge-1: charged the card 4711-0815"
    ),
    "async_style": r"foo\(4\) = 45",
    "spawn_nodes": (
        r"every sum was correct: True\nnodes that worked: 2\nthey are the spawned ones: True"
    ),
}


def test_every_example_is_tested() -> None:
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__"}
    assert programs == set(OUTPUT)


@pytest.mark.parametrize("name", OUTPUT)
def test_example(name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(OUTPUT[name] + r"\n", done.stdout), done.stdout + done.stderr
    # The first failure of a call is logged with its traceback.
    assert ("Traceback" in done.stderr) == (name == "retries")


def test_every_example_says_how_to_run_it() -> None:
    for name in OUTPUT:
        source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert source.startswith('"""'), name
        assert f"``python examples/{name}.py``" in source, name
