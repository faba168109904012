"""Calls over HTTP: an edge in front of the broker, and a client that knows only JSON.

The client starts a call and waits for its result, repeats the request with the same key, which is
the same call, and answers a question that a function asks. Needs the extra [http].

Run it with ``python examples/http_call.py``.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from typing import Any
from urllib.parse import quote

from understudy import Context, Runtime

runtime = Runtime.local()


@runtime.register
def price(_: Context, book: str, copies: int) -> float:
    return len(book) * copies * 0.5


@runtime.register
def order(ctx: Context, book: str, copies: int) -> Generator[Any, Any, str]:
    total = yield ctx.rpc(price, book, copies)
    approval = yield ctx.promise(id=f"{ctx.id}.approval", timeout=3600)
    return f"{copies} of {book!r} for {total}, approved by {(yield approval)}"


def send(method: str, url: str, body: Any = None, **headers: str) -> Any:
    """Send a request, with JSON if there is a body, and return the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    headers |= {"content-type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main() -> None:
    with runtime:
        command = [sys.executable, "-m", "understudy", "edge"]
        address = ["--listen", "127.0.0.1:0", "--url", runtime.url]
        edge = subprocess.Popen([*command, *address], stdout=subprocess.PIPE, text=True)
        try:
            assert edge.stdout is not None
            # understudy edge: http://127.0.0.1:40123 for the broker at ...
            base = edge.stdout.readline().split()[2]
            calls = f"{base}/calls/local"

            call = send("POST", f"{calls}/price?wait=30s", {"book": "Persuasion", "copies": 3})
            print("a price:", call["value"]["data"])

            arguments, key = {"book": "Emma", "copies": 2}, {"Idempotency-Key": "order-7"}
            call = send("POST", f"{calls}/order", arguments, **key)
            again = send("POST", f"{calls}/order", arguments, **key)
            print("the same call:", call["id"] == again["id"], "as", call["id"])

            # Whoever is faster creates the promise, this client or the function.
            approval = f"{base}/promises/{quote(call['id'] + '.approval', safe='')}"
            send("PUT", f"{approval}?timeout=1h")
            send("POST", f"{approval}/resolve", "Ann")
            result = f"{base}/calls/{quote(call['id'], safe='')}/result?wait=30s"
            print("an order:", send("GET", result))
        finally:
            edge.terminate()
            edge.wait()


if __name__ == "__main__":
    main()
