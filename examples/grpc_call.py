"""Calls over gRPC: an edge in front of the broker, and a client that knows only the service.

The client starts a call and waits for its result, repeats the request with the same id, which is
the same call, and watches a call graph while it answers a question that a function in it asks.
Needs the extras [http] and [grpc].

Run it with ``python examples/grpc_call.py``.
"""

import json
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import grpc

from understudy import Context, Runtime
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub

runtime = Runtime.local()


@runtime.register
def price(_: Context, book: str, copies: int) -> float:
    return len(book) * copies * 0.5


@runtime.register
def order(ctx: Context, book: str, copies: int) -> Generator[Any, Any, str]:
    total = yield ctx.rpc(price, book, copies)
    approval = yield ctx.promise(id=f"{ctx.id}.approval", timeout=3600)
    return f"{copies} of {book!r} for {total}, approved by {(yield approval)}"


def use(edge: UnderstudyStub) -> None:
    """Make calls by way of an edge."""
    arguments = json.dumps({"book": "Persuasion", "copies": 3})
    request = v1.StartRequest(group="local", function="price", json=arguments, wait=30)
    print("a price:", json.loads(edge.Start(request, timeout=60).value.json))

    arguments = json.dumps({"book": "Emma", "copies": 2})
    request = v1.StartRequest(group="local", function="order", json=arguments, id="order-7")
    call = edge.Start(request, timeout=10)
    again = edge.Start(request, timeout=10)
    print("the same call:", call.created_at == again.created_at, "as", again.id)

    for event in edge.Watch(v1.WatchRequest(id="order-7"), timeout=60):
        if event.HasField("end"):
            print("an order:", json.loads(event.end.call.value.json))
        elif event.change.id == "order-7.approval" and event.change.state == v1.STATE_PENDING:
            edge.Settle(v1.SettleRequest(id="order-7.approval", json='"Ann"'), timeout=10)


def main() -> None:
    with runtime:
        command = [sys.executable, "-m", "understudy", "edge", "--url", runtime.url]
        places = ["--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        edge = subprocess.Popen([*command, *places], stdout=subprocess.PIPE, text=True)
        try:
            assert edge.stdout is not None
            # understudy edge: http://127.0.0.1:40123 for the broker at ...
            # understudy edge: grpc://127.0.0.1:40124
            said = next(line for line in edge.stdout if "grpc://" in line)
            with grpc.insecure_channel(said.partition("grpc://")[2].strip()) as channel:
                use(UnderstudyStub(channel))
        finally:
            edge.terminate()
            edge.wait()


if __name__ == "__main__":
    main()
