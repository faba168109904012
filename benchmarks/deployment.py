"""Deployments of the product, started as users start it: by the command line, with defaults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy import BrokerUnavailableError, Runtime
from understudy.bench.deployment import free_port, node_count
from understudy.bench.runner import GROUP
from understudy.cli.deployment import read_placement
from understudy_broker.keys.key_files import BROKER_PUBLIC, new_pair, write_pair
from understudy_broker.keys.key_folder import KeyFolder
from understudy_broker.keys.peer_keys import BROKER_KEY_ENV, KEY_ENV
from understudy_broker.keys.rights import Holder
from understudy_broker.keys.rights_text import with_identity
from understudy_store.slots import SLOTS

APP = "benchmarks.app:runtime"
#: Seconds that anything may take for which a benchmark waits.
PATIENCE_S = 60.0
ROOT = Path(__file__).parent.parent


class Deployment:
    """A broker, or several, and nodes as processes, which `processes` has by name.

    Parameters
    ----------
    store
        A file, or the URL of a store; if there is none, a file in the folder.
    names
        Of the brokers, if there are several. They share the store if it is a URL; otherwise each
        has a file in the folder.
    settings
        Of the brokers, each as ``name=value``.
    keys
        A folder for the keys that brokers and peers are to have; None: they have none.
    """

    def __init__(
        self,
        folder: Path,
        store: Path | str | None = None,
        names: Sequence[str] = (),
        settings: Sequence[str] = (),
        keys: Path | None = None,
    ) -> None:
        self.folder = folder
        self.addresses = {name: f"tcp://127.0.0.1:{free_port()}" for name in names or ("broker",)}
        self.url = ",".join(self.addresses.values())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._store = store
        self._settings = settings
        self._log_path = folder / "processes.txt"
        self._log = self._log_path.open("ab")
        self._number = 0
        self._keys = keys
        if keys is not None:
            KeyFolder(keys).create()

    def key_of(self, identity: str, role: str = "everything") -> dict[str, str]:
        """Make a key; return the environment of a process that has it. Without keys it is empty."""
        if self._keys is None:
            return {}
        pair, file = new_pair(identity), self._keys / f"{identity.replace('/', '.')}.key"
        write_pair(file, pair)
        holder = Holder(identity, pair.public, roles=(role,))
        KeyFolder(self._keys).change(lambda text: with_identity(text, holder))
        return {KEY_ENV: str(file), BROKER_KEY_ENV: str(self._keys / BROKER_PUBLIC)}

    def start_broker(self) -> None:
        """Start the broker, or all of them; clients wait until they answer."""
        settings = [argument for each in self._settings for argument in ("--set", each)]
        if self._keys is not None:
            settings += ["--keys", str(self._keys)]
        if len(self.addresses) > 1 and not isinstance(self._store, str):
            file = self._write_tables()
            for name in self.addresses:
                self.start(
                    name, "broker", "--no-http", "--config", str(file), "--name", name, *settings
                )
            return
        store = self._store or self.folder / "bench.db"
        url = store if isinstance(store, str) else f"sqlite:///{store}"
        for name, address in self.addresses.items():
            named = ("--name", name) if len(self.addresses) > 1 else ()
            self.start(
                name, "broker", "--no-http", *named, "--listen", address, "--store", url, *settings
            )

    def _write_tables(self) -> Path:
        """Write a file with a table for each broker."""
        path = self.folder / "brokers.toml"
        path.write_text(
            "".join(
                f'[[broker]]\nname = "{name}"\nlisten = "{address}"\n'
                f'store = "sqlite:///{self.folder / name}.db"\n'
                for name, address in self.addresses.items()
            )
        )
        return path

    def wait_for_shares(self) -> None:
        """Wait until each broker has its share of the slots."""
        count = len(self.addresses)

        def are_even() -> bool:
            owners = read_placement(self.url).owners
            shares = [owners.count(name) for name in {*owners} - {None}]
            return len(shares) == count and max(shares) <= -(-SLOTS // count)

        if count > 1:
            until(are_even, f"slots of {count} brokers")

    def start_node(self) -> str:
        """Start one more node; return its name."""
        self._number += 1
        name = f"node-{self._number}"
        self.start(name, "node", APP, "--id", name, environment=self.key_of(name))
        return name

    def start(
        self, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a command of the command line."""
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "understudy", *arguments],
            stdout=self._log,
            stderr=self._log,
            cwd=ROOT,
            env={**os.environ, "UNDERSTUDY_URL": self.url, **(environment or {})},
        )

    def ask(self, *arguments: str) -> Any:
        """Run a command with ``--json``; return its answer."""
        command = [sys.executable, "-m", "understudy", *arguments, "--json", "--url", self.url]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE_S, cwd=ROOT
        )
        return json.loads(done.stdout)

    def stop(self, name: str) -> None:
        """Stop a process gracefully."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def last_output(self) -> str:
        """Return the last output of the processes."""
        return self._log_path.read_text(errors="replace")[-2_000:]

    def close(self) -> None:
        """Stop all processes, the broker last."""
        for name in reversed(list(self.processes)):
            self.stop(name)
        self._log.close()


@contextmanager
def client_of(url: str, keys: Mapping[str, str] | None = None) -> Iterator[Runtime]:
    """Open a client whose calls go to the nodes; it waits for a broker that is still starting.

    Parameters
    ----------
    keys
        What `Deployment.key_of` has returned for it.
    """
    found = keys or {}
    runtime = Runtime(
        group="bench-client",
        url=url,
        connect_timeout=PATIENCE_S,
        key=found.get(KEY_ENV),
        broker_key=found.get(BROKER_KEY_ENV),
    )
    try:
        yield runtime.options(target=GROUP)
    finally:
        runtime.stop()


@contextmanager
def deployed(nodes: int = 2, store: Path | None = None) -> Iterator[tuple[Deployment, Runtime]]:
    """Start a broker with `nodes` nodes, and open a client; leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        deployment = Deployment(Path(name), store)
        try:
            deployment.start_broker()
            for _ in range(nodes):
                deployment.start_node()
            with client_of(deployment.url) as client:
                wait_for_nodes(client, nodes)
                yield deployment, client
        except (BrokerUnavailableError, TimeoutError) as error:
            error.add_note(deployment.last_output())
            raise
        finally:
            deployment.close()


def wait_for_nodes(client: Runtime, count: int) -> None:
    """Wait until exactly `count` nodes are connected and ask for work."""
    until(lambda: node_count(client, GROUP) == count, f"{count} nodes")


def until(condition: Callable[[], bool], what: str, every_s: float = 0.02) -> None:
    """Poll until `condition` is true; raises a TimeoutError that names `what`."""
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(every_s)
