"""Log lines of a connection and its node, on the logger ``understudy``."""

from __future__ import annotations

import logging
import time
from typing import Final

from understudy import unanswered
from understudy.errors import BrokerUnavailableError
from understudy.log_lines import say
from understudy.printable import printable
from understudy.values.error_encoding import text as shown
from understudy.values.tracebacks import traceback_text

#: time between two warnings that the broker lets this process wait
WAITS_REPEAT_S: Final = 60.0


class ConnectionLog:
    """Log lines of one connection.

    Attributes
    ----------
    dedicated
        True in a process that is a node and nothing else. Then failures of functions are logged as
        errors. Elsewhere the caller is probably in this same process, and gets the exception.
    """

    def __init__(self) -> None:
        self.dedicated = False
        self._waits_said_at: float | None = None

    def warn(self, text: str) -> None:
        """Log a warning."""
        say(logging.WARNING, "%s", text)

    def note(self, text: str) -> None:
        """Log a line that is no trouble."""
        say(logging.INFO, "%s", text)

    def failure(self, text: str, error: BaseException, retried: bool) -> None:
        """Log the failure of a function, with a traceback that begins in the function itself.

        Parameters
        ----------
        retried
            There will be another attempt, so nobody else hears of this failure.
        """
        final = logging.ERROR if self.dedicated else logging.INFO
        level = logging.WARNING if retried else final
        try:
            _ = getattr(error, "__notes__", None)
        except BaseException:
            # The code of its class raises, so `logging` could not show the traceback.
            say(level, "%s\n%s", text, shown(lambda: traceback_text(error), keep_end=True))
            return
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(
            "understudy_actors."
        ):
            frames = frames.tb_next
        info = (type(error), error, frames)
        plain = logging.Formatter().formatException(info)
        escaped = printable(plain)
        # What the error says may command the terminal in which the log is read.
        exc_text = None if escaped == plain else escaped
        say(level, "%s", text, exc_info=info, exc_text=exc_text)

    def unavailable(
        self, url: str, left_s: float | None, reason: str, *, others_answer: bool = False
    ) -> None:
        """Warn that no broker answers yet.

        The record has the attributes `unavailable_url`, by which the command line recognizes it and
        shows the user a message of its own, `left_s`, `reason` and `others_answer`.

        Parameters
        ----------
        left_s
            Seconds until the first connection is given up; None if there was one before.
        reason
            What the last attempt to connect found, if that is more than no answer.
        others_answer
            Other brokers of the deployment answer.
        """
        if self.dedicated and not reason:
            text = unanswered.text(
                url,
                "--url, UNDERSTUDY_URL or Runtime(url=...)",
                others_answer=others_answer,
                while_waiting=True,
            )
        else:
            text = f"{BrokerUnavailableError(url, reason, others_answer)}. Still trying"
        say(
            logging.WARNING,
            "%s",
            text,
            extra={
                "unavailable_url": url,
                "left_s": left_s,
                "reason": reason,
                "others_answer": others_answer,
            },
        )

    def two_deployments(self, text: str) -> None:
        """Log that the addresses of this process lead to two deployments.

        The record has the attribute `strangers`, by which the command line recognizes it.
        """
        say(logging.ERROR, "%s", text, extra={"strangers": True})

    def waits(self, reason: str) -> None:
        """Warn that the broker lets this process wait, at most once a minute."""
        now = time.monotonic()
        if self._waits_said_at is None or now - self._waits_said_at >= WAITS_REPEAT_S:
            self._waits_said_at = now
            say(logging.WARNING, "the broker lets this process wait: %s", reason)

    def disconnected(self, why: str) -> None:
        """Log that the connection was lost; usually it is soon back, so only for debugging."""
        say(logging.DEBUG, "disconnected: %s", why)

    def stopping(self, calls: int, drain_s: float) -> None:
        """Log that the stop waits for running calls, and for how long."""
        say(
            logging.INFO,
            "stopping once the running calls (%d) have ended, in at most %g s; the rest is then "
            "handed back. A second signal ends this at once",
            calls,
            drain_s,
        )
