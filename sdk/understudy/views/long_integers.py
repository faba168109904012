"""Integers of any length, to text and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unlimited_digits() -> Iterator[None]:
    """Allow conversion between text and ints of any number of digits inside the block.

    Python refuses more than 4,300 digits, so that a stranger cannot keep a server busy with one
    number. A command reads and prints its own user's numbers. The limit belongs to the whole
    process, which may also run functions (``understudy node``), so it is restored after each use.
    """
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
