"""Notes on the failures of ``ctx.all``, ``ctx.map`` and ``ctx.race``: which call it was.

A note is the same in every replay. So it holds nothing that a replay could see differently:
arguments are described from their stored bytes (of a local call, from the arguments themselves,
without addresses), and not at all if they are too long to travel with every result.
"""

from __future__ import annotations

import re
from contextlib import suppress
from reprlib import Repr
from typing import Any, Final

from understudy_actors.interpreter.child_commands import call_param
from understudy_actors.interpreter.determinism import call_name
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.requests import Promise
from understudy_store.records import HEADER_FUNCTION, HEADER_SITE, HEADER_VERSION, Value

#: Encoded arguments with more bytes are not shown. The broker sends longer ones only once.
ARGUMENT_BYTES_MAX: Final = 1024
#: characters of all arguments in a note
_CHARS_MAX: Final = 200
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")

_SHORT: Final = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def note_place(
    error: BaseException, replay: ReplayState, label: str, place: int, failed: Promise[Any] | str
) -> None:
    """Add a note to `error` that names the part that failed with it.

    Parameters
    ----------
    label
        ``ctx.all``, ``ctx.map`` or ``ctx.race``.
    place
        Its place, counted from 0.
    failed
        What failed: a promise, or something else in words.
    """
    what = failed if isinstance(failed, str) else _described(replay, failed)
    with suppress(Exception):  # The class is a user's own. Its failure counts, not our note.
        error.add_note(f"item {place} of {label}, counted from 0: {what}")


def _described(replay: ReplayState, promise: Promise[Any]) -> str:
    param = replay.known[promise.id].param
    if not param.headers:
        # It has settled before its create was stored, so only the call itself tells.
        spec = promise.local_spec or replay.chosen.get(promise.id)
        param = param if spec is None else call_param(spec)
    headers = param.headers
    text = call_name(headers)
    if HEADER_FUNCTION in headers:
        text += f"({_arguments(replay, promise, param)})"
    version = headers.get(HEADER_VERSION)
    if version:
        text += f", version {version}"
    site = headers.get(HEADER_SITE)
    return f"{text}, id {promise.id}" + (f", called at {site}" if site else "")


def _arguments(replay: ReplayState, promise: Promise[Any], param: Value) -> str:
    if promise.local_spec is not None:
        args, kwargs = promise.local_spec.args, promise.local_spec.kwargs
    else:
        data = param.data
        if data is None or len(data) > ARGUMENT_BYTES_MAX:
            return "…"
        try:
            args, kwargs = replay.values.decode_call(None, data)
        except Exception:
            return "…"
    texts = [_SHORT.repr(value) for value in args]
    texts += [f"{name}={_SHORT.repr(value)}" for name, value in kwargs.items()]
    text = _ADDRESS.sub("", ", ".join(texts))
    return text if len(text) <= _CHARS_MAX else f"{text[: _CHARS_MAX - 1]}…"
