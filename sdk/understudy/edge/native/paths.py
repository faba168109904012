"""Ids and names in paths, and paths with ids in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote, unquote_to_bytes

from understudy.edge.native.problems import Problem

T = TypeVar("T")

#: how a template marks a segment that may be anything
_OPEN: Final = "{"


class Found(NamedTuple, Generic[T]):
    """The outcome of a search for a path.

    Attributes
    ----------
    methods
        The targets by method; empty if there is no such path.
    names
        The texts of the open segments, as the template names them.
    """

    methods: Mapping[str, T]
    names: dict[str, str]


class Paths(Generic[T]):
    """Paths that lead somewhere.

    Slashes in an id are written ``%2F``, so a path is split before it is decoded.

    Parameters
    ----------
    templates
        Path templates such as ``/calls/{id}/result``, each with what its methods lead to. Where two
        fit, the first one counts.

    Examples
    --------
    >>> paths = Paths({"/calls/{id}": {"GET": 1}})
    >>> paths.find(b"/calls/a%2Fb")
    Found(methods={'GET': 1}, names={'id': 'a/b'})
    """

    def __init__(self, templates: Mapping[str, Mapping[str, T]]) -> None:
        self._templates: Final = [
            (template[1:].split("/"), methods) for template, methods in templates.items()
        ]
        self._roots: Final = {segments[0] for segments, _ in self._templates}

    def leads(self, raw_path: bytes) -> bool:
        """Return whether some path begins as this one."""
        return raw_path[1:].partition(b"/")[0].decode("latin1") in self._roots

    def find(self, raw_path: bytes) -> Found[T]:
        """Return the targets of a path.

        Raises
        ------
        Problem
            An open segment is empty, or no UTF-8.
        """
        segments = raw_path[1:].split(b"/")
        for template, methods in self._templates:
            if len(template) == len(segments) and _fits(template, segments):
                return Found(methods, dict(_names(template, segments)))
        return Found({}, {})


def _fits(template: Sequence[str], segments: Sequence[bytes]) -> bool:
    return all(
        part.startswith(_OPEN) or part.encode() == segment
        for part, segment in zip(template, segments, strict=True)
    )


def _names(template: Sequence[str], segments: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    for part, segment in zip(template, segments, strict=True):
        if part.startswith(_OPEN):
            name = part.strip("{}")
            yield name, _decoded(name, segment)


def _decoded(name: str, segment: bytes) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise Problem(400, f"the {name} in the path is no UTF-8", parameter=name) from None
    if not text:
        raise Problem(400, f"the {name} in the path is empty", parameter=name)
    return text


def path_of(*segments: str) -> str:
    """Return a path.

    Examples
    --------
    >>> path_of("calls", "a/b 7%", "result")
    '/calls/a%2Fb%207%25/result'
    """
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)
