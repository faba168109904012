"""Immutable stand-ins for containers that are made with their first member.

Most runs make no calls, and a node keeps thousands of them in memory. An attribute holds one of
these until something is put into it; putting something into a stand-in raises an error.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

# Any, because each stands for a mutable container of whatever type the attribute has.
NO_NAMES: Final[Any] = MappingProxyType({})
NO_SET: Final[Any] = frozenset()
NO_LIST: Final[Any] = ()
