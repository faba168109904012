"""Tables, states and colors."""

from __future__ import annotations

import sys

import pytest

from understudy.cli import colors
from understudy.cli.errors import UsageError
from understudy.cli.states import stored
from understudy.cli.tables import LEAST_WIDTH, table
from understudy_store.records import PROMISE_STATES, PROMISE_WORDS, TASK_STATES, TASK_WORDS

HEADERS = ("ID", "STATE", "RESULT")
ROW = ("order-7", "resolved", "x" * 100)


def test_a_table_fits_its_terminal_and_ids_stay_whole() -> None:
    lines = table(HEADERS, [ROW], width=50, elastic=("RESULT",)).splitlines()
    assert [len(line) for line in lines][1] == 50
    assert lines[1].startswith("order-7  resolved  xxx")
    assert lines[1].endswith("x…")


def test_without_a_terminal_nothing_is_cut() -> None:
    assert ROW[2] in table(HEADERS, [ROW], elastic=("RESULT",))


def test_a_narrow_terminal_leaves_something_of_each_column() -> None:
    row = ("i" * 60, "s" * 40, "r" * 40)
    line = table(HEADERS, [row], width=10, elastic=("RESULT", "STATE")).splitlines()[1]
    whole, state, result = line.split()
    assert (whole, len(state), len(result)) == ("i" * 60, LEAST_WIDTH, LEAST_WIDTH)


def test_every_state_has_one_name_for_people_and_both_are_taken() -> None:
    assert list(PROMISE_WORDS) == list(PROMISE_STATES)
    assert list(TASK_WORDS) == list(TASK_STATES)
    for words in (PROMISE_WORDS, TASK_WORDS):
        for name, word in words.items():
            assert stored(name, words) == stored(word, words) == name
    assert stored(None, TASK_WORDS) is None
    with pytest.raises(UsageError, match="pending, resolved, rejected, canceled, timedout"):
        stored("done", PROMISE_WORDS)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(colors, "forbidden", False)
    return monkeypatch


def test_the_first_state_of_a_line_is_colored(terminal: pytest.MonkeyPatch) -> None:
    assert colors.paint("a-1  f  rejected  1 s  rejected it") == (
        "a-1  f  \033[31mrejected\033[0m  1 s  rejected it"
    )
    assert colors.paint("running  f  resolved") == "running  f  \033[32mresolved\033[0m"
    assert colors.paint("a-1  prerejected") == "a-1  prerejected"


def test_who_decides_about_colors(terminal: pytest.MonkeyPatch) -> None:
    assert colors.enabled()
    terminal.setenv("NO_COLOR", "1")
    assert not colors.enabled()
    terminal.delenv("NO_COLOR")
    terminal.setattr(sys.stdout, "isatty", lambda: False)
    assert not colors.enabled()
    terminal.setenv("FORCE_COLOR", "1")
    assert colors.enabled()
    terminal.setattr(colors, "forbidden", True)
    assert not colors.enabled()
