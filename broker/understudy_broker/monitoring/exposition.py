r"""The text in which Prometheus reads metrics. Pure.

The format is version 0.0.4 of the text exposition format. A page is made of families, each with its
name, its type and a sentence, and with a line for each set of labels::

    # HELP understudy_queue_depth Tasks that wait for a node of their group.
    # TYPE understudy_queue_depth gauge
    understudy_queue_depth{group="orders"} 12

The most lines by far are those of histograms, so the text of a histogram around its numbers is
made once (`_template`), and the numbers are put in by a single operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from understudy_broker.monitoring.histogram import Histogram, Scale

#: what an answer with such a page says of its content
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: templates of a family of histograms that are kept
_TEMPLATES_MAX: Final = 8_192

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
#: the values of a family's labels, in their order
Labels: TypeAlias = tuple[str, ...]
_L = TypeVar("_L", bound=Labels)


class Family(NamedTuple):
    """All numbers of one name.

    Attributes
    ----------
    help
        A sentence, for people.
    labels
        The names of the labels of its lines.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def numbers_text(family: Family, numbers: Mapping[_L, float]) -> str:
    """Return a family of counters or gauges; nothing if there are no numbers.

    Examples
    --------
    >>> depth = Family("depth", "gauge", "How deep it is.", ("place",))
    >>> print(numbers_text(depth, {("here",): 3, ("there",): 0.5}), end="")
    # HELP depth How deep it is.
    # TYPE depth gauge
    depth{place="here"} 3
    depth{place="there"} 0.5
    """
    if not numbers:
        return ""
    lines = [
        f"{family.name}{_in_braces(_labels_text(family.labels, values))} {_number(number)}\n"
        for values, number in numbers.items()
    ]
    return _head(family) + "".join(lines)


def histograms_text(
    family: Family, scale: Scale, histograms: Iterable[tuple[Labels, Histogram]]
) -> str:
    """Return a family of histograms; nothing if there are none."""
    known = _templates(family, scale)
    up_to = scale.bits[-1] + 1
    pick = itemgetter(*scale.bits)
    parts = []
    for values, histogram in histograms:
        template = known.get(values)
        if template is None:
            if len(known) >= _TEMPLATES_MAX:
                known.clear()
            template = known[values] = _template(family, values, scale)
        # It may be counted on meanwhile: what is shown follows from one copy of the counts.
        counts = histogram.buckets.copy()
        count = sum(counts)
        shown = pick(tuple(accumulate(counts[:up_to])))
        parts.append(template % (*shown, count, histogram.total * scale.unit, count))
    return _head(family) + "".join(parts) if parts else ""


def _head(family: Family) -> str:
    return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"


@lru_cache
def _templates(_family: Family, _scale: Scale) -> dict[Labels, str]:
    """Return the templates of a family that are known, by the values of its labels."""
    return {}


def _template(family: Family, values: Labels, scale: Scale) -> str:
    """Return the lines of a histogram with places for its numbers."""
    name, own = family.name, _labels_text(family.labels, values)
    before = f"{own}," if own else ""
    bounds = [*(format(bound, ".12g") for bound in scale.bounds()), "+Inf"]
    lines = [f'{name}_bucket{{{before}le="{bound}"}} ' for bound in bounds]
    text = "".join(f"{line.replace('%', '%%')}%d\n" for line in lines)
    braces = _in_braces(own).replace("%", "%%")
    return f"{text}{name}_sum{braces} %.12g\n{name}_count{braces} %d\n"


@lru_cache(maxsize=16_384)
def _labels_text(names: tuple[str, ...], values: Labels) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


def _in_braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _escaped(value: str) -> str:
    r"""Return the value of a label as it is written.

    Examples
    --------
    >>> print(_escaped('a "b" \\ c'))
    a \"b\" \\ c
    """
    if value.isascii() and value.isidentifier():
        return value
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    # Names come from strangers, and half of a surrogate pair would make the page unreadable.
    return escaped.encode("utf-8", "replace").decode("utf-8")


def _number(number: float) -> str:
    return str(number) if isinstance(number, int) else format(number, ".12g")
