"""The OpenAPI document: of the functions that nodes have now, and true of the answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sdk.edge.rig import Rig, open_rig

ROOT = Path(__file__).parents[4]
#: in all, for schemathesis
PATIENCE_S = 300


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An edge that lets nobody wait for long."""
    with open_rig(tmp_path_factory.mktemp("edge"), wait_max_s=0.05) as rig:
        yield rig


def test_the_document_has_the_functions_of_now(rig: Rig) -> None:
    document = rig.http.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    describe = document["paths"]["/calls/shop/describe"]["post"]
    [by_name, by_position] = describe["requestBody"]["content"]["application/json"]["schema"][
        "oneOf"
    ]
    assert by_name["properties"]["order"] == {"$ref": "#/components/schemas/Order"}
    assert by_position["prefixItems"] == [by_name["properties"]["order"]]
    order = document["components"]["schemas"]["Order"]
    assert order["required"] == ["amount", "customer"]
    typed = describe["responses"]["200"]["content"]["application/json"]["schema"]["allOf"][1]
    data = typed["properties"]["value"]["properties"]["data"]
    assert data == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_schemathesis_passes(rig: Rig) -> None:
    """It sends what the document allows and what it does not, and looks at every answer."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"http://127.0.0.1:{rig.port}/openapi.json",
            "--checks=all",
            "--max-examples=8",
            "--request-timeout=20",
            "--no-color",
            "--generation-deterministic",
            # A stream ends when its promise has settled, which may never be.
            "--exclude-path-regex=/events$",
        ],
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.integration.sdk.edge.schemathesis_hooks",
            "PYTHONPATH": str(ROOT),
        },
        cwd=rig.system.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in rig.edge.output
