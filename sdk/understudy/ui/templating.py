"""Templates: Jinja with everything escaped, and no text that a browser or a reader would obey."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from understudy.printable import printable
from understudy.ui.payloads import size_text
from understudy.ui.row_changes import row_key
from understudy.ui.timeline import Segment
from understudy.views.times import duration

_FOLDER: Final = Path(__file__).parent
#: segments of a bar that are said in words
_SPOKEN_MAX: Final = 6
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}


class Static:
    """The files that pages need, read once."""

    def __init__(self) -> None:
        self.files = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((_FOLDER / "static").iterdir())
            if path.suffix in _TYPES
        }
        self._versions = {
            name: blake2s(content, digest_size=5).hexdigest()
            for name, (content, _) in self.files.items()
        }

    def path(self, name: str) -> str:
        """Return the path of a file, which changes with its content."""
        return f"/static/{name}?v={self._versions[name]}"


def make_environment(static: Static) -> Environment:
    """Return the environment of all templates."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        q=_quoted,
        num=_number,
        x=_coordinate,
        duration=duration,
        rough=rough,
        size=size_text,
        spoken=spoken,
        short=short,
    )
    environment.globals.update(static=static.path, key=row_key)
    return environment


def macros(environment: Environment, name: str, **context: Any) -> Any:
    """Return the macros of a template, as attributes."""
    return environment.get_template(name).make_module(context)


def _finalized(value: Any) -> Any:
    """Show characters that are not seen, or change the direction of text, as escapes."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return "" if value is None else value


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _number(value: float) -> str:
    return f"{value:,}"


def _coordinate(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def short(text: str, chars: int) -> str:
    """Cut a text."""
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def rough(ms: int) -> str:
    """Return a duration with one unit.

    Examples
    --------
    >>> rough(7_260_000), rough(400)
    ('2 h', '400 ms')
    """
    for unit, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if ms >= unit:
            return f"{round(ms / unit)} {name}"
    return f"{ms} ms"


def spoken(segments: Iterable[Segment]) -> str:
    """Return a bar in words."""
    parts = [f"{each.kind} {duration(each.end - each.start)}" for each in segments]
    if len(parts) > _SPOKEN_MAX:
        parts = [*parts[:_SPOKEN_MAX], "and more"]
    return ", ".join(parts) or "no time"
