"""Classes by the names that travel with values and errors.

A name on the wire never causes an import, an attribute look-up that could run code, or a call: a
class is found only if this process has loaded it already.
"""

from __future__ import annotations

import enum
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

#: Python gives these a meaning of its own when they are raised inside a generator
_NEVER_REBUILT: Final = (StopIteration, StopAsyncIteration)

_MAIN: Final = "__main__"


@functools.lru_cache(maxsize=4096)
def wire_name(kind: Any) -> str:
    """Return the name of a class on the wire: ``module:QualName``."""
    return f"{kind.__module__}:{kind.__qualname__}"


class Fit(enum.IntEnum):
    """The degree to which a class fits a name on the wire."""

    NOT = 0
    #: it has the same qualified name, in a module that is not known here, or is a script
    SIMILAR = 1
    EXACT = 2


def is_full(name: str) -> bool:
    """Return whether a name has its module, which stores of early versions left out."""
    return ":" in name


def fit_of(kind: type, name: str) -> Fit:
    """Return how well `kind` fits a name on the wire."""
    module, _, qualname = name.rpartition(":")
    if qualname != kind.__qualname__:
        return Fit.NOT
    if module == kind.__module__:
        return Fit.EXACT
    if module and _MAIN not in (module, kind.__module__):
        other = loaded_class(module, qualname)
        if other is not None and other is not kind:
            return Fit.NOT
    return Fit.SIMILAR


def named_class(base: type, name: str) -> tuple[type | None, Fit]:
    """Return `base`, or its loaded subclass, that has a name on the wire, and how well it fits.

    None if there is no such class, or if several fit equally and none exactly.
    """
    similar: list[type] = []
    for kind in subclasses(base):
        fit = fit_of(kind, name)
        if fit is Fit.EXACT:
            return kind, fit
        if fit is Fit.SIMILAR:
            similar.append(kind)
    if similar and (len(similar) == 1 or not is_full(name)):
        return similar[0], Fit.SIMILAR
    return None, Fit.NOT


def loaded_class(module: str, qualname: str) -> type | None:
    """Return what is defined under a name in a loaded module if it is a class, else None.

    Only the dictionaries of modules and classes are read, because the ``__getattr__`` of a module
    may import others.
    """
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        try:
            names = object.__getattribute__(found, "__dict__")
        except AttributeError:
            return None
        found = names.get(part) if isinstance(names, Mapping) else None
    return found if isinstance(found, type) else None


def loaded_exception(module: str, qualname: str, main: str = "") -> type[Exception] | None:
    """Return the exception class of that name that this process has loaded, else None.

    A script's module is called ``__main__`` in its own process only: `main` says what it is called
    where it is imported. Classes that are no attribute of their module (those inside functions, and
    those of a script in the nodes that it spawns) are found among the subclasses of `Exception`.
    """
    modules = [module]
    if module == _MAIN and main:
        modules.append(main)
    if module == main_module():
        modules.append(_MAIN)
    for place in modules:
        found = loaded_class(place, qualname)
        if found is not None and may_be_raised(found):
            return found
    candidates: list[type[Exception]] = [
        kind
        for kind in subclasses(Exception)
        if kind.__qualname__ == qualname and kind.__module__ in modules and may_be_raised(kind)
    ]
    # Of several classes that one piece of code has made, the latest is in use.
    return candidates[-1] if candidates else None


def may_be_raised(kind: type) -> bool:
    """Return whether an exception of this class may be rebuilt and raised by data."""
    return issubclass(kind, Exception) and not issubclass(kind, _NEVER_REBUILT)


def main_module() -> str:
    """Return the name by which other processes import this process's script; may be empty."""
    main = sys.modules.get(_MAIN)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(f".{_MAIN}")
    return PurePath(getattr(main, "__file__", None) or "").stem


def subclasses(kind: Any) -> Iterator[Any]:
    """Yield `kind` and its loaded subclasses, each once, the oldest first on each level."""
    found = {kind: None}
    waiting = [kind]
    for candidate in waiting:
        yield candidate
        for subclass in type.__subclasses__(candidate):
            if subclass not in found:
                found[subclass] = None
                waiting.append(subclass)
