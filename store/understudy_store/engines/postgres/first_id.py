"""The question for the first id from some id on, which a loop may ask without waiting."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock

import psycopg

from understudy_store.engines.postgres.connections import Connection
from understudy_store.engines.postgres.prepared import Prepared, Type


class FirstId:
    """One such question at a time, over the connection that finds.

    Parameters
    ----------
    text
        The statement, with the id as its parameter.
    lock
        Held by whoever uses that connection, and from `begin` until the answer is there.

    Attributes
    ----------
    value
        The last answer: the first id from that one on, in the order of bytes; None: there is none.
    """

    def __init__(self, text: str, lock: Lock) -> None:
        self.value: str | None = None
        self._text = text
        self._lock = lock
        #: None: there is no connection
        self._prepared: Prepared | None = None
        #: `begin` has asked, and holds the lock
        self._is_asked = False

    def prepare(self, connection: Connection) -> None:
        """Ask over a new connection from now on; the caller holds the lock."""
        self._prepared = Prepared(connection, "understudy_first", self._text, [Type.TEXT])

    def close(self) -> None:
        """Ask nothing any more; the caller holds the lock."""
        self._prepared = None

    def ask(self, id_: str) -> str | None:
        """Ask, and wait for the answer; the caller holds the lock.

        Raises
        ------
        psycopg.Error
        """
        assert self._prepared is not None
        self._prepared.send(_start(id_))
        self._prepared.wait()
        return self._prepared.value

    def begin(self, id_: str) -> int | None:
        """Ask, and wait for nothing. No other find goes on until the answer is there.

        Returns
        -------
        A descriptor that becomes readable when `advance` is to be called. None: nothing was asked,
        because somebody else finds or there is no connection.
        """
        if not self._lock.acquire(blocking=False):
            return None
        self._is_asked = True
        if self._prepared is not None:
            with suppress(psycopg.Error):
                if self._prepared.send(_start(id_)):
                    return self._prepared.descriptor
        self.give_up()
        return None

    def advance(self) -> bool | None:
        """Take what has come, without waiting.

        Returns
        -------
        True: the answer is in `value`. False: it is not there yet. None: it will not come.
        """
        assert self._prepared is not None
        try:
            if not self._prepared.advance():
                return False
            self.value = self._prepared.value
        except psycopg.Error:
            return None  # see `give_up`
        self._end()
        return True

    def give_up(self) -> None:
        """Let others find after `begin`, whatever the answer is; it may wait for it."""
        if not self._is_asked:
            return
        if self._prepared is not None and self._prepared.is_under_way:
            with suppress(psycopg.Error):
                self._prepared.wait()
        self._end()

    def _end(self) -> None:
        self._is_asked = False
        self._lock.release()


def _start(id_: str) -> bytes:
    """Return where a look for an id begins: at what is before a NUL, which no stored id has."""
    # That comes before the id, and nothing is between the two.
    return id_.partition("\0")[0].encode()
