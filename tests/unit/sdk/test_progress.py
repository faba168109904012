"""What a function may tell of its progress."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from understudy.errors import ConfigurationError
from understudy.progress import checked_progress
from understudy_actors.interpreter.signals import Progress


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [
        (0, 0.0),
        (1, 1.0),
        (0.25, 0.25),
        (1 + 1e-9, 1.0),
        (-1e-9, 0.0),
        (Decimal("0.5"), 0.5),
        (None, None),
    ],
)
def test_fractions(fraction: Any, kept: float | None) -> None:
    assert checked_progress(fraction, "t") == Progress(kept, "t")


@pytest.mark.parametrize(
    "fraction",
    [40, -0.1, math.nan, math.inf, "half", "a" * 5_000, object(), [0.5]],
)
def test_no_fractions(fraction: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"a number from 0 to 1.*40 % are 0\.4"):
        checked_progress(fraction, "")


def test_an_int_that_is_too_large_for_a_text() -> None:
    with pytest.raises(ConfigurationError, match="this is a int"):
        checked_progress(10**5000, "")


def test_texts_fit_on_a_line() -> None:
    assert checked_progress(None, "a\nb\t c").text == "a b c"
    assert checked_progress(None, "x" * 200).text == "x" * 200
    assert checked_progress(None, "x" * 1_000_000).text == "x" * 199 + "…"


def test_no_text() -> None:
    with pytest.raises(ConfigurationError, match="is a str, and this is a int"):
        checked_progress(None, 7)
