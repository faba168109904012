"""Recorded histories: the calls of a call graph, in a file that can be kept beside the code."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from understudy.errors import UnderstudyError
from understudy.runtime import Runtime
from understudy_store.commands import PromiseGet, PromiseSearch
from understudy_store.records import (
    HEADER_FUNCTION,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_PARENT,
    PromiseRecord,
    PromiseState,
    Value,
)

FORMAT: Final = "understudy history"
VERSION: Final = 1
#: records that are asked for at a time
PAGE: Final = 1000


class HistoryError(UnderstudyError):
    """A file holds no history, or a history holds nothing to check."""


class _Payload(msgspec.Struct, omit_defaults=True):
    headers: dict[str, str] = {}
    data: str | None = None


class _Promise(msgspec.Struct, omit_defaults=True):
    """A `PromiseRecord` as it is written: for reading, with names."""

    id: str
    state: PromiseState
    timeout_at: int
    created_at: int
    settled_at: int | None = None
    param: _Payload = msgspec.field(default_factory=_Payload)
    value: _Payload = msgspec.field(default_factory=_Payload)
    tags: dict[str, str] = {}


class _File(msgspec.Struct):
    format: str
    version: int
    id: str
    promises: list[_Promise]


class History(NamedTuple):
    """A call graph as it stood when it was recorded.

    Arguments and results are in it, encoded as in the store: keep it where those may be kept.

    Attributes
    ----------
    id : str
        The id of the call that was recorded.
    promises : tuple
        The promise of that call, then those of the calls below it, in the order of creation.

    Examples
    --------
    >>> runtime = Runtime("shop")
    >>> @runtime.register
    ... def order(ctx):
    ...     yield ctx.sleep(60)
    >>> with Stage(runtime):
    ...     runtime.rpc("order-7", order).result()
    ...     str(record("order-7", runtime))
    'the history of order-7 (2 promises)'
    """

    id: str
    promises: tuple[PromiseRecord, ...]

    def save(self, path: str | Path) -> None:
        """Write the history as JSON that changes little when the history does.

        Parameters
        ----------
        path : str or Path
            The file. Its folder is made if it does not exist.

        Examples
        --------
        >>> runtime = Runtime("shop")
        >>> made = runtime.register(lambda ctx: 1, name="order")
        >>> with Stage(runtime):
        ...     handle = runtime.rpc("order-7", "order")
        ...     record("order-7", runtime).save("histories/order-7.json")
        """
        file = _File(FORMAT, VERSION, self.id, [_written(record) for record in self.promises])
        text = msgspec.json.format(msgspec.json.encode(file), indent=2)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(text + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read a file that `save` has written.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        History
            The history.

        Raises
        ------
        HistoryError
            The file holds no history, or one of another format.

        Examples
        --------
        >>> History("order-7", ()).save("order-7.json")
        >>> History.load("order-7.json").id
        'order-7'
        """
        try:
            file = msgspec.json.decode(Path(path).read_bytes(), type=_File)
        except msgspec.DecodeError as error:
            raise HistoryError(f"{path} holds no history: {error}. Record it again") from None
        if file.format != FORMAT or file.version != VERSION:
            raise HistoryError(
                f"{path} is {file.format!r} version {file.version}, and this reads {FORMAT!r} "
                f"version {VERSION}: record it again"
            )
        return cls(file.id, tuple(_read(promise, path) for promise in file.promises))

    def __str__(self) -> str:
        return f"the history of {self.id} ({len(self.promises)} promises)"


def record(id: str, source: Runtime | str | None = None) -> History:
    """Read a call, and everything that it called, from the store.

    Parameters
    ----------
    id : str
        The id of the call.
    source : Runtime or str, optional
        A runtime (on a stage, connected, or ``Runtime.local("calls.db")``), or the address of a
        broker; by default the address that a `Runtime` has by default.

    Returns
    -------
    History
        The call and the calls below it, as they are now.

    Raises
    ------
    CommandError
        With status 404 if the call does not exist.
    BrokerUnavailableError
        No broker answers at that address.

    Examples
    --------
    >>> runtime = Runtime("shop")
    >>> @runtime.register
    ... def order(ctx):
    ...     yield ctx.sleep(60)
    >>> with Stage(runtime):
    ...     runtime.rpc("order-7", order).result()
    ...     [promise.id for promise in record("order-7", runtime).promises]
    ['order-7', 'order-7.1']
    """
    if isinstance(source, Runtime):
        return _record(id, source)
    runtime = Runtime(url=source)
    try:
        return _record(id, runtime)
    finally:
        runtime.stop()


def _record(id: str, runtime: Runtime) -> History:
    root = runtime.session.command(PromiseGet(id)).promise
    assert root is not None
    origin = root.tags.get(TAG_ORIGIN, id)
    found = {record.id: record for record in _search(runtime, origin=origin)}
    # detached calls have an origin of their own, but ids below their caller's
    found |= {record.id: record for record in _search(runtime, prefix=f"{id}.")}
    found[id] = root
    inside = {id}
    left = [record for record in found.values() if record.id != id]
    while chosen := [r for r in left if _above(r) & inside]:
        inside |= {record.id for record in chosen}
        left = [record for record in left if record.id not in inside]
    rest = sorted((found[i] for i in inside - {id}), key=lambda r: (r.created_at, r.id))
    return History(id, (root, *rest))


def _above(record: PromiseRecord) -> set[str]:
    tags = record.tags
    return {tags.get(TAG_PARENT, ""), tags.get(TAG_BRANCH, ""), record.id.rpartition(".")[0]}


def _search(runtime: Runtime, **criteria: Any) -> Iterator[PromiseRecord]:
    cursor: str | None = None
    while True:
        reply = runtime.session.command(PromiseSearch(**criteria, limit=PAGE, cursor=cursor))
        yield from reply.promises or ()
        cursor = reply.cursor
        if cursor is None:
            return


def functions_in(history: History) -> list[str]:
    """Names of the functions that have tasks in it."""
    names = (record.param.headers.get(HEADER_FUNCTION) for record in history.promises)
    return sorted({name for name in names if name})


def _written(record: PromiseRecord) -> _Promise:
    return _Promise(
        record.id,
        record.state,
        record.timeout_at,
        record.created_at,
        record.settled_at,
        _payload(record.param),
        _payload(record.value),
        record.tags,
    )


def _payload(value: Value) -> _Payload:
    data = None if value.data is None else base64.b64encode(value.data).decode()
    return _Payload(value.headers, data)


def _read(promise: _Promise, path: str | Path) -> PromiseRecord:
    try:
        param, value = _value(promise.param), _value(promise.value)
    except ValueError as error:
        raise HistoryError(f"{path}, promise {promise.id!r}: {error}. Record it again") from None
    return PromiseRecord(
        promise.id,
        promise.state,
        param,
        value,
        promise.tags,
        promise.timeout_at,
        promise.created_at,
        promise.settled_at,
    )


def _value(payload: _Payload) -> Value:
    data = None if payload.data is None else base64.b64decode(payload.data, validate=True)
    return Value(payload.headers, data)
