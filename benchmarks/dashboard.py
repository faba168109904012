"""The dashboard over a large store: each page, memory, start, and what a page costs the broker.

``python -m benchmarks.dashboard`` makes a store with a million calls and a call graph of 100,000
children, starts a broker and `understudy ui` on it, and asks for each page 20 times. Pages are
found from the dashboard itself; a new one is asked for without arguments until `QUERIES` has some.
Then it opens a folded row of the large graph piece by piece, and takes the dashboard's memory, and
the time from the start of its process to the first page. At last a broker with two nodes performs
fan-outs of 10,000, in turns with an open page that follows them and with none.

It prints tables, and writes `benchmarks/results/dashboard.json`.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx

from benchmarks import prepared_stores
from benchmarks.deployment import PATIENCE_S, ROOT, Deployment, client_of, until, wait_for_nodes
from benchmarks.host import cpu_s, load_average, rss_mib
from benchmarks.tracing import processors_s
from understudy import Runtime
from understudy.bench.deployment import free_port
from understudy.bench.workloads import LIMIT_S, run_id
from understudy.ui.app import page_paths
from understudy.ui.deeds import DEEDS
from understudy.ui.function_statistics import percentile

PAGE_GOAL_MS: Final = 100.0
MEMORY_GOAL_MIB: Final = 80.0
START_GOAL_S: Final = 1.0
FAN_OUT_GOAL: Final = 0.98
NODES: Final = 2
BREADTH: Final = 10_000
STARTS: Final = 5
#: path, and what a page is asked for; a path that is not here is asked for as it is
QUERIES: Final[dict[str, tuple[str, ...]]] = {
    "/call": (
        *("id=order-0500000", "id=order-0500000&tab=raw"),
        *(f"id=wide&tab={tab}" for tab in ("waterfall", "graph", "steps", "attempts", "raw")),
        "id=wide.77",
    ),
    "/calls": (
        *("", "state=failed", "state=failed&since=1h", "state=pending", "state=pending&slow=10m"),
        *("group=group-3", "function=function_7", "function=unknown", "error=Declined"),
        *("prefix=order-05", "tag=customer%3Dc7", "cursor="),
    ),
    "/group": ("name=group-0",),
    "/waiting": ("", "cursor="),
}
#: by what a deed is done to
DEED_QUERIES: Final = {"call": ("id=order-0999999", "id=wide"), "schedule": ("id=nightly",)}
_NEXT: Final = re.compile(r'href="([^"]*[?&;]cursor=[^"]*)"')
_FOLD: Final = re.compile(r'hx-get="(/call/rows[^"]*)"')


class Times(NamedTuple):
    """How long answers took, in milliseconds.

    Attributes
    ----------
    ui_ms, broker_ms
        Processor time of each answer.
    """

    what: str
    status: int
    size: int
    p50: float
    p95: float
    most: float
    ui_ms: float
    broker_ms: float

    @property
    def is_met(self) -> bool:
        """Whether it is as quick as it should be."""
        return self.p50 <= PAGE_GOAL_MS


def urls(client: httpx.Client) -> Iterator[str]:
    """Yield the addresses of all pages, with what each is asked for."""
    for path in page_paths():
        for query in QUERIES.get(path, ("",)):
            if query == "cursor=":
                found = _NEXT.search(client.get(path).text)
                if found is not None:
                    yield html.unescape(found[1])
                continue
            yield f"{path}?{query}" if query else path
    for deed in DEEDS.values():
        for query in DEED_QUERIES.get(deed.of, ("id=question-00007",)):
            yield f"/do/{deed.name}?{query}"


def measured(
    deployment: Deployment, what: str, asks: list[Callable[[], httpx.Response]]
) -> tuple[Times, list[httpx.Response]]:
    """Return how long answers took, and the answers."""
    pids = [deployment.processes[name].pid for name in ("ui", "broker")]
    before = [cpu_s(pid) or 0.0 for pid in pids]
    took_ms, answers = [], []
    for ask in asks:
        began = time.perf_counter()
        answers.append(ask())
        took_ms.append((time.perf_counter() - began) * 1000)
    used = [
        ((cpu_s(pid) or 0.0) - was) * 1000 / len(asks)
        for pid, was in zip(pids, before, strict=True)
    ]
    ordered = sorted(round(each * 1000) for each in took_ms)
    p50, p95, most = (percentile(ordered, part) / 1000 for part in (0.5, 0.95, 1.0))
    last = answers[-1]
    return Times(what, last.status_code, len(last.content), p50, p95, most, *used), answers


def pages(deployment: Deployment, client: httpx.Client, repeats: int) -> Iterator[Times]:
    """Ask for each page."""
    for url in list(urls(client)):
        yield measured(deployment, url, [partial(client.get, url)] * repeats)[0]


def pieces(deployment: Deployment, client: httpx.Client, repeats: int) -> tuple[Times, int]:
    """Open the folded row of the large graph piece by piece; return the most rows of a piece."""
    page = client.get("/call?id=wide").text
    folds = _FOLD.findall(page)
    assert len(folds) == 1, "the children are one folded row"
    places = [html.unescape(folds[0])]

    def ask() -> httpx.Response:
        answer = client.get(places[-1], headers={"hx-request": "true"})
        places.extend(html.unescape(each) for each in _FOLD.findall(answer.text))
        return answer

    found, answers = measured(deployment, "/call/rows, piece by piece", [ask] * repeats)
    return found, max(answer.text.count("<tr ") for answer in answers)


def print_times(times: list[Times]) -> None:
    """Print a table in Markdown."""
    print("| page | status | KiB | p50 | p95 | max | dashboard | broker | |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for each in times:
        print(
            f"| `{each.what}` | {each.status} | {each.size / 1024:.0f} | {each.p50:.0f} ms "
            f"| {each.p95:.0f} | {each.most:.0f} | {each.ui_ms:.0f} | {each.broker_ms:.0f} "
            f"| {'' if each.is_met else 'over the goal'} |"
        )


def start_ui(deployment: Deployment) -> str:
    """Start a dashboard; return the address of its first page."""
    listen = f"127.0.0.1:{free_port()}"
    deployment.start("ui", "ui", "--url", deployment.url, "--listen", listen)
    return f"http://{listen}"


def first_page_s(base: str) -> float:
    """Return the seconds until the first page is there."""
    began = time.perf_counter()

    def is_there() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(base).status_code == 200
        return False

    until(is_there, "the first page", every_s=0.005)
    return time.perf_counter() - began


@contextmanager
def opened(deployment: Deployment) -> Iterator[None]:
    """Close a deployment at the end, and say what its processes have said if something fails."""
    try:
        yield
    except BaseException as error:
        error.add_note(deployment.last_output())
        raise
    finally:
        deployment.close()


def large_store(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure pages, memory and start over a large store."""
    store = options.store or folder / "shop.db"
    if not store.exists():
        began = time.perf_counter()
        prepared_stores.shop(store, options.calls, options.children, options.questions)
        print(f"the store was made in {time.perf_counter() - began:.0f} s", flush=True)
    deployment = Deployment(folder, store)
    with opened(deployment):
        deployment.start_broker()
        with client_of(deployment.url) as runtime:
            runtime.schedules.create("nightly", "0 3 1 1 *", "checkout", target="group-0")
        base = start_ui(deployment)
        first_page_s(base)
        with httpx.Client(base_url=base, timeout=PATIENCE_S) as client:
            rest, most_rows = pieces(deployment, client, options.repeats)
            times = [*pages(deployment, client, options.repeats), rest]
        print_times(times)
        memory = rss_mib(deployment.processes["ui"].pid)
        starts, cores = [], []
        for _ in range(STARTS):
            deployment.stop("ui")
            starts.append(first_page_s(start_ui(deployment)))
            cores.append(cpu_s(deployment.processes["ui"].pid) or 0.0)
    start, used = statistics.median(starts), statistics.median(cores)
    print(f"folded children open {most_rows:,} rows at a time")
    print(f"memory of the dashboard: {memory or 0:.1f} MiB (goal {MEMORY_GOAL_MIB:.0f})")
    print(f"from the start to the first page: {start:.2f} s (goal {START_GOAL_S:.0f}), ", end="")
    print(f"of which it computes {used:.2f} s", flush=True)
    return {
        "pages": [{**each._asdict(), "is_met": each.is_met} for each in times],
        "most_rows": most_rows,
        "memory_mib": memory,
        "first_page_s": starts,
        "first_page_processor_s": cores,
    }


