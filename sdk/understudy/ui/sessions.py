"""Sessions of browsers: who has logged in, and the secrets that forms carry.

A cookie names the session. It says nothing by itself, is out of reach for scripts, and a browser
sends it only with requests from pages of the dashboard. A form carries a text that follows from the
cookie and a secret of this process, which no page of another site can know.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

COOKIE: Final = "understudy_ui"
#: sessions of people who have logged in
SESSIONS_MAX: Final = 1000
#: how long a session lasts that nobody uses
IDLE_S: Final = 12 * 3600.0
_ID_CHARS: Final = 43


class Sessions:
    """The sessions of this process; they end with it.

    Parameters
    ----------
    clock
        Monotonic seconds; tests replace it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        #: session to token and the time of its last use, the latest one last
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def new_id(self) -> str:
        """Return the id of a new session."""
        return secrets.token_urlsafe(32)

    def form_secret(self, session: str) -> str:
        """Return the text that the forms of a session carry."""
        return hmac.new(self._secret, session.encode(), sha256).hexdigest()

    def is_form_of(self, session: str, given: str) -> bool:
        """Return whether a form is of a session."""
        wanted = self.form_secret(session)
        return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace"))

    def log_in(self, token: str) -> str:
        """Begin a session for a token that was taken, and return its id."""
        session = self.new_id()
        self._tokens[session] = token, self._clock()
        while len(self._tokens) > SESSIONS_MAX:
            self._tokens.popitem(last=False)
        return session

    def log_out(self, session: str) -> None:
        """End a session."""
        self._tokens.pop(session, None)

    def token(self, session: str) -> str | None:
        """Return the token of a session; None if nobody has logged in, or too long ago."""
        found = self._tokens.get(session)
        if found is None:
            return None
        token, used_at = found
        if self._clock() - used_at > IDLE_S:
            self.log_out(session)
            return None
        self._tokens[session] = token, self._clock()
        self._tokens.move_to_end(session)
        return token


def is_session_id(text: str) -> bool:
    """Return whether a cookie may be one of ours."""
    return (
        len(text) == _ID_CHARS
        and text.isascii()
        and text.replace("-", "").replace("_", "").isalnum()
    )
