"""Schemas: what nodes say of the arguments and results of their functions, for those who ask.

The broker does not read them. It keeps one copy for all nodes of a group that announce the same,
and within bounds: what is beyond them is told as ``{}``, the schema of anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from understudy_broker.protocol.messages import FunctionInfo, FunctionsGet, FunctionsReport

#: bytes of one schema, and of all schemas of a node
SCHEMA_BYTES_MAX: Final = 64 * 1024
NODE_BYTES_MAX: Final = 1024 * 1024
#: functions, and bytes of schemas, of one page
PAGE_MAX: Final = 1000
PAGE_BYTES_MAX: Final = 512 * 1024

#: the schema of anything
ANYTHING: Final = "{}"

#: the schemas of a node by name and version of the function
Schemas = Mapping[tuple[str, int], str]


def schemas_of(
    names: Sequence[str],
    versions: Sequence[int] | None,
    schemas: Sequence[str] | None,
    known: Schemas | None = None,
) -> dict[tuple[str, int], str]:
    """Return what a node announces; a function without a schema has that of anything.

    Parameters
    ----------
    known
        What it has announced before, which takes of its room.
    """
    found: dict[tuple[str, int], str] = {}
    room = NODE_BYTES_MAX - sum(map(len, (known or {}).values()))
    for index, name in enumerate(names):
        version = versions[index] if versions is not None and index < len(versions) else 1
        schema = schemas[index] if schemas is not None and index < len(schemas) else ANYTHING
        if len(schema) > min(SCHEMA_BYTES_MAX, room):
            schema = ANYTHING
        room -= len(schema)
        found[name, version] = schema
    return found


def shared(schemas: Schemas, others: Iterable[Schemas]) -> Schemas:
    """Return the equal one of `others`, so that there is one copy; else `schemas` itself."""
    return next((each for each in others if each == schemas), schemas)


def functions_report(command: FunctionsGet, nodes: Iterable[Schemas]) -> FunctionsReport:
    """Return a page of the functions that the nodes of a group have.

    Parameters
    ----------
    nodes
        The schemas of each node; where two differ, the later one counts.
    """
    known: dict[tuple[str, int], str] = {}
    for schemas in nodes:
        for key, schema in schemas.items():
            if schema != ANYTHING or key not in known:
                known[key] = schema
    left = sorted(key for key in known if command.after is None or key > command.after)
    page: list[FunctionInfo] = []
    room = PAGE_BYTES_MAX
    for name, version in left[:PAGE_MAX]:
        schema = known[name, version]
        room -= len(schema)
        if room < 0 and page:
            break
        page.append(FunctionInfo(name, version, schema))
    return FunctionsReport(tuple(page), len(page) < len(left))
