"""What the distribution promises: a light import, four typed packages, one direction of imports."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE_FOLDERS = (
    *(ROOT / "store/understudy_store", ROOT / "broker/understudy_broker"),
    *(ROOT / "actors/understudy_actors", ROOT / "sdk/understudy"),
)
PACKAGES = ("understudy_store", "understudy_broker", "understudy_actors", "understudy")

#: What only a broker, an edge, a source or the command line needs: a client must not pay for it.
HEAVY = (
    *(
        "alembic",
        "boto3",
        "confluent_kafka",
        "google",
        "grpc",
        "hypercorn",
        "nats",
        "pika",
        "jsonschema",
        "psycopg",
        "pydantic",
        "redis",
        "sqlalchemy",
        "sqlmodel",
        "starlette",
        "typer",
    ),
)


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    return {name.partition(".")[0] for name in json.loads(run.stdout)}


def test_importing_the_sdk_is_light() -> None:
    loaded = _modules_after("import understudy")
    assert "understudy" in loaded
    assert loaded.isdisjoint(HEAVY), f"import understudy loads {sorted(loaded & set(HEAVY))}"


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_typed(name: str) -> None:
    module_file = import_module(name).__file__
    assert module_file is not None
    assert Path(module_file).with_name("py.typed").is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [made] = folder.glob("*.whl")
    return made


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    expected = {
        str(path.relative_to(package.parent))
        for package in PACKAGE_FOLDERS
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"understudy/edge/grpc/v1/understudy.proto", "understudy/py.typed"} <= expected
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == expected


def test_the_wheel_works_away_from_the_tree(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = """
import understudy, understudy_actors, understudy_broker, understudy_store
from understudy import Runtime
from understudy.cli import main

runtime = Runtime.local("calls.db")

@runtime.register
def double(ctx, number: int):
    return 2 * number

if __name__ == "__main__":
    for package in (understudy, understudy_actors, understudy_broker, understudy_store):
        assert package.__file__.startswith(HERE), package.__file__
    with runtime:  # which makes the tables of a store, by the migrations inside
        assert runtime.rpc("d", double, 21).result() == 42
    assert main(["--version"]) == 0
"""
    path = tmp_path / "script.py"
    path.write_text(script.replace("HERE", repr(str(tmp_path))))
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("understudy ")


def test_what_the_project_says_of_itself_is_true(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        metadata = archive.read(name).decode()
        licenses = [name for name in archive.namelist() if "/licenses/" in name]
    assert licenses
    oldest = re.findall(r"^Requires-Python: >=3\.(\d+)$", metadata, re.MULTILINE)
    named = re.findall(
        r"^Classifier: Programming Language :: Python :: 3\.(\d+)$", metadata, re.MULTILINE
    )
    assert [min(named, key=int)] == oldest
    # Nothing is said of a system on which no test has run.
    assert re.findall(r"^Classifier: Operating System :: (.*)$", metadata, re.MULTILINE) == [
        "POSIX :: Linux"
    ]
