"""The OpenAPI document, whatever nodes announce."""

from __future__ import annotations

import json
from typing import Any

import pytest

from understudy.edge.native import bodies
from understudy.edge.native.openapi import Described, document
from understudy.edge.native.schemas import FunctionSchema

FAN: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}


@pytest.mark.parametrize(
    "text",
    [
        '{"positional": 5}',
        '{"positional": [[1]], "arguments": {"properties": []}}',
        '{"arguments": [1]}',
        '{"arguments": true}',
        '{"arguments": {"required": 5}}',
        '{"arguments": {"required": [{}]}}',
        '{"arguments": {"properties": 5}, "positional": ["a"]}',
        '{"arguments": ' + '{"not":' * 900 + "{}" + "}" * 901,
        json.dumps({"$defs": FAN, "arguments": {"$ref": "#/$defs/d0"}}),
        '{"$defs": {"Promise": 5}, "result": {"$ref": 5}}',
    ],
)
def test_no_schema_of_a_node_breaks_it(text: str) -> None:
    """References are not followed, and a schema that makes no sense is that of anything."""
    honest = FunctionSchema('{"arguments": {"properties": {"a": {"type": "integer"}}}}')
    odd = FunctionSchema(text)
    made = document([Described("g", "odd", odd.data), Described("g", "fn", honest.data)])
    assert len(bodies.write(made)) < 100_000
    assert "/calls/g/odd" in made["paths"]
    body = made["paths"]["/calls/g/fn"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["oneOf"][0]["properties"] == {"a": {"type": "integer"}}
