"""The check that guards the pure cores is itself checked: it must see the standard library too."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("store", "broker", "actors", "sdk")
CORES = (
    "store/understudy_store/machine/__init__.py",
    "broker/understudy_broker/core/dispatcher.py",
    "actors/understudy_actors/interpreter/__init__.py",
)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("statement", ["import time", "from random import random", "import zmq"])
def test_an_impure_import_breaks_the_contract(core: str, statement: str, tmp_path: Path) -> None:
    for floor in FLOORS:
        shutil.copytree(
            ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / core).open("a") as source:
        source.write(f"\n{statement}\n")
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--contract", "cores"],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(str(tmp_path / floor) for floor in FLOORS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    core_name = core.removesuffix("/__init__.py").removesuffix(".py").partition("/")[2]
    chain = f"{core_name.replace('/', '.')} -> {statement.split()[1]}"
    assert chain in " ".join(run.stdout.split())
