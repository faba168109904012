"""Numbers of any length."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def any_length() -> Iterator[None]:
    """Inside, an int of any number of digits becomes text, and text becomes such an int.

    Python refuses beyond 4,300 digits, lest a stranger make a server busy with one number. What a
    command reads and prints is its user's own. The limit is one for the whole process, in which
    functions may run too (``understudy node``): so it is back after each use.
    """
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
