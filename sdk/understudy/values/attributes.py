"""The attributes of an object: how they are read from it, and given to one that is made anew.

An object is made anew by the ``__new__`` of the C class that it is built on, and by setting its
attributes. No constructor runs, and no code of the object's class.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

#: the flag of classes that are allocated, as those of class statements are
_HEAP_TYPE: Final = 1 << 9

#: What the code of a user's class may raise where it runs on behalf of this package. A
#: KeyboardInterrupt is left out, because in the main thread it is the user's Ctrl-C.
OF_USERS_CODE: Final = (Exception, SystemExit, GeneratorExit)

# What Python itself keeps in an exception. Each is read by the descriptor of `BaseException`,
# because a class may hide it behind a property or a ``__getattr__`` that raises.
_OF_ERRORS: Final = vars(BaseException)
error_dict: Final[Callable[[BaseException], dict[str, Any]]] = _OF_ERRORS["__dict__"].__get__
error_cause: Final[Callable[[BaseException], BaseException | None]] = _OF_ERRORS[
    "__cause__"
].__get__
error_context: Final[Callable[[BaseException], BaseException | None]] = _OF_ERRORS[
    "__context__"
].__get__
hides_context: Final[Callable[[BaseException], bool]] = _OF_ERRORS["__suppress_context__"].__get__

_Descriptor = types.MemberDescriptorType | types.GetSetDescriptorType


def blank(kind: type, *args: Any) -> Any:
    """Return a new object of class `kind` without running its constructor.

    Parameters
    ----------
    args
        What the ``__new__`` of the C class needs; nothing, but for exception groups.
    """
    for owner in kind.__mro__:
        new = vars(owner).get("__new__")
        if isinstance(new, types.BuiltinFunctionType):
            return new(kind, *args)
    raise TypeError(f"{kind.__qualname__} has no __new__")


def is_dunder(name: str) -> bool:
    """Return whether Python gives a meaning of its own to the attribute `name`."""
    return name.startswith("__") and name.endswith("__")


def own_attributes(value: Any, found: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the attributes in the object's ``__dict__``, without Python's own.

    What a `functools.cached_property` has kept is left out, because it is computed anew.

    Parameters
    ----------
    found
        That ``__dict__``, if the caller has it.
    """
    kind: Any = type(value)
    return {
        name: item
        for name, item in (getattr(value, "__dict__", {}) if found is None else found).items()
        if not (type(name) is str and (is_dunder(name) or _is_cached(kind, name)))
    }


def slot_attributes(value: Any) -> dict[str, Any]:
    """Return the attributes in slots: those of ``__slots__``, and those of C classes."""
    found = {}
    kind: Any = type(value)
    for name, descriptor in slots_of(kind).items():
        try:
            item = descriptor.__get__(value)
        except AttributeError:  # never set
            continue
        # C classes show what was never set as None, and some tell the two apart.
        if item is not None or is_made_by_python(descriptor.__objclass__):
            found[name] = item
    return found


def is_made_by_python(kind: type) -> bool:
    """Return whether a class was made by a class statement or the like, not by C code."""
    return bool(kind.__flags__ & _HEAP_TYPE)


@functools.lru_cache(maxsize=1024)
def slots_of(kind: type) -> Mapping[str, _Descriptor]:
    """Return the slots of a class by name, without Python's own."""
    return {
        name: descriptor
        for owner in reversed(kind.__mro__)
        if owner not in (object, BaseException, BaseExceptionGroup)
        for name, descriptor in vars(owner).items()
        if isinstance(descriptor, _Descriptor) and not is_dunder(name)
    }


@functools.lru_cache(maxsize=4096)
def _is_cached(kind: type, name: str) -> bool:
    for owner in kind.__mro__:
        if name in vars(owner):
            return isinstance(vars(owner)[name], functools.cached_property)
    return False
