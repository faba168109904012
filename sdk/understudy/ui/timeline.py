"""The time axis of a waterfall, on which idle time is folded, and the segments of its bars. Pure.

An axis has `WIDTH` units. Time in which nothing runs or waits in a queue tells nothing, however
long it is: a call that sleeps for a day would leave a pixel for its work. So idle time that would
take more than a twentieth of the axis is folded into a piece of fixed width, and the piece says how
long it is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

#: units of an axis
WIDTH: Final = 1000.0
#: units of a piece of folded time
FOLD_WIDTH: Final = 44.0
#: the part of the axis from which idle time is folded, if it is so long
FOLD_PART: Final = 0.1
FOLD_MS: Final = 1000
#: pieces that are folded; shorter ones stay as they are
FOLDS_MAX: Final = 6
#: marks on an axis
TICKS_MAX: Final = 6

#: what a call does in a span of time
Kind: TypeAlias = Literal["queued", "running", "waiting", "retrying"]
#: epoch milliseconds
Span: TypeAlias = tuple[int, int]


class Segment(NamedTuple):
    """A part of a bar: from `start` to `end` (epoch milliseconds), and what is done in it."""

    kind: Kind
    start: int
    end: int


class Piece(NamedTuple):
    """A part of an axis: a span of time, and where it is drawn."""

    start: int
    end: int
    left: float
    right: float
    is_folded: bool


class Tick(NamedTuple):
    """A mark on an axis: where it is, and the milliseconds since the beginning."""

    x: float
    ms: int


class Axis:
    """An axis of time.

    Parameters
    ----------
    start, end
        Epoch milliseconds.
    busy
        Spans that are never folded.

    Examples
    --------
    >>> axis = Axis(0, 100_000, [(0, 1_000), (99_000, 100_000)])
    >>> [piece.is_folded for piece in axis.pieces], axis.x(0), axis.x(100_000)
    ([False, True, False], 0.0, 1000.0)
    """

    def __init__(self, start: int, end: int, busy: Iterable[Span] = ()) -> None:
        self.start = start
        self.end = max(end, start + 1)
        self.pieces = _pieces(self.start, self.end, merged(busy))
        self._starts = [piece.start for piece in self.pieces]

    def x(self, at: int) -> float:
        """Return where a moment is, from 0 to `WIDTH`; one that is not on the axis, at an end."""
        at = min(max(at, self.start), self.end)
        piece = self.pieces[max(0, bisect_right(self._starts, at) - 1)]
        part = (at - piece.start) / (piece.end - piece.start)
        return piece.left + part * (piece.right - piece.left)

    @property
    def folds(self) -> list[Piece]:
        """The pieces that are folded."""
        return [piece for piece in self.pieces if piece.is_folded]

    def ticks(self) -> list[Tick]:
        """Return marks at round times, none of them in folded time, and none too close together."""
        open_ms = sum(piece.end - piece.start for piece in self.pieces if not piece.is_folded)
        step = round_step(open_ms / TICKS_MAX)
        found: list[Tick] = []
        for piece in self.pieces:
            if piece.is_folded:
                continue
            first = -(-(piece.start - self.start) // step) * step
            for ms in range(first, piece.end - self.start + 1, step):
                x = self.x(self.start + ms)
                if x <= WIDTH * 0.93 and (not found or x - found[-1].x >= WIDTH / 12):
                    found.append(Tick(x, ms))
        return found


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that touch as one.

    Examples
    --------
    >>> merged([(5, 9), (0, 2), (2, 3), (8, 8)])
    [(0, 3), (5, 9)]
    """
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def without(span: Span, others: Sequence[Span]) -> list[Span]:
    """Return what is left of a span without others, which are in order and apart.

    Examples
    --------
    >>> without((0, 10), [(2, 4), (9, 20)])
    [(0, 2), (4, 9)]
    """
    left: list[Span] = []
    at, end = span
    for other_start, other_end in others:
        if other_end <= at or other_start >= end:
            continue
        if other_start > at:
            left.append((at, other_start))
        at = max(at, other_end)
    if at < end:
        left.append((at, end))
    return left


