"""Brokers that are replaced in order leave few lines in the logs, and no warnings."""

from __future__ import annotations

import json
import logging
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.sdk.shared_brokers import Brokers, has_shares, shop
from tests.support import eventually

if TYPE_CHECKING:
    from tests.cluster import Cluster

#: what has a reason to be said at each start
AT_THE_START = "has no synchronous standby"


def test_a_rolling_restart_is_no_reason_for_warnings(
    postgres: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "understudy")
    brokers = Brokers(postgres.new_schema(), tmp_path)
    try:
        brokers.start("a", "b")
        eventually(lambda: has_shares(brokers, [128, 128]), 30)
        with shop(brokers.url, "node") as node:
            # Held by the node while slots move.
            calls = [node.rpc(f"call-{n}", "total", 30) for n in range(20)]
            for name in "ab":
                brokers.end(name, signal.SIGTERM)
                eventually(lambda: has_shares(brokers, [256]), 30)
                brokers.start(name)
                eventually(lambda: has_shares(brokers, [128, 128]), 30)
            assert [call.result(timeout=30) for call in calls] == [872] * 20
            lines = [json.loads(line) for name in "ab" for line in brokers.log(name).splitlines()]
            said = [record.getMessage() for record in caplog.records]
    finally:
        brokers.kill()
    warned = [line for line in lines if line["level"] not in ("info", "debug")]
    assert [line["event"] for line in warned if AT_THE_START not in line["event"]] == []
    # The node has joined each start of a broker, and slots have moved many times more often.
    joined = Counter(line["event"] for line in lines if line.get("kind") == "node")
    assert joined["joined"] <= 8
    assert joined["connection closed"] == 0
    assert any("joins the broker at" in text for text in said)
    assert not [text for text in said if "is silent" in text or "does not answer" in text]
