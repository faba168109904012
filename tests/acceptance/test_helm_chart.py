"""The Helm chart, as the real Helm renders it: Kubernetes takes it, and our commands run in it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.acceptance.deployed import DEPLOY, DRAIN_S, HEALTH_PATHS, ROOT, parsed
from tests.acceptance.test_metrics_files import FAMILIES
from tests.services.fixture import required
from tests.services.go import has_go
from tests.services.helm import KUBERNETES, helm, kubernetes_validate
from understudy_broker.server.settings import load_settings

CHART = DEPLOY / "helm/understudy"
ALONE: dict[str, Any] = {"insecure": True, "edge": {"insecure": True}}
SHARED: dict[str, Any] = {
    "keys": {"broker": "broker-keys", "node": "node-key", "edge": "edge-key"},
    "broker": {
        "store": "postgresql",
        "replicas": 3,
        "postgresql": {"secret": "database"},
        "settings": {"lease_ttl_s": 5},
    },
    "edge": {"tokensSecret": "tokens"},
    "nodes": [
        {"name": "orders", "app": "shop:runtime", "autoscaling": {"enabled": True, "min": 0}},
        {"name": "mail", "app": "mail", "group": "mailers", "keySecret": "mail-key"},
        {"name": "web", "app": "web", "concurrency": 4, "preStopSeconds": 5},
    ],
    "prometheus": {"monitors": {"enabled": True, "labels": {"release": "monitoring"}}},
}


def run(*arguments: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    if not has_go():
        pytest.skip("there is no Go here, which would build Helm")
    return subprocess.run(
        [required(helm), *arguments, "--kube-version", f"{KUBERNETES}.0", "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
    )


def rendered(values: dict[str, Any]) -> str:
    done = run("template", "demo", str(CHART), "--namespace", "shop", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(rendered(values)) if each]


@pytest.fixture(scope="module")
def shared() -> list[dict[str, Any]]:
    return objects(SHARED)


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, template and only container of whatever makes pods."""
    for each in found:
        if each["kind"] in ("StatefulSet", "Deployment"):
            template = each["spec"]["template"]
            [container] = template["spec"]["containers"]
            yield each["metadata"]["name"], template, container


def named(found: list[dict[str, Any]], kind: str, name: str = "") -> list[dict[str, Any]]:
    return [
        each for each in found if each["kind"] == kind and each["metadata"]["name"].endswith(name)
    ]