def round_step(ms: float) -> int:
    """Return a round number of milliseconds that is not less.

    Examples
    --------
    >>> [round_step(ms) for ms in (0.2, 13, 3_200, 70_000, 5_000_000)]
    [1, 20, 5000, 120000, 7200000]
    """
    for step in _STEPS:
        if step >= ms:
            return step
    return 86_400_000 * math.ceil(ms / 86_400_000)


_STEPS: Final[tuple[int, ...]] = (
    *(base * power for power in (1, 10, 100, 1000) for base in (1, 2, 5)),
    *(1000 * seconds for seconds in (10, 15, 30, 60, 120, 300, 600, 900, 1800)),
    *(3_600_000 * hours for hours in (1, 2, 3, 6, 12, 24)),
)


def round_end(start: int, now: int) -> int:
    """Return a moment after `now` to which the axis of a pending call goes.

    It stays the same for a while, so that not every bar is drawn anew each second.
    """
    took = max(1, now - start)
    step = round_step(took / 5)
    return start + step * (took // step + 1)


def _pieces(start: int, end: int, busy: Sequence[Span]) -> list[Piece]:
    idle = sorted(without((start, end), busy), key=lambda span: span[0] - span[1])
    folded: list[Span] = []
    open_ms = end - start
    for span in idle[:FOLDS_MAX] if busy else ():
        long_ms = span[1] - span[0]
        if long_ms < FOLD_MS or long_ms / open_ms < FOLD_PART:
            break
        folded.append(span)
        open_ms -= long_ms
    folded.sort()
    room = WIDTH - FOLD_WIDTH * len(folded)
    pieces: list[Piece] = []
    at, x = start, 0.0
    for fold_start, fold_end in [*folded, (end, end)]:
        if fold_start > at:
            right = x + room * (fold_start - at) / max(1, open_ms)
            pieces.append(Piece(at, fold_start, x, right, is_folded=False))
            x = right
        if fold_end > fold_start:
            pieces.append(Piece(fold_start, fold_end, x, x + FOLD_WIDTH, is_folded=True))
            x += FOLD_WIDTH
        at = fold_end
    last = pieces[-1]
    pieces[-1] = last._replace(right=WIDTH)
    return pieces


def segments(
    start: int,
    end: int,
    *,
    queued_until: int | None = None,
    waiting: Iterable[Span] = (),
    steps: Iterable[Span] = (),
    pauses: Iterable[Span] = (),
    queues: Iterable[Span] = (),
) -> list[Segment]:
    """Return the segments of a call's bar, in order.

    Parameters
    ----------
    start, end
        When it was created, and when it was settled or is looked at.
    queued_until
        When a node began with it; None: it did at once.
    waiting
        When it waited for other calls, as long as none of its `steps` ran.
    pauses
        Times between a failed attempt and the next one.
    queues
        Times in which it waited for another node, because it had lost its own.

    Examples
    --------
    >>> segments(0, 90, queued_until=10, waiting=[(40, 80)], pauses=[(20, 30)])
    ... # doctest: +NORMALIZE_WHITESPACE
    [Segment(kind='queued', start=0, end=10), Segment(kind='running', start=10, end=20),
     Segment(kind='retrying', start=20, end=30), Segment(kind='running', start=30, end=40),
     Segment(kind='waiting', start=40, end=80), Segment(kind='running', start=80, end=90)]
    """
    began = start if queued_until is None else min(max(queued_until, start), end)
    found = [Segment("queued", start, began)] if began > start else []
    paused = merged(_within(pauses, began, end))
    requeued = _left(merged(_within(queues, began, end)), paused)
    away = merged([*paused, *requeued])
    waited = _left(merged(_within(waiting, began, end)), merged([*away, *steps]))
    found += [Segment("retrying", *span) for span in paused]
    found += [Segment("queued", *span) for span in requeued]
    found += [Segment("waiting", *span) for span in waited]
    others = merged([*away, *waited])
    found += [Segment("running", *span) for span in without((began, end), others)]
    return sorted(found, key=lambda segment: segment.start)


def _left(spans: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    return [part for span in spans for part in without(span, others)]


def _within(spans: Iterable[Span], start: int, end: int) -> Iterable[Span]:
    for span_start, span_end in spans:
        if max(span_start, start) < min(span_end, end):
            yield max(span_start, start), min(span_end, end)
