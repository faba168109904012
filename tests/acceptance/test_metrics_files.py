"""The names of metrics are those of the page, and the dashboard and the alerts use no others."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.services.fixture import required
from tests.services.prometheus import promtool
from tests.unit.broker.server.test_metrics_page import full_page as broker_page
from tests.unit.sdk.client.test_node_page import full_page as node_page_of_test
from understudy.client import node_page
from understudy.edge import metrics as edge_metrics
from understudy_broker.monitoring import process_numbers
from understudy_broker.monitoring.exposition import Family
from understudy_broker.server import metrics_page

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
RULES = ROOT / "deploy/prometheus/understudy.rules.yml"
RULE_TESTS = RULES.with_name("understudy.tests.yml")
DASHBOARD = ROOT / "deploy/grafana/understudy.json"

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (metrics_page, node_page, edge_metrics, process_numbers)
    for family in module.FAMILIES
}
#: what Prometheus itself gives to each number
OWN_LABELS = {"instance", "job", "le"}


def shown(family: Family) -> set[str]:
    if family.kind == "histogram":
        return {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return {family.name}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable["query"]


def test_the_page_has_each_name_with_its_type_labels_and_meaning() -> None:
    rows = re.findall(r"^\| `(understudy_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {name: (kind, labels, text) for name, kind, labels, text in rows} == {
        family.name: (
            family.kind,
            ", ".join(f"`{label}`" for label in family.labels),
            family.help,
        )
        for family in FAMILIES.values()
    }


def test_names_follow_the_rules_of_prometheus() -> None:
    for family in FAMILIES.values():
        assert re.fullmatch(r"understudy_[a-z_]+", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert not {"id", "promise", "task", "identity"} & set(family.labels), family.name


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_expressions_use_only_what_is_shown(place: str, expression: str) -> None:
    names = set(re.findall(r"understudy_\w+", expression))
    assert names or expression == "prometheus", place
    known = {name: family for family in FAMILIES.values() for name in shown(family)}
    assert names <= known.keys(), place
    labels = set(re.findall(r"(\w+)\s*=~?\s*\"", expression))
    for listed in re.findall(r"(?:by|on) \(([\w, ]+)\)", expression):
        labels |= set(re.split(r",\s*", listed))
    assert labels <= OWN_LABELS.union(*(known[name].labels for name in names)), place


def test_each_alert_is_explained_and_has_a_place_in_the_page() -> None:
    found = rules()
    assert len(found) == 10
    for rule in found:
        assert rule["annotations"].keys() == {"summary", "action"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert f"| `{rule['alert']}` |" in PAGE
        assert rule["alert"] in RULE_TESTS.read_text(encoding="utf-8")


def test_prometheus_takes_the_pages() -> None:
    numbers = edge_metrics.EdgeNumbers()
    numbers.note("GET", 200, 0.01)
    edge_page = edge_metrics.edge_text(numbers, True)
    program = required(promtool)
    for text in (broker_page(), node_page_of_test(), edge_page, process_numbers.process_text()):
        done = subprocess.run(
            [program, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_prometheus_takes_the_rules_and_their_tests_pass(tmp_path: Path) -> None:
    program = required(promtool)
    for command in (["check", "rules", str(RULES)], ["test", "rules", str(RULE_TESTS)]):
        done = subprocess.run([program, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    # The tests notice a rule that no longer fires.
    text = RULES.read_text(encoding="utf-8")
    (tmp_path / RULES.name).write_text(text.replace("_lag_seconds > 10", "_lag_seconds > 99"))
    (tmp_path / RULE_TESTS.name).write_text(RULE_TESTS.read_text(encoding="utf-8"))
    command = [program, "test", "rules", str(tmp_path / RULE_TESTS.name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "UnderstudyFollowerLag" in done.stdout + done.stderr
