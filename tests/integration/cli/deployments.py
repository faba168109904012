"""Broker processes that share the slots, each with a SQLite store, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.cli.programs import Forked, run_forked
from tests.support import free_url
from understudy_broker.server.placement import KEY, Placement, from_text
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.slots import slot_of


class Brokers:
    """The brokers of a file in a directory; a context manager, which stops those that run."""

    def __init__(self, directory: Path, names: str) -> None:
        self.directory = directory
        self.urls = {name: free_url() for name in names}
        self.running: dict[str, Forked] = {}
        self.write()

    def __enter__(self) -> Brokers:
        return self

    def __exit__(self, *exc: Any) -> None:
        for program in self.running.values():
            program.__exit__(*exc)

    @property
    def url(self) -> str:
        """All addresses."""
        return ",".join(self.urls.values())

    def write(self, **stores: str) -> None:
        """Write the file; `stores` other than the default ones."""
        tables = []
        for name, url in self.urls.items():
            table = f'[[broker]]\nname = "{name}"\nlisten = "{url}"\nboot_grace_s = 0.5\n'
            tables.append(table + (f'store = "{stores[name]}"\n' if name in stores else ""))
        (self.directory / "brokers.toml").write_text("\n".join(tables))

    def add(self, name: str, **stores: str) -> None:
        """Give the file one more table."""
        self.urls[name] = free_url()
        self.write(**stores)

    def launch(self, name: str) -> Forked:
        """Start a broker, and do not wait for anything."""
        args = ("broker", "--config", "brokers.toml", "--name", name)
        program = self.running[name] = Forked(*args, cwd=self.directory)
        return program

    def start(self, names: str) -> None:
        """Start brokers, and wait until they listen."""
        for program in [self.launch(name) for name in names]:
            program.wait_for("listening on")

    def stop(self, names: str) -> str:
        """Stop brokers in order; return what they wrote."""
        outputs = []
        for name in names:
            program = self.running.pop(name)
            assert program.stop() == 0, program.output
            outputs.append(program.output)
        return "".join(outputs)

    def store(self, name: str) -> Path:
        """The file of a broker's store."""
        return self.directory / f"understudy-{name}.db"

    def placement(self, name: str) -> Placement:
        """The placement in the store of a broker that does not run."""
        engine = SqliteEngine(self.store(name))
        try:
            found = from_text(engine.fact(KEY), name)
        finally:
            engine.close()
        assert found is not None
        return found

    def move(self, *args: str) -> str:
        """Move slots, and return what the command printed."""
        ran = run_forked("slots", "move", *args, "--config", "brokers.toml", cwd=self.directory)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


def ids_at(placement: Placement, name: str, count: int, prefix: str = "call") -> list[str]:
    """Return ids whose slots a broker owns by a placement."""
    found = (f"{prefix}-{number}" for number in range(10_000))
    mine = (id_ for id_ in found if placement.owners[slot_of(id_)] == name)
    return [next(mine) for _ in range(count)]
