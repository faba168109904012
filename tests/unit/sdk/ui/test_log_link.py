"""The link to a log system is checked once, and carries values as nothing but values."""

from __future__ import annotations

import pytest

from tests.unit.sdk.ui.records import promise
from understudy.tracing.ids import trace_id_of
from understudy.ui.log_link import LogLink, LogLinkError


def test_values_are_percent_encoded() -> None:
    record = promise("a b&c='{trace}'/ü")
    found = LogLink("https://logs.example/x?q={id}&t={trace}#{{a}}").of(record, 0)
    id_ = "a%20b%26c%3D%27%7Btrace%7D%27%2F%C3%BC"
    assert found == f"https://logs.example/x?q={id_}&t={trace_id_of(record.id):032x}#{{a}}"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("javascript:alert({id})", "no address of http or https"),
        ("https:///{id}", "no address of http or https"),
        ("https://{id}.example/", "not for the host's name"),
        ("https://me:secret@logs.example/{id}", "not for the host's name"),
        ("https://logs.example/{name}", "{name} is not one of {id}, {origin}, {trace}"),
        ("https://logs.example/{id.__class__}", "is not one of"),
        ("https://logs.example/{id!r}", "is not one of"),
        ("https://logs.example/{id:20}", "is not one of"),
        ("https://logs.example/{}", "is not one of"),
        ("https://logs.example/{id", "A brace is written"),
        ('https://logs.example/"{id}', "no address has"),
    ],
)
def test_other_templates_are_refused(template: str, problem: str) -> None:
    with pytest.raises(LogLinkError) as found:
        LogLink(template)
    assert problem in str(found.value)
