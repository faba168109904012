"""A page before it is written as HTML: its template, what it shows, and its live parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from understudy.ui.row_changes import Region


class View(NamedTuple):
    """A page.

    Attributes
    ----------
    template
        The name of the file.
    context
        What the template gets, besides the rows of the regions.
    regions
        The parts that are kept up to date while the page is open.
    here
        The path of the page in the navigation to which it belongs.
    is_live
        Whether it changes at all while it is open.
    status
        That of HTTP.
    """

    template: str
    title: str
    context: Mapping[str, Any]
    regions: Sequence[Region] = ()
    here: str = ""
    is_live: bool = True
    status: int = 200

    @property
    def rows(self) -> dict[str, Markup]:
        """The HTML of the regions, by their keys."""
        return {each.key: Markup("".join(each.rows.values())) for each in self.regions}


def message(
    headline: str, *lines: str, level: str = "warn", advice: str = "", back: str = "", status: int
) -> View:
    """Return a page that only says something."""
    context = {
        "headline": headline,
        "lines": lines,
        "level": level,
        "advice": advice,
        "back": back,
    }
    return View("message.html", headline, context, is_live=False, status=status)
