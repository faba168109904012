"""The compose file: Docker's own reader takes it, and each service is a command that exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.acceptance.deployed import DEPLOY, DRAIN_S, ROOT, parsed
from tests.services.compose import compose
from tests.services.fixture import required
from understudy import Runtime
from understudy_broker.server.settings import load_settings

FOLDER = DEPLOY / "compose"
PLAIN: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
OURS = ("broker-a", "broker-b", "edge", "ui", "orders")


@pytest.fixture(scope="module")
def resolved() -> dict[str, Any]:
    """The file as Docker's own reader understands it."""
    environment = os.environ | variables()
    command = [*required(compose), "-f", str(FOLDER / "compose.yaml"), "config", "--format=json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def variables() -> dict[str, str]:
    lines = (FOLDER / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_docker_takes_it_and_everything_is_bounded_and_checked(resolved: dict[str, Any]) -> None:
    for name, service in resolved["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits["memory"], name
        assert limits["cpus"], name
        assert "healthcheck" in service, name
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), mount
                assert mount["read_only"], mount


def test_each_command_is_one_of_understudy(
    resolved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        service = resolved["services"][name]
        command = service["command"]
        params = parsed(command)
        check = service["healthcheck"]["test"]
        assert check[:2] == ["CMD", "understudy"]
        asked = parsed(check[2:])
        metrics = service["environment"].get("UNDERSTUDY_BROKER__METRICS") or params.get("metrics")
        shown = asked["http"] or "127.0.0.1:9090"
        assert shown.rpartition(":")[2] in (str(metrics).rpartition(":")[2], "8080"), name
        if name != "ui":
            grace = service["stop_grace_period"]
            assert int(re.sub(r"\D", "", grace.replace("1m", "60"))) >= DRAIN_S + 5
        if params.get("settings"):
            _check_settings(service, params, monkeypatch)


def _check_settings(
    service: dict[str, Any], params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for variable, value in service["environment"].items():
            patch.setenv(variable, value)
        given = dict(setting.split("=", 1) for setting in params["settings"])
        settings = load_settings(None, {**given, "name": params["name"]})
    assert settings.shares_database
    # It has keys, so it starts beyond loopback, and a name by which the others reach it.
    assert str(settings.keys) == "/keys"
    assert settings.open_to_others
    assert settings.address == f"tcp://broker-{params['name']}:5577"


def test_each_peer_has_a_key_of_its_own(resolved: dict[str, Any], tmp_path: Path) -> None:
    """The script that makes them runs for real, twice: the second time changes nothing."""
    environment = os.environ | {
        "MADE": str(tmp_path),
        "OWNER": str(os.getuid()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    script = ["sh", str(FOLDER / "make-keys.sh")]
    subprocess.run(script, env=environment, check=True, capture_output=True, timeout=60)
    made = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    subprocess.run(script, env=environment, check=True, capture_output=True, timeout=60)
    assert made == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    mounted = {
        Path(mount["target"]).name: mount["source"]
        for mount in resolved["services"]["keys"]["volumes"]
        if mount["type"] == "volume"
    }
    assert set(mounted) == {path.name for path in tmp_path.iterdir()}
    for name in OURS[2:]:
        service = resolved["services"][name]
        [volume] = [mount for mount in service["volumes"] if mount["target"] == "/credentials"]
        kind = next(kind for kind, source in mounted.items() if source == volume["source"])
        for variable in ("UNDERSTUDY_KEY", "UNDERSTUDY_BROKER_KEY"):
            assert (tmp_path / kind / Path(service["environment"][variable]).name) in made, name


def test_the_example_app_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER / "app"))
    import shop  # type: ignore[import-not-found]

    assert PLAIN["services"]["orders"]["command"][1] == "shop:runtime"
    with Runtime.local(group="orders") as runtime:
        for function in (shop.order, shop.price):
            runtime.register(function)
        assert runtime.rpc("o", "order", "tea", 2).result() == {"item": "tea", "total": 7}


def test_prometheus_asks_the_services_where_they_show_metrics() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    asked = set()
    for job in config["scrape_configs"]:
        for static in job.get("static_configs", []):
            asked |= {target.partition(":")[0] for target in static["targets"]}
        for dns in job.get("dns_sd_configs", []):
            assert dns["port"] == 9090
            asked |= set(dns["names"])
    assert asked == {"broker-a", "broker-b", "edge", "orders"}
    provided = yaml.safe_load((FOLDER / "grafana/datasources.yml").read_text())
    assert provided["datasources"][0]["url"] == "http://prometheus:9090"


def test_the_recipe_is_where_the_file_says() -> None:
    build = PLAIN["x-understudy"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()
