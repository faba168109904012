"""Raw ``promise.create`` of the Resonate protocol: a broker over SQLite, edges, and one client.

The client keeps connections open and asks again on each as soon as it has its answer::

    python -m benchmarks.resonate_creates --edges 2 --connections 16 --requests 12000
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from understudy.bench.deployment import free_port

_BODY: Final = (
    '{"kind":"promise.create","head":{"corrId":"c","version":"2026-04-01"},"data":{"id":"%s",'
    '"timeoutAt":4000000000000,"param":{"data":"eyJmdW5jIjoiZiIsImFyZ3MiOlsxXX0="},"tags":{}}}'
)
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def _request(id_: str) -> bytes:
    body = (_BODY % id_).encode()
    return b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _is_whole(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"refused: {answer!r}")
    start = head.index(b"content-length: ") + 16
    return len(body) == int(head[start:].partition(b"\r\n")[0])


def _ask(ports: list[int], connections: int, requests: int, run: str) -> tuple[float, list[float]]:
    """Return how long all requests took, and each of them, in seconds."""
    selector = selectors.DefaultSelector()
    asked = 0
    times: list[float] = []
    begun = time.perf_counter()
    for number in range(connections):
        sock = socket.create_connection(("127.0.0.1", ports[number % len(ports)]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, [b"", time.perf_counter()])
        sock.sendall(_request(f"{run}-{asked}"))
        asked += 1
    while len(times) < requests:
        for key, _ in selector.select():
            open_sock = key.fileobj
            assert isinstance(open_sock, socket.socket)
            key.data[0] += open_sock.recv(65_536)
            if not _is_whole(key.data[0]):
                continue
            now = time.perf_counter()
            times.append(now - key.data[1])
            key.data[:] = b"", now
            if asked < requests:
                open_sock.sendall(_request(f"{run}-{asked}"))
                asked += 1
    return time.perf_counter() - begun, sorted(times)


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _wait_for(port: int) -> None:
    give_up_at = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                if sock.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except ConnectionError:
            pass
        if time.monotonic() > give_up_at:
            raise SystemExit("the edge does not become ready")
        time.sleep(0.05)


def main() -> None:
    """Measure, and print a line for each repetition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    understudy = [sys.executable, "-m", "understudy"]
    url = f"tcp://127.0.0.1:{free_port()}"
    ports = [free_port() for _ in range(args.edges)]
    with tempfile.TemporaryDirectory() as folder:
        commands = [
            ["broker", "--listen", url, "--store", "store.db", "--http", "off"],
            *(["edge", "--listen", f"127.0.0.1:{port}", "--url", url] for port in ports),
        ]
        processes = [
            subprocess.Popen([*understudy, *command], cwd=folder, stdout=subprocess.DEVNULL)
            for command in commands
        ]
        try:
            for port in ports:
                _wait_for(port)
            _ask(ports, args.connections, 2_000, "warm-up")
            for number in range(args.repeat):
                before = [_cpu_s(each) for each in processes]
                took_s, times = _ask(ports, args.connections, args.requests, f"run{number}")
                spent = [_cpu_s(p) - b for p, b in zip(processes, before, strict=True)]
                per = 1e6 / args.requests
                print(
                    f"{args.requests / took_s:,.0f}/s, p50 {times[len(times) // 2] * 1e3:.1f} ms, "
                    f"p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms; CPU per request: broker "
                    f"{spent[0] * per:.0f} µs, edges {sum(spent[1:]) * per:.0f} µs",
                    flush=True,
                )
        finally:
            for each in processes:
                each.terminate()
            for each in processes:
                each.wait()


if __name__ == "__main__":
    main()
