"""One setting makes the log of a whole deployment JSON, with the run in each record."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.integration.cli.programs import Program, run
from tests.support import free_url

APP = """
import logging

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from understudy import Runtime

trace.set_tracer_provider(TracerProvider())
runtime = Runtime("shop")

def pack(ctx, number):
    print("a line of its own")
    logging.getLogger("shop").warning("packed", extra={"parcel": number})

@runtime.register
def order(ctx, number):
    yield ctx.run(pack, number)
"""
TOPOLOGY = """
[broker]
listen = "{url}"
store = "memory"

[[group]]
name = "shop"
app = "app:runtime"
nodes = 1
"""


def test_a_deployment_that_logs_json(tmp_path: Path) -> None:
    url = free_url()
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "topology.toml").write_text(TOPOLOGY.format(url=url))
    with Program("up", "--log-format", "json", cwd=tmp_path) as up:
        up.wait_for("up: broker at")
        call = ("invoke", "o-1", "order", "--arg", "7", "--target", "shop", "--wait")
        ran = run(*call, "--url", url, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        up.wait_for('"packed"')
        assert up.stop(signal.SIGINT) == 130
    lines = [json.loads(line) for line in up.output.splitlines()]
    of: dict[str, dict[str, Any]] = {line["event"]: line for line in lines}
    assert {line["process"] for line in lines} >= {"broker", "shop/1", "up"}
    packed = of["packed"]
    assert (packed["parcel"], packed["level"], packed["logger"]) == (7, "warning", "shop")
    assert (packed["understudy.id"], packed["understudy.function"]) == ("o-1.1", "pack")
    assert packed["understudy.node"].startswith("shop-")
    assert len(packed["trace_id"]) == 32
    assert len(packed["span_id"]) == 16
    assert of["a line of its own"]["process"] == "shop/1"
    assert of["joined"]["process"] == "broker"
    assert any(event.startswith("node ") for event in of)
