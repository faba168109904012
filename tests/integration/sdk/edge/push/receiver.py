"""A receiver of pushes as a program: it takes notes, and acquires and ends tasks over HTTP.

The path says what it does: ``/ok`` answers 202, ``/STATUS`` with that status, ``/hang`` never,
until there is a file ``recovered``; from then on all of them answer 202. A push is
a line of ``notes``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from understudy.edge.resonate.envelope import VERSION
from understudy.signatures import parse_keys, verify

KEYS = parse_keys(Path("push.key").read_text(), "push.key")
NOTES = threading.Lock()


def ask(server: str, kind: str, **data: Any) -> Any:
    body = json.dumps({"kind": kind, "head": {"corrId": "1", "version": VERSION}, "data": data})
    with urllib.request.urlopen(server, body.encode()) as answer:
        return json.loads(answer.read())


def perform(message: dict[str, Any]) -> None:
    """Acquire a task and resolve its promise."""
    task, server = message["data"]["task"], message["head"]["serverUrl"]
    held = ask(server, "task.acquire", **task, pid="receiver", ttl=10_000)
    if held["head"]["status"] != 200:
        return
    version = held["data"]["task"]["version"]
    settle = {"id": task["id"], "state": "resolved", "value": {"data": "performed"}}
    action = {"kind": "promise.settle", "head": {"corrId": "2", "version": VERSION}, "data": settle}
    ask(server, "task.fulfill", id=task["id"], version=version, action=action)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): text for name, text in self.headers.items()}
        verify(KEYS, headers, body, time.time())
        message = json.loads(body)
        with NOTES, Path("notes").open("a") as notes:
            print(json.dumps([self.path, message]), file=notes, flush=True)
        if not Path("recovered").exists():
            if self.path == "/hang":
                threading.Event().wait()
            if self.path[1:].isdecimal():
                self.send_response(int(self.path[1:]))
                self.send_header("location", "/ok")
                self.send_header("content-length", "0")
                self.end_headers()
                return
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()
        if message["kind"] == "execute" and self.path == "/ok":
            perform(message)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("receiver listens", flush=True)
    server.serve_forever()
