"""The dashboard that `dev` and `up` run finds what belongs to their brokers by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.programs import APP, Program, run, wait_until
from tests.support import free_url
from understudy.bench.deployment import free_port

TOPOLOGY = """
[broker]
listen = "{url}"
store = "sqlite:///calls.db"
[[group]]
name = "g"
app = "app:runtime"
"""


def dev(_folder: Path, url: str) -> tuple[str, ...]:
    """Return the arguments of ``dev``."""
    return ("dev", "app", "--store", "calls.db", "--listen", url)


def up(folder: Path, url: str) -> tuple[str, ...]:
    """Return the arguments of ``up``."""
    (folder / "t.toml").write_text(TOPOLOGY.format(url=url), encoding="utf-8")
    return ("up", "t.toml")


@pytest.mark.parametrize("command", [dev, up])
def test_logs_are_shown_and_the_store_is_asked_without_any_setting(
    command: Callable[[Path, str], tuple[str, ...]], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    url, base = free_url(), f"127.0.0.1:{free_port()}"
    with Program(*command(tmp_path, url), cwd=tmp_path, UNDERSTUDY_UI__LISTEN=base) as program:
        program.wait_for("of group g serves")
        ran = run("invoke", "fail-1", "fail", "--target", "g", "--url", url, "--wait", cwd=tmp_path)
        assert ran.returncode == 1, ran.stderr
        program.wait_for("understudy ui: http")
        page = f"http://{base}/call?id=fail-1&tab=logs"
        wait_until(lambda: "fail fail-1 failed" in httpx.get(page).text, lambda: program.output)
        sql = {"sql": "select state from promise where id = 'fail-1'"}
        query = f"http://{base}/query.csv"
        wait_until(lambda: "rejected" in httpx.get(query, params=sql).text, lambda: program.output)
        # The terminal has its text for people all the same.
        assert "ERROR understudy: fail fail-1 failed" in program.output
    assert (tmp_path / "calls.db.log").stat().st_mode & 0o777 == 0o600
