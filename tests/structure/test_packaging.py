"""What the distribution promises: a light import, four typed packages, one direction of imports."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

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
