"""Changes between two states of a list of rows, as the least HTML that brings a page up to date.

Pure. A row has a key, which is the id of its element, and its HTML. What is sent to a page is for
htmx: elements to be put in the place of others ("out of band"), by their ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2s
from itertools import groupby
from typing import NamedTuple, TypeAlias

#: key to HTML, in the order of the rows
Rows: TypeAlias = Mapping[str, str]


class Region(NamedTuple):
    """A part of a page that is kept up to date.

    Attributes
    ----------
    key
        The id of the element around the rows.
    rows
        The rows inside it.
    tag
        The name of that element.
    """

    key: str
    rows: Rows
    tag: str = "tbody"

    @property
    def html(self) -> str:
        """The whole element, to be put in the place of that of the page."""
        inner = "".join(self.rows.values())
        return f'<{self.tag} id="{self.key}" hx-swap-oob="innerHTML">{inner}</{self.tag}>'


def row_key(name: str, *parts: str) -> str:
    """Return the key of a row for a thing with an id of any characters.

    Examples
    --------
    >>> row_key("call", "order-7"), row_key("call", "<img>")
    ('call-30f2fb0cb455', 'call-3a40e6e28cc8')
    """
    text = "\0".join(parts)
    digest = blake2s(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{name}-{digest}"


def digest_of(regions: Sequence[Region]) -> str:
    """Return a text that is the same only for the same rows."""
    found = blake2s(digest_size=8)
    for region in regions:
        for part in (region.key, *region.rows, *region.rows.values()):
            found.update(part.encode("utf-8", "surrogatepass"))
            found.update(b"\0")
    return found.hexdigest()


def changes(before: Sequence[Region], after: Sequence[Region]) -> list[str]:
    """Return the HTML of what has changed, in parts; none if nothing has.

    A region that was not there before is sent whole, and so is one whose rows have come into
    another order. A part has elements of one kind only, because a browser that reads rows of a
    table after anything else drops them.
    """
    known = {region.key: region for region in before}
    elements: list[str] = []
    for region in after:
        old = known.get(region.key)
        if old is None:
            elements.append(region.html)
        elif list(old.rows.items()) != list(region.rows.items()):
            elements.extend(_changed(old, region))
    return ["".join(alike) for _, alike in groupby(elements, _tag_of)]


def _tag_of(html: str) -> str:
    return html[: min(html.find(" "), html.find(">"))]


def _changed(old: Region, new: Region) -> Iterator[str]:
    kept = [key for key in new.rows if key in old.rows]
    is_in_order = kept == [key for key in old.rows if key in new.rows]
    if not kept or not is_in_order:
        yield new.html
        return
    for key in old.rows:
        if key not in new.rows:
            tag = "tr" if new.tag == "tbody" else "div"
            yield f'<{tag} id="{key}" hx-swap-oob="delete"></{tag}>'
    for key in kept:
        if old.rows[key] != new.rows[key]:
            yield _in_place(key, new.rows[key])
    previous: str | None = None
    for key, html in new.rows.items():
        if key not in old.rows:
            where = f"afterbegin:#{new.key}" if previous is None else f"afterend:#{previous}"
            yield f'<{new.tag} hx-swap-oob="{where}">{html}</{new.tag}>'
        previous = key


def _in_place(key: str, html: str) -> str:
    """Return a row that takes the place of the one with its id."""
    mark = f'id="{key}"'
    assert mark in html, "a row has its key as its id"
    return html.replace(mark, f'{mark} hx-swap-oob="true"', 1)
