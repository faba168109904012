"""Schemas of functions: one copy for equal nodes, bounds, and pages."""

from __future__ import annotations

import msgspec

from understudy_broker.core.function_schemas import (
    NODE_BYTES_MAX,
    PAGE_BYTES_MAX,
    PAGE_MAX,
    SCHEMA_BYTES_MAX,
    functions_report,
    schemas_of,
    shared,
)
from understudy_broker.protocol.messages import Functions, FunctionsGet, Hello


def test_what_a_node_announces() -> None:
    found = schemas_of(("a", "b"), (1, 2), ('{"a":1}', "{}"))
    assert found == {("a", 1): '{"a":1}', ("b", 2): "{}"}
    assert schemas_of(("a",), None, None) == {("a", 1): "{}"}
    assert schemas_of(("a", "b"), (1,), ("{}",)) == {("a", 1): "{}", ("b", 1): "{}"}


def test_bounds_of_a_node() -> None:
    long = "x" * SCHEMA_BYTES_MAX
    assert schemas_of(("a",), (1,), (f"{long}x",)) == {("a", 1): "{}"}
    count = NODE_BYTES_MAX // SCHEMA_BYTES_MAX
    names = [f"f{number:03}" for number in range(count + 1)]
    found = schemas_of(names, [1] * len(names), [long] * len(names))
    assert [key[0] for key, schema in found.items() if schema == "{}"] == [names[-1]]


def test_equal_nodes_share_one_copy() -> None:
    first, second = ({("a", 1): "{}"} for _ in range(2))
    assert shared(second, [first]) is first
    assert shared(second, [{("b", 1): "{}"}]) is second


def test_pages() -> None:
    names = [f"f{number:04}" for number in range(PAGE_MAX + 5)]
    nodes = [schemas_of(names, [1] * len(names), None)]
    first = functions_report(FunctionsGet("g"), nodes)
    assert (len(first.functions), first.more) == (PAGE_MAX, True)
    last = first.functions[-1]
    second = functions_report(FunctionsGet("g", (last.name, last.version)), nodes)
    assert [each.name for each in second.functions] == names[PAGE_MAX:]
    assert not second.more


def test_pages_of_large_schemas() -> None:
    names = [f"f{number}" for number in range(9)]
    schema = "x" * SCHEMA_BYTES_MAX
    node = schemas_of(names, [1] * len(names), [schema] * len(names))
    report = functions_report(FunctionsGet("g"), [node])
    assert len(report.functions) == PAGE_BYTES_MAX // SCHEMA_BYTES_MAX
    assert report.more


def test_of_different_nodes_the_later_one_counts_and_a_schema_more_than_none() -> None:
    nodes = [{("a", 1): '{"a":1}'}, {("a", 1): '{"a":2}', ("b", 1): "{}"}, {("a", 1): "{}"}]
    report = functions_report(FunctionsGet("g"), nodes)
    assert {each.name: each.schema for each in report.functions} == {"a": '{"a":2}', "b": "{}"}


def test_peers_of_earlier_releases() -> None:
    class OldFunctions(msgspec.Struct, array_like=True, tag="functions", frozen=True):
        functions: tuple[str, ...]
        versions: tuple[int, ...]

    old, new = OldFunctions(("a",), (1,)), Functions(("a",), (1,), ("{}",))
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    assert decode(encode(old), type=Functions) == Functions(("a",), (1,))
    assert decode(encode(new), type=OldFunctions) == old
    hello = Hello(2, "node", "g", "n", "b", 1, "h", "s", functions=("a",), versions=(1,))
    assert decode(encode(hello), type=Hello).schemas is None
