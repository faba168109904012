"""Stores that several brokers have open at a time, each with slots of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from understudy_store.changes import Snapshot
from understudy_store.engines.base import Engine


class Holdings(NamedTuple):
    """Who has what, as one moment of the database.

    Attributes
    ----------
    version
        The sum of all epochs of slots: it only grows.
    brokers
        Writer, name and address of each broker that is not fenced, in order of the writers.
    slots
        The writer of each of the 256 slots; None: nobody.
    leaving
        Writers that are about to end, and are to get no slots.
    """

    version: int
    brokers: tuple[tuple[int, str, str], ...]
    slots: tuple[int | None, ...]
    leaving: frozenset[int] = frozenset()


class SharedEngine(Engine, Protocol):
    """An engine whose store is shared by several brokers."""

    writer: int

    def holdings(self) -> Holdings: ...
    def watch_holdings(self, on_change: Callable[[Holdings], None]) -> None: ...
    def load_slots(self, slots: Collection[int]) -> Snapshot: ...
    def hand_over(self, slots: Mapping[int, int], *, leaving: bool = False) -> Holdings: ...
    def is_fresh(self) -> bool: ...
