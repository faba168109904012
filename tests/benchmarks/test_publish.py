"""Results in a page: only what stands between the marks is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import publish

PAGE = "# Page\n\nbefore\n\n<!-- figures ours -->\nold\n<!-- end -->\n\nafter\n"


def entry(subject: str, workload: str, size: int, value: float) -> dict[str, Any]:
    figures = {"calls_per_s": value, "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0}
    return {
        "workload": workload,
        "size": size,
        "label": f"{size:,} calls",
        "subject": subject,
        "figure": "calls_per_s",
        "lower_is_better": False,
        "runs": [figures],
        "median": figures,
        "lowest": figures,
        "highest": figures,
    }


def result(load: float = 0.1, **absent: str) -> dict[str, Any]:
    return {
        "measured_at": "2026-01-02T03:04:05Z",
        "rounds": 3,
        "machine": {
            "cores": 2,
            "processor": "a processor",
            "memory_gib": 4.0,
            "file_system": "ext4",
            "sync_of_4_kib_ms": 0.2,
        },
        "versions": {"python": "3.11", "commit": "abcdef"},
        "load_average": {"before": [load, 0.0, 0.0]},
        "subjects": {
            "understudy": {"durability": "in a file", "synced": True, "versions": {"u": "0.1"}},
            "bare pipeline": {"durability": "on no disk", "synced": False, "versions": {}},
        },
        "absent": absent,
        "results": [
            entry("understudy", "fan_out", 10_000, 100.0),
            entry("bare pipeline", "fan_out", 10_000, 400.0),
        ],
    }


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_only_what_stands_between_the_marks_changes(page: Path) -> None:
    (chart,) = publish.publish("ours", result(), page)
    text = page.read_text()
    assert text.startswith("# Page\n\nbefore\n\n<!-- figures ours -->\n")
    assert text.endswith("<!-- end -->\n\nafter\n")
    assert "old" not in text
    assert (
        "- understudy (u 0.1): in a file\n- bare pipeline, **not durable** (): on no disk" in text
    )
    assert "| fan_out, 10,000 calls | understudy | 100 calls/s |" in text
    assert "| 0.25 |" in text
    assert chart.exists()
    assert f"](page/{chart.name})" in text
    publish.publish("ours", result(), page)
    assert page.read_text() == text


@pytest.mark.parametrize(("used", "said"), [(0.1, False), (0.9, True)])
def test_how_many_cores_were_busy_counts_more_than_the_load(
    used: float, said: bool, page: Path
) -> None:
    publish.publish("ours", result(load=5.0) | {"busy_cores_before": used}, page)
    assert ("other work used 0.9 cores" in page.read_text()) is said
    assert "load 5.0" not in page.read_text()


def test_it_says_so_where_the_machine_was_busy(page: Path) -> None:
    publish.publish("ours", result(load=0.9), page)
    assert "busy" not in page.read_text()
    publish.publish("ours", result(load=1.1), page)
    assert "busy" in page.read_text()


def test_it_names_what_could_not_be_measured(page: Path) -> None:
    publish.publish("ours", result(celery="it needs a server"), page)
    assert "Not measured: celery (it needs a server)." in page.read_text()


def test_a_page_without_the_mark_is_left_alone(page: Path) -> None:
    with pytest.raises(ValueError, match="no mark"):
        publish.publish("peers", result(), page)
    assert page.read_text() == PAGE


def test_our_own_page_has_the_marks() -> None:
    text = publish.PAGE.read_text()
    assert all(f"<!-- figures {name} -->\n" in text for name in publish.SHOWN)
