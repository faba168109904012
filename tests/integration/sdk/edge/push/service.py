"""A service that takes pushes: ``service.py wsgi|asgi|grpc|lambda PORT DESCRIPTOR EDGE [hold]``.

Its socket is given to it, so that the next process at this address finds what came in between; but
that of gRPC is its own. Of kind "lambda" it has none: it reads events of AWS Lambda, one in each
line, and writes the responses.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import grpc
import hypercorn.asyncio
import hypercorn.config
from mangum import Mangum

from understudy import Context, Runtime
from understudy.push import PushASGI, PushWSGI, add_push_servicer

KIND, PORT, DESCRIPTOR, EDGE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
HOLD = sys.argv[5:] == ["hold"]
HERE = f"grpc://127.0.0.1:{PORT}" if KIND == "grpc" else f"http://127.0.0.1:{PORT}/understudy"
KEY = Path("push.key").read_text()

runtime = Runtime("pay", url=EDGE)


@runtime.register(target=HERE)
def charge(ctx: Context, amount: int) -> Generator[Any, Any, str]:
    """Take a step, wait for an approval, and call another function of this service."""
    yield ctx.lfc(note, "charge begins")
    yield (yield ctx.promise(id=f"{ctx.id}.approved"))
    fee = yield ctx.rfc(fee_of, amount)
    return f"{amount} and {fee}"


@runtime.register(target=HERE)
def fee_of(_: Context, amount: int) -> int:
    return amount // 10


@runtime.register(target=HERE)
def hold(_: Context) -> str:
    """Last until there is a file."""
    note(_, "hold begins")
    while not Path("go on").exists():
        time.sleep(0.01)
    return "held"


def note(_: Context, text: str) -> None:
    with Path("notes").open("a") as notes:
        print(text, file=notes, flush=True)


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    if KIND == "wsgi":
        wsgi: Any = PushWSGI(runtime, key=KEY, hold=HOLD)
        server = WSGIServer(("127.0.0.1", PORT), Silent, bind_and_activate=False)
        server.socket.close()
        server.socket = socket.socket(fileno=DESCRIPTOR)
        server.server_name, server.server_port = "127.0.0.1", PORT
        server.setup_environ()
        server.set_app(wsgi)
        print("service listens", flush=True)
        server.serve_forever()
    elif KIND == "lambda":
        lambda_app: Any = PushASGI(runtime, key=KEY, hold=HOLD)
        handler = Mangum(lambda_app, lifespan="off")
        print("service listens", flush=True)
        for line in sys.stdin:
            context: Any = None
            print(json.dumps(handler(json.loads(line), context)), flush=True)
    elif KIND == "grpc":
        rpc = grpc.server(ThreadPoolExecutor(8))
        add_push_servicer(rpc, runtime, key=KEY, hold=HOLD)
        rpc.add_insecure_port(f"127.0.0.1:{PORT}")
        rpc.start()
        print("service listens", flush=True)
        rpc.wait_for_termination()
    else:
        config = hypercorn.config.Config()
        config.bind = [f"fd://{DESCRIPTOR}"]
        config.accesslog = None
        app: Any = PushASGI(runtime, key=KEY, hold=HOLD)
        print("service listens", flush=True)
        asyncio.run(hypercorn.asyncio.serve(app, config))
