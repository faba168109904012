"""The generated code is what the tools make of the .proto now: after a change, ``make proto``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[5]
FOLDER: Final = Path("understudy/edge/grpc/v1")


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    source = tmp_path / FOLDER / "understudy.proto"
    source.parent.mkdir(parents=True)
    shutil.copy(ROOT / "sdk" / FOLDER / source.name, source)
    plugins = Path(sys.executable).parent
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python")]
    out += [f"--{kind}_out=quiet:{tmp_path}" for kind in ("mypy", "mypy_grpc")]
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={tmp_path}", *out, source],
        env={**os.environ, "PATH": f"{plugins}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    made = sorted(source.parent.glob("*_pb2*"))
    ours = sorted((ROOT / "sdk" / FOLDER).glob("*_pb2*"))
    assert [path.name for path in made] == [path.name for path in ours]
    for new, old in zip(made, ours, strict=True):
        assert new.read_text() == old.read_text(), f"{old.name} is out of date: make proto"


@pytest.mark.parametrize("name", ["Start", "Get", "Wait", "Settle", "Cancel", "List", "Watch"])
def test_every_method_is_described(name: str) -> None:
    text = (ROOT / "sdk" / FOLDER / "understudy.proto").read_text()
    lines = text.splitlines()
    [at] = [n for n, line in enumerate(lines) if line.startswith(f"  rpc {name}(")]
    assert lines[at - 1].startswith("  // ")