class Follower:
    """A page that is open: it reads what the dashboard sends until `close`."""

    def __init__(self, base: str, path: str) -> None:
        self._client = httpx.Client(base_url=base, timeout=PATIENCE_S)
        self._sockets: SimpleQueue[socket.socket] = SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self._thread.start()

    def _read(self, path: str) -> None:
        self._client.get(path)
        with suppress(httpx.HTTPError), self._client.stream("GET", f"/events{path}") as answer:
            self._sockets.put(answer.extensions["network_stream"].get_extra_info("socket"))
            for _ in answer.iter_bytes():
                pass

    def close(self) -> None:
        """Close the page."""
        # The thread waits for what is sent next, which may take a while.
        self._sockets.get(timeout=PATIENCE_S).shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._client.close()


def fan_out(client: Runtime, base: str | None) -> tuple[float, float]:
    """Perform a fan-out that a page follows, or none; return seconds on the clock and of cores."""
    id_ = run_id("fan-out")
    follower = None if base is None else Follower(base, f"/call?id={quote(id_)}")
    began, used = time.perf_counter(), processors_s()
    client.rpc(id_, "fan_out", BREADTH).result(LIMIT_S)
    took = time.perf_counter() - began, processors_s() - used
    if follower is not None:
        follower.close()
    return took


