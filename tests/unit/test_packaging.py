"""What the distribution promises: a light import, four typed packages, one direction of imports."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = ("understudy_store", "understudy_broker", "understudy_actors", "understudy")

#: What only a broker, an HTTP edge or the command line needs: a client must not pay for it.
HEAVY = ("alembic", "hypercorn", "pydantic", "sqlalchemy", "sqlmodel", "starlette", "typer")


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    return {name.partition(".")[0] for name in json.loads(run.stdout)}


def test_importing_the_sdk_is_light() -> None:
    loaded = _modules_after("from understudy import *")
    assert {"understudy", "msgspec"} <= loaded
    assert loaded.isdisjoint(HEAVY), f"import understudy loads {sorted(loaded & set(HEAVY))}"


def test_what_is_exported_is_loaded_when_it_is_asked_for() -> None:
    import understudy
    from understudy import _public

    assert understudy.__all__ == _public.__all__
    assert set(understudy.__all__) <= set(dir(understudy))
    # a module that came with the rest may be named without having been imported
    statement = "import understudy; assert understudy.errors.UnderstudyError"
    assert "msgspec" in _modules_after(statement)
    assert "msgspec" not in _modules_after("import understudy")
    with pytest.raises(AttributeError, match="module 'understudy' has no attribute 'absent'"):
        _ = understudy.absent  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_typed(name: str) -> None:
    module_file = import_module(name).__file__
    assert module_file is not None
    assert Path(module_file).with_name("py.typed").is_file()
