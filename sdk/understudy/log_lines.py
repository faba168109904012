"""Lines on the logger ``understudy`` that harm nobody.

Users' handlers and filters run in them. What those raise must end neither the thread of the
connection nor the call that is spoken of, so it is printed, as `logging` prints the errors of its
own handlers.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from threading import current_thread, main_thread
from typing import Any, Final

_LOG: Final = logging.getLogger("understudy")


def say(level: int, text: str, *args: object, exc_text: str | None = None, **more: Any) -> None:
    """Log a line; never raises. The parameters are those of `logging.Logger.log`.

    Parameters
    ----------
    exc_text
        The traceback as formatters show it, instead of what they would make of ``exc_info``.
    """
    try:
        if exc_text is None:
            _LOG.log(level, text, *args, stacklevel=2, **more)
        elif _LOG.isEnabledFor(level):
            file, line, function, _ = _LOG.findCaller(stacklevel=2)
            record = _LOG.makeRecord(
                _LOG.name, level, file, line, text, args, more.get("exc_info"), function
            )
            record.exc_text = exc_text
            _LOG.handle(record)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
            raise  # It is the user's Ctrl-C.
        with suppress(BaseException):
            print("--- A handler or filter of the logger understudy failed ---", file=sys.stderr)
            traceback.print_exc()
            print(f"Message: {text % args}", file=sys.stderr)
