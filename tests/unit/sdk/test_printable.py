"""Text in which nothing commands the terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy.printable import printable, printable_line


@given(st.text())
def test_only_tabs_and_line_feeds_are_left(text: str) -> None:
    assert all((each >= " " and each != "\x7f") or each in "\t\n" for each in printable(text))
    assert len(printable_line(text).split("\n")) == 1


def test_other_text_is_as_it_was() -> None:
    assert printable("a\tb\nÄ日👩‍🔬") == "a\tb\nÄ日👩‍🔬"
    assert printable_line("a\tb\n") == "a\\tb\\n"
