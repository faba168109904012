"""Without the extra [http] a broker has no edge, unless one was asked for."""

from __future__ import annotations

import pytest

from understudy.cli import edge_keeper
from understudy.cli.edge_keeper import edge_beside
from understudy.cli.errors import CliError


@pytest.fixture(autouse=True)
def _without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_keeper, "missing", lambda: "hypercorn")


def _run(url: str) -> None:
    raise AssertionError(f"an edge was started for {url}")


@pytest.mark.parametrize("listen", [None, "off"])
def test_no_edge(listen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with edge_beside(listen, said.append) as keeper:
        monkeypatch.setattr(keeper, "_keep", _run)
        keeper.start("tcp://127.0.0.1:5577")
    assert not said


def test_an_edge_that_was_asked_for_cannot_run() -> None:
    with (
        pytest.raises(CliError, match=r"needs hypercorn, which is not installed.*extra \[http\]"),
        edge_beside("127.0.0.1:0", print),
    ):
        raise AssertionError
