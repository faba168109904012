"""The extras of the distribution: libraries that not everybody needs."""

from __future__ import annotations

from importlib.util import find_spec


def missing(*modules: str) -> str:
    """Return the first of these modules that is not installed; empty if all are."""
    return next((name for name in modules if find_spec(name) is None), "")


def advice(user: str, module: str, extra: str) -> str:
    """Return what to tell of a module that is missing.

    Examples
    --------
    >>> advice("an edge", "starlette", "http")
    'an edge needs starlette, which is not installed. It comes with the extra [http] of understudy'
    """
    return (
        f"{user} needs {module}, which is not installed. It comes with the extra [{extra}] of "
        "understudy"
    )
