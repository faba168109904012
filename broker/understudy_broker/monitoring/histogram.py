"""Histograms whose buckets are the powers of two, because a bucket is then found in one operation.

A histogram counts integers: milliseconds, microseconds or things. What unit they have is said where
it is shown (`Scale`). Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: greater than the bits of every number that is counted (`validation.TIME_MS_MAX`)
BITS: Final = 64


class Histogram:
    """Counts of numbers by their size.

    Attributes
    ----------
    buckets
        ``buckets[k]`` counts the numbers that have `k` bits: those from ``2**(k-1)`` to below
        ``2**k``. The first counts zeros.
    total
        The sum of all numbers.

    Examples
    --------
    >>> histogram = Histogram()
    >>> histogram.observe(5)
    >>> histogram.buckets[:5], histogram.total
    ([0, 0, 0, 1, 0], 5)
    """

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * BITS
        self.total = 0

    def observe(self, number: int) -> None:
        """Count a number, which is not negative and has less than `BITS` bits."""
        self.buckets[number.bit_length()] += 1
        self.total += number


class Scale(NamedTuple):
    """The buckets of a histogram that are shown, and their unit.

    Attributes
    ----------
    unit
        What a number stands for: 0.001 if it was counted in milliseconds and is shown in seconds.
    bits
        The buckets whose upper bounds are shown, in order.
    whole
        The numbers count things, so that the bound of a bucket is its greatest number.
    """

    unit: float
    bits: tuple[int, ...]
    whole: bool = False

    def bounds(self) -> list[float]:
        """Return the upper bounds of the buckets that are shown.

        Examples
        --------
        >>> Scale(0.001, (0, 2, 4)).bounds(), Scale(1, (0, 1, 2), whole=True).bounds()
        ([0.001, 0.004, 0.016], [0, 1, 3])
        """
        return [((1 << bits) - self.whole) * self.unit for bits in self.bits]


#: From a millisecond to 4.7 hours, in steps of four: for what there are very many histograms of.
CALLS: Final = Scale(0.001, tuple(range(0, 25, 2)))
#: the same range in steps of two up to a minute: for histograms that alerts are about
WAITS: Final = Scale(0.001, (*range(17), 18, 20, 22, 24))
#: from 64 µs to 17 s; counted in microseconds
COMMITS: Final = Scale(0.000001, tuple(range(6, 25)))
#: from none to 65,535 things
SIZES: Final = Scale(1, tuple(range(17)), whole=True)
