"""What is sent to an open page is the least that brings it up to date."""

from __future__ import annotations

from understudy.ui.row_changes import Region, changes, digest_of, row_key


def rows(**texts: str) -> dict[str, str]:
    """Return rows with these texts."""
    return {key: f'<tr id="{key}"><td>{text}</td></tr>' for key, text in texts.items()}


def test_nothing_is_sent_if_nothing_has_changed() -> None:
    region = Region("list", rows(a="1", b="2"))
    assert changes([region], [Region("list", rows(a="1", b="2"))]) == []
    assert digest_of([region]) == digest_of([Region("list", rows(a="1", b="2"))])


def test_a_changed_row_is_sent_alone() -> None:
    found = changes([Region("list", rows(a="1", b="2"))], [Region("list", rows(a="1", b="3"))])
    assert found == ['<tr id="b" hx-swap-oob="true"><td>3</td></tr>']


def test_new_rows_are_put_in_their_places() -> None:
    before, after = Region("list", rows(b="2")), Region("list", rows(a="1", b="2", c="3"))
    (html,) = changes([before], [after])
    assert '<tbody hx-swap-oob="afterbegin:#list"><tr id="a">' in html
    assert '<tbody hx-swap-oob="afterend:#b"><tr id="c">' in html


def test_rows_that_are_gone_are_deleted() -> None:
    before, after = Region("list", rows(a="1", b="2")), Region("list", rows(b="2"))
    assert changes([before], [after]) == ['<tr id="a" hx-swap-oob="delete"></tr>']


def test_another_order_and_an_unknown_region_are_sent_whole() -> None:
    after = Region("list", rows(b="2", a="1"))
    whole = [after.html]
    before = Region("list", {**rows(a="1"), **rows(b="2")})
    assert changes([before], [after]) == whole
    assert changes([], [after]) == whole
    assert whole[0].startswith('<tbody id="list" hx-swap-oob="innerHTML">')


def test_rows_of_tables_do_not_stand_behind_anything_else() -> None:
    before = [Region("head", {"h": '<div id="h">1</div>'}, "div"), Region("list", rows(a="1"))]
    after = [Region("head", {"h": '<div id="h">2</div>'}, "div"), Region("list", rows(a="2"))]
    assert [part[:4] for part in changes(before, after)] == ["<div", "<tr "]


def test_keys_are_of_harmless_characters_only() -> None:
    hostile = '"><img src=x onerror=alert(1)>\ud800'
    assert row_key("row", hostile).replace("-", "").isalnum()
    assert row_key("row", "a", "b") != row_key("row", "ab")
