"""The programs of a run: how brokers, nodes and clients are started."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.app import LEDGER_ENV, LEFT, RIGHT, STEADY
from tests.chaos.client import FOLDER_ENV, SEED_ENV
from understudy_actors.processes import ProcessSpec, RestartPolicy

#: The number of nodes of each group.
NODES: Final = {LEFT: 3, RIGHT: 3}
CLIENTS: Final = 3
#: The lease, short so that it often lapses while a process is stopped.
LEASE_S: Final = 1.0
#: Restarts are unlimited because processes are killed on purpose.
POLICY: Final = RestartPolicy(max_s=0.01, max_restarts=1_000_000_000)

_UNDERSTUDY: Final = (sys.executable, "-m", "understudy")


def environment(folder: Path, url: str, seed: int) -> dict[str, str]:
    """Return what all processes find in their environment."""
    return {
        "UNDERSTUDY_URL": url,
        LEDGER_ENV: str(folder / "nodes.log"),
        FOLDER_ENV: str(folder),
        SEED_ENV: str(seed),
    }


def broker_spec(name: str, flags: Sequence[str], env: Mapping[str, str]) -> ProcessSpec:
    """Describe a broker."""
    argv = [*_UNDERSTUDY, "broker", "--no-http", "--metrics", "none", *flags]
    for setting in (f"lease_ttl_s={LEASE_S}", "deaths_max=0", "log_format=json"):
        argv += ["--set", setting]
    return _spec(name, argv, (), env, 0)


def node_specs(nodes: Mapping[str, int], env: Mapping[str, str]) -> list[ProcessSpec]:
    """Describe the nodes of each group, by their number."""
    specs = []
    for group, count in nodes.items():
        argv = [*_UNDERSTUDY, "node", "tests.chaos.app:runtime", "--group", group]
        names = [f"{group}-{number}" for number in range(count)]
        kind = "steady" if group == STEADY else "node"
        specs += [_spec(f"{kind}/{name}", argv, ("--id", name), env, 1) for name in names]
    return specs


def client_specs(names: Sequence[str], env: Mapping[str, str]) -> list[ProcessSpec]:
    """Describe clients."""
    client = [sys.executable, "-m", "tests.chaos.client"]
    return [_spec(f"client/{name}", client, (name,), env, 2) for name in names]


def _spec(
    name: str, argv: list[str], own_args: tuple[str, ...], env: Mapping[str, str], stage: int
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=argv,
        own_args=own_args,
        forks=True,
        env=env,
        cwd=Path(__file__).parents[2],
        restart=POLICY,
        stage=stage,
        watches_lifeline=True,
    )
