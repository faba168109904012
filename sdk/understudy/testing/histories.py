"""Histories: recorded call graphs, in files that can be kept beside the code."""

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
    TAG_PARENT,
    PromiseRecord,
    PromiseState,
    Value,
    origin_of,
)

FORMAT: Final = "understudy history"
VERSION: Final = 1
#: Promises that are requested at a time.
PAGE: Final = 1000


class HistoryError(UnderstudyError):
    """A file is no history, or a history contains no run of the function to check.

    The message names the file, and says what to do.

    Examples
    --------
    >>> from pathlib import Path
    >>> from understudy.testing import History, HistoryError
    >>> _ = Path("empty.json").write_text("{}")
    >>> try:
    ...     History.load("empty.json")
    ... except HistoryError as error:
    ...     print(str(error).partition(":")[0])
    empty.json holds no history
    """


class _Payload(msgspec.Struct, omit_defaults=True):
    headers: dict[str, str] = {}
    data: str | None = None


class _Promise(msgspec.Struct, omit_defaults=True):
    """A `PromiseRecord` in a file, with names for human readers."""

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
    """A call graph, recorded by `record`.

    It contains arguments and results, encoded as they are in the store. Keep it only where those
    may be kept.

    Attributes
    ----------
    id : str
        The id of the call that was recorded.
    promises : tuple of PromiseRecord
        The promise of that call, then those of everything that it called, in the order of
        creation.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.testing import Stage, record
    >>> runtime = Runtime.local()
    >>> @runtime.register
    ... def remind(ctx, days):
    ...     yield ctx.sleep(days * 24 * 3600)
    >>> with Stage(runtime):
    ...     runtime.rpc("remind-1", remind, 7).result()
    ...     print(record("remind-1", runtime))
    the history of remind-1 (2 promises)
    """

    id: str
    promises: tuple[PromiseRecord, ...]

    def save(self, path: str | Path) -> None:
        """Write the history to a file as JSON.

        Parameters
        ----------
        path : str or Path
            The file; its folder is created if it does not exist. For `replay` its name must end in
            .json.

        Raises
        ------
        OSError
            The file cannot be written.

        Examples
        --------
        >>> from understudy.testing import History
        >>> History("order-1", ()).save("histories/order-1.json")
        >>> History.load("histories/order-1.json").id
        'order-1'
        """
        file = _File(FORMAT, VERSION, self.id, [_written(record) for record in self.promises])
        text = msgspec.json.format(msgspec.json.encode(file), indent=2)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(text + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read a history from a file that `save` has written.

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
            The file is no history, or one of another format.
        OSError
            The file cannot be read.

        Examples
        --------
        >>> from understudy.testing import History
        >>> History("order-2", ()).save("order-2.json")
        >>> print(History.load("order-2.json"))
        the history of order-2 (0 promises)
        """
        try:
            file = msgspec.json.decode(Path(path).read_bytes(), type=_File)
        except msgspec.DecodeError as error:
            raise HistoryError(f"{path} holds no history: {error}. Record it again") from None
        if file.format != FORMAT or file.version != VERSION:
            raise HistoryError(
                f"{path} is {file.format!r} version {file.version}, but this release reads "
                f"{FORMAT!r} version {VERSION}: record it again"
            )
        return cls(file.id, tuple(_read(promise, path) for promise in file.promises))

    def __str__(self) -> str:
        return f"the history of {self.id} ({len(self.promises)} promises)"


def record(id: str, source: Runtime | str | None = None) -> History:
    """Record a call, and everything that it called, from the store that has it.

    Parameters
    ----------
    id : str
        The id of the call.
    source : Runtime or str, optional
        A runtime (on a stage, connected, or ``Runtime.local("calls.db")``), or the address of a
        broker. By default the address that a `Runtime` has by default.

    Returns
    -------
    History
        The call graph as it is now; the call need not have ended.

    Raises
    ------
    CommandError
        404: there is no such call.
    BrokerUnavailableError
        No broker answers at that address.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.testing import Stage, record
    >>> runtime = Runtime.local()
    >>> @runtime.register
    ... def hello(ctx):
    ...     return "hello"
    >>> with Stage(runtime):
    ...     runtime.rpc("hello-1", hello).result()
    ...     history = record("hello-1", runtime)
    'hello'
    >>> history.id, len(history.promises)
    ('hello-1', 1)
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
    origin = origin_of(root)
    found = {record.id: record for record in _search(runtime, origin=origin)}
    # Detached calls have an origin of their own, but their ids are below their caller's.
    found |= {record.id: record for record in _search(runtime, prefix=f"{id}.")}
    found[id] = root
    inside = {id}
    left = [record for record in found.values() if record.id != id]
    while chosen := [r for r in left if _parents(r) & inside]:
        inside |= {record.id for record in chosen}
        left = [record for record in left if record.id not in inside]
    rest = sorted((found[i] for i in inside - {id}), key=lambda r: (r.created_at, r.id))
    return History(id, (root, *rest))


def _parents(record: PromiseRecord) -> set[str]:
    """Return the ids of the promises that may have created this one."""
    tags = record.tags
    return {tags.get(TAG_PARENT, ""), tags.get(TAG_BRANCH, ""), record.id.rpartition(".")[0]}


def _search(runtime: Runtime, **criteria: Any) -> Iterator[PromiseRecord]:
    pages = runtime.session.pages(
        lambda cursor: PromiseSearch(**criteria, limit=PAGE, cursor=cursor)
    )
    for reply in pages:
        yield from reply.promises or ()


def functions_in(history: History) -> list[str]:
    """Return the names of the functions in a history, sorted."""
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