def follow(folder: Path, pairs: int) -> dict[str, Any]:
    """Compare fan-outs with an open page and with none, in turns."""
    deployment = Deployment(folder)
    found: list[tuple[float, float]] = []
    with opened(deployment):
        deployment.start_broker()
        for _ in range(NODES):
            deployment.start_node()
        base = start_ui(deployment)
        first_page_s(base)
        with client_of(deployment.url) as client:
            wait_for_nodes(client, NODES)
            for number in range(-1, pairs):
                times: dict[bool, tuple[float, float]] = {}
                for is_open in (True, False) if number % 2 else (False, True):
                    times[is_open] = fan_out(client, base if is_open else None)
                if number >= 0:
                    found.append(
                        (times[False][0] / times[True][0], times[True][1] / times[False][1])
                    )
    speed, cores = (statistics.median(each) for each in zip(*found, strict=True))
    low, _, high = statistics.quantiles([each for each, _ in found], n=4)
    print(
        f"fan-out of {BREADTH:,} with a page that follows it: {speed:.3f} of the speed without "
        f"(median of {pairs} pairs, quartiles {low:.3f} and {high:.3f}; goal {FAN_OUT_GOAL}); "
        f"{cores:.2f} times the processor time",
        flush=True,
    )
    return {"pairs": found, "speed": speed, "processors": cores}


def main() -> None:
    """Print the measurements, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--children", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=20, help="of fan-outs; 0: none")
    parser.add_argument("--store", type=Path, help="made if it is missing, and kept")
    parser.add_argument("--only", choices=("pages", "fan-out"))
    options = parser.parse_args()
    result: dict[str, Any] = {"load_before": load_average()}
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        if options.only != "fan-out":
            result |= large_store(Path(name), options)
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        if options.only != "pages" and options.pairs:
            result["fan_out"] = follow(Path(name), options.pairs)
    path = ROOT / "benchmarks" / "results" / "dashboard.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
