"""Processes of brokers that share one PostgreSQL, and a node that works for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.forked import Process, forker
from tests.support import free_url
from understudy import BrokerUnavailableError, Context, Runtime
from understudy.cli.deployment import read_placement


class Brokers:
    """Processes of brokers with one store."""

    def __init__(self, store: str, logs: Path) -> None:
        self.store = store
        self.logs = logs
        self.urls = {name: free_url() for name in "abc"}
        self.running: dict[str, subprocess.Popen[bytes] | Process] = {}

    @property
    def url(self) -> str:
        return ",".join(self.urls.values())

    def start(self, *names: str, before: str = "") -> None:
        """Start brokers by their names, each after the statements `before`.

        They are forked if there are no such statements, which a module may have to be new for.
        """
        main = f"import sys, time\n{before}\nfrom understudy.cli import main\nsys.exit(main())"
        for name in names:
            words = ["broker", "--no-http", "--name", name, "--listen", self.urls[name]]
            words += ["--store", self.store]
            log = self.logs / f"{name}.log"
            if not before:
                command = ["-m", "understudy", *words]
                self.running[name] = forker().python(command, os.environ, Path.cwd(), log)
                continue
            with log.open("ab") as output:
                command = [sys.executable, "-c", main, *words]
                self.running[name] = subprocess.Popen(command, stderr=output)

    def end(self, name: str, number: signal.Signals) -> None:
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(20)

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()


def shop(url: str, name: str) -> Runtime:
    runtime = Runtime("shop", name, url=url, connect_timeout=30)

    @runtime.register
    def double(_: Context, n: int) -> int:
        return 2 * n

    @runtime.register
    def total(ctx: Context, n: int) -> Any:
        numbers = yield ctx.all([ctx.rpc(double, each) for each in range(n)])
        yield ctx.sleep(0.2)
        there = yield ctx.rpc(double, 1).options(home=f"there-{ctx.id}")
        return sum(numbers) + there

    @runtime.register
    def large(_: Context, size: int) -> int:
        return len(bytes(size).hex()) // 2

    @runtime.register
    def asks(ctx: Context) -> Any:
        return (yield (yield ctx.promise().options(home=f"people-{ctx.id}")))

    return runtime


def shares(brokers: Brokers) -> dict[str | None, int]:
    """Return how many slots each broker has, as a peer that has just come is told."""
    names = read_placement(brokers.url).owners
    return {name: names.count(name) for name in {*names}}


def has_shares(brokers: Brokers, counts: Sequence[int]) -> bool:
    """Return whether the brokers that have slots have so many each, least first."""
    with suppress(BrokerUnavailableError):
        return sorted(shares(brokers).values()) == counts
    return False