@pytest.mark.parametrize("values", [ALONE, SHARED], ids=["sqlite", "postgresql"])
def test_kubernetes_takes_all_of_it(values: dict[str, Any], tmp_path: Path) -> None:
    linted = run("lint", "--strict", str(CHART), values=values)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    (tmp_path / "all.yaml").write_text(rendered(values))
    command = [*required(kubernetes_validate), str(tmp_path / "all.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert said.count(" passed for resource ") + said.count("Couldn't find schema for kind") == len(
        objects(values)
    )
    # Those are of the operators of Prometheus and KEDA.
    unknown = set(re.findall(r"Couldn't find schema for kind (\w+)", said))
    assert unknown <= {"ServiceMonitor", "PodMonitor", "ScaledObject"}


@pytest.mark.parametrize("values", [ALONE, SHARED], ids=["sqlite", "postgresql"])
def test_pods_run_commands_that_exist_and_are_asked_where_they_answer(
    values: dict[str, Any],
) -> None:
    for name, template, container in pods(objects(values)):
        params = parsed(container["args"])
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert params["metrics"] == f"0.0.0.0:{ports['metrics']}"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == "metrics"
            assert asked["path"] in HEALTH_PATHS
        # What is only busy, or waits for its broker, is not killed.
        assert container["livenessProbe"]["httpGet"]["path"] == "/live"
        assert container["livenessProbe"]["periodSeconds"] >= 10
        spec = template["spec"]
        assert spec["terminationGracePeriodSeconds"] >= 2 * DRAIN_S, name
        assert spec["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not spec["automountServiceAccountToken"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claims = ["data"] if "data" not in {each["name"] for each in spec["volumes"]} else []
        volumes = {each["name"] for each in spec["volumes"]}
        assert mounted <= volumes | set(claims if name.endswith("broker") else [])


def test_the_image_runs_as_the_same_user_as_the_pods(shared: list[dict[str, Any]]) -> None:
    [uid] = re.findall(r"^ARG UID=(\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for _, template, _ in pods(shared):
        assert template["spec"]["securityContext"]["runAsUser"] == int(uid)
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert version
    assert chart["appVersion"] == chart["version"] == version[1]


def test_a_node_may_end_its_functions_before_it_is_killed(shared: list[dict[str, Any]]) -> None:
    [web] = named(shared, "Deployment", "-node-web")
    spec = web["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert spec["terminationGracePeriodSeconds"] == 35
    params = parsed(container["args"])
    assert (params["runtime"], params["group"], params["concurrency"]) == ("web", "web", 4)


def test_services_and_budgets_and_policies_select_pods(shared: list[dict[str, Any]]) -> None:
    labels = [template["metadata"]["labels"] for _, template, _ in pods(shared)]
    selectors = [each["spec"]["selector"] for each in named(shared, "Service")]
    selectors += [
        each["spec"]["selector"]["matchLabels"] for each in named(shared, "PodDisruptionBudget")
    ]
    selectors += [
        each["spec"]["podSelector"]["matchLabels"] for each in named(shared, "NetworkPolicy")
    ]
    for selector in selectors:
        assert any(selector.items() <= each.items() for each in labels), selector
    budgets = {each["metadata"]["name"] for each in named(shared, "PodDisruptionBudget")}
    assert budgets == {
        f"demo-understudy-{part}" for part in ("broker", "edge", "node-mail", "node-web")
    }
    # A pod alone could never be moved if it had one.
    alone = named(objects(ALONE), "PodDisruptionBudget")
    assert [each["metadata"]["name"] for each in alone] == ["demo-understudy-edge"]


def test_brokers_of_a_database_have_names_by_which_the_others_reach_them(
    shared: list[dict[str, Any]],
) -> None:
    [brokers] = named(shared, "StatefulSet")
    [container] = brokers["spec"]["template"]["spec"]["containers"]
    params = parsed(container["args"])
    assert params["name"] == "$(POD_NAME)"
    headless = brokers["spec"]["serviceName"]
    assert named(shared, "Service", headless)[0]["spec"]["clusterIP"] == "None"
    pod = {"$(POD_NAME)": f"{brokers['metadata']['name']}-0", "$(POD_NAMESPACE)": "shop"}
    text = "\n".join(params["settings"])
    for variable, value in pod.items():
        text = text.replace(variable, value)
    settings = load_settings(
        None,
        {
            **dict(line.split("=", 1) for line in text.splitlines()),
            "name": pod["$(POD_NAME)"],
            "listen": params["listen"],
            "store": "postgresql://understudy@database/calls",
            "keys": params["keys"],
        },
    )
    assert settings.shares_database
    assert settings.address == f"tcp://{pod['$(POD_NAME)']}.{headless}.shop.svc:5577"
    assert settings.deployment == "shop-demo-understudy"
    assert settings.lease_ttl_s == 5
    env = {each["name"]: each for each in container["env"]}
    secret = env["UNDERSTUDY_BROKER__STORE"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "database", "key": "url"}
    assert "volumeClaimTemplates" not in brokers["spec"]
    [alone] = named(objects(ALONE), "StatefulSet")
    [claim] = alone["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_nodes_are_as_many_as_their_queue_asks_for(shared: list[dict[str, Any]]) -> None:
    [scaled] = named(shared, "ScaledObject")
    [target] = named(shared, "Deployment", "-node-orders")
    assert scaled["spec"]["scaleTargetRef"]["name"] == target["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] == 0
    assert "replicas" not in target["spec"]  # otherwise each upgrade would undo it
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    names = {name for query in queries for name in re.findall(r"understudy_\w+", query)}
    assert names == {
        *("understudy_queue_depth", "understudy_queue_oldest_seconds", "understudy_node_slots")
    }
    assert names <= FAMILIES.keys()
    for query in queries:
        for labels in re.findall(r"{(.*?)}", query):
            assert 'group="orders"' in labels
            assert 'namespace="shop"' in labels


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"edge": {"enabled": False}}, "keys.broker names no Secret"),
        ({"insecure": True}, "edge.tokensSecret names no Secret"),
        (ALONE | {"broker": {"replicas": 2}}, "/broker/replicas"),
        (ALONE | {"broker": {"store": "postgresql"}}, "broker.postgresql.secret names no Secret"),
        (SHARED | {"keys": {"broker": "b1", "edge": "e1"}}, "nodes orders: neither keySecret"),
        (ALONE | {"nodes": [{"name": "a", "app": "a"}] * 2}, "two nodes are named a"),
        (ALONE | {"nodes": [{"name": "a"}]}, "app"),
        (ALONE | {"brokers": {}}, "additional properties 'brokers' not allowed"),
    ],
)
def test_values_that_cannot_be_are_refused_in_words(values: dict[str, Any], text: str) -> None:
    done = run("template", "demo", str(CHART), values=values)
    assert done.returncode != 0
    assert text in done.stderr


def test_the_schema_names_every_value() -> None:
    """A value that the schema does not know is refused, so the defaults have to be in it."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values.keys() <= schema["properties"].keys()
    for part in ("broker", "edge"):
        assert values[part].keys() == schema["properties"][part]["properties"].keys()
    node = schema["definitions"]["node"]["properties"].keys()
    assert values["nodeDefaults"].keys() | {"name", "app"} == node
