"""Streams that keep open pages up to date: only rows that have changed are sent.

A stream draws its page again and again, and sends the difference to what the page shows. So
nothing waits for a slow reader: while it does not read, nothing is drawn for it, and the server
cuts it off.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import trio
from markupsafe import escape
from starlette.responses import StreamingResponse

from understudy.ui.ports import AwayError, RefusedError
from understudy.ui.row_changes import Region, changes
from understudy.ui.ui import Ui

#: the least time between two looks
LOOK_S: Final = 1.0
#: The pause after a look, as a multiple of the time that it took, so that an open page takes little
#: from what it shows; at most so long, because a look may have waited for a broker that was away.
PAUSE_FACTOR: Final = 24
PAUSE_MAX_S: Final = 5.0
#: how often something is sent at the least, so that a lost connection is noticed
BEAT_S: Final = 15.0
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


def stream(
    ui: Ui, shown: Sequence[Region], draw: Callable[[], Awaitable[Sequence[Region] | None]]
) -> StreamingResponse:
    """Return the answer that keeps a page up to date.

    Parameters
    ----------
    shown
        What the page shows; nothing, if that is not known.
    draw
        Returns what it should show; None: whoever looks at it may not any more.
    """
    return StreamingResponse(_events(ui, shown, draw), 200, _HEADERS, "text/event-stream")


async def _events(
    ui: Ui, shown: Sequence[Region], draw: Callable[[], Awaitable[Sequence[Region] | None]]
) -> AsyncGenerator[str, None]:
    ui.streams += 1
    try:
        # Browsers wait this long before they come back.
        yield "retry: 1000\n\n"
        async with aclosing(_parts(ui, shown, draw)) as parts:
            async for part in parts:
                yield part
    finally:
        ui.streams -= 1


async def _parts(
    ui: Ui, shown: Sequence[Region], draw: Callable[[], Awaitable[Sequence[Region] | None]]
) -> AsyncGenerator[str, None]:
    away: str | None = ""
    told_at = trio.current_time()
    if shown:
        # The page was drawn a moment ago.
        with trio.move_on_after(LOOK_S):
            await ui.draining.wait()
    while not ui.draining.is_set():
        began = trio.current_time()
        parts: list[str] = []
        try:
            regions = await draw()
        except AwayError:
            if not away:
                away = _state("No broker answers. This page goes on by itself when one does.")
                parts = [away]
        except RefusedError as error:
            yield event(_state(f"The broker refuses it: {error}"))
            return
        else:
            if regions is None:
                return
            parts = [*([_state("")] if away else []), *changes(shown, regions)]
            away, shown = "", regions
        now = trio.current_time()
        # What is away costs nobody anything, and is to be seen as soon as it is back.
        pause_s = LOOK_S if away else min(max(LOOK_S, PAUSE_FACTOR * (now - began)), PAUSE_MAX_S)
        if parts:
            yield "".join(map(event, parts))
            told_at = now
        elif now - told_at >= BEAT_S:
            yield ": still here\n\n"
            told_at = now
        with trio.move_on_after(pause_s):
            await ui.draining.wait()


def event(html: str) -> str:
    r"""Return an event with HTML.

    Examples
    --------
    >>> event("<p>\n</p>")
    'event: rows\ndata: <p>\ndata: </p>\n\n'
    """
    lines = html.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "event: rows\n" + "".join(f"data: {line}\n" for line in lines) + "\n"


def _state(text: str) -> str:
    """Return the banner of the page."""
    banner = f'<div class="banner bad" role="status">{escape(text)}</div>' if text else ""
    return f'<div id="state" hx-swap-oob="innerHTML">{banner}</div>'
