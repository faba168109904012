"""The file of the rights: whose keys are taken, and which files are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.grants import EVERYTHING, NOTHING
from understudy_broker.keys.rights import BROKERS, Holder, Rights, notes_on, parse_rights

A = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
B = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
NEW_YEAR = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1000)


ROLES = '[role.team-b]\nids = ["b/"]\n[role.ops]\nids = ["a/"]\nadmin = ["halt"]\n'


def table(name: str = "team-a/node-1", key: str = A, more: str = "") -> str:
    return f'[identity."{name}"]\nkey = "{key}"\n{more}\n'


def found(text: str, key: str = A, now: int = 0) -> Holder | str:
    return parse_rights(text).find(key, now)


def test_a_key_is_that_of_its_identity() -> None:
    text = table() + table("team-b", B, 'roles = ["team-b", "ops"]') + ROLES
    assert found(text) == Holder("team-a/node-1", A)
    assert found(text, B) == Holder("team-b", B, roles=("team-b", "ops"))
    assert found(table(), B) == "its key is unknown"
    assert found("") == "its key is unknown"


@pytest.mark.parametrize(
    "when", ["2027-01-01", "2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00"]
)
def test_a_key_expires_at_a_moment(when: str) -> None:
    text = table(more=f"expires = {when}")
    assert found(text, now=NEW_YEAR - 1) == Holder("team-a/node-1", A, NEW_YEAR)
    assert found(text, now=NEW_YEAR) == "the key of 'team-a/node-1' has expired"


def test_an_old_key_is_taken_until_it_is_over_and_no_longer_than_the_identity() -> None:
    text = table(more=f'old_key = "{B}"\nold_until = 2027-01-01')
    assert found(text, B, NEW_YEAR - 1) == Holder("team-a/node-1", B, NEW_YEAR, is_old=True)
    assert found(text, B, NEW_YEAR) == "the key of 'team-a/node-1' has expired"
    assert isinstance(found(text, A, NEW_YEAR), Holder)
    text = table(more=f'old_key = "{B}"\nold_until = 2028-01-01\nexpires = 2027-01-01')
    assert found(text, B, NEW_YEAR) == "the key of 'team-a/node-1' has expired"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[identity", "it is not valid TOML"),
        ("roles = 1", "roles: unknown"),
        ("role = 1", "write a table [role.NAME]"),
        ("role.a = 1", "role 'a': write a table [role.a]"),
        ("[role.'a b']", "role 'a b': write a name"),
        ("[role.a]\nread = ['*']", "role 'a': read is no right"),
        (table(more='roles = ["team-c"]'), "there is no table [role.team-c]; there are none"),
        (table(more='roles = ["c"]') + "[role.a]\n[role.b]", "[role.c]; there are a, b"),
        ("identity = 1", "write a table"),
        ("identity.a = 1", "identity 'a': write a table"),
        ("[identity.a]\nexpires = 2027-01-01", "identity 'a': key is missing"),
        ("[identity.a]\nkey = 'abc'", "identity 'a': key is no public key"),
        ("[identity.a]\nkey = 5", "identity 'a': key is no public key"),
        (table(more="serve = []"), "serve is unknown; there are key, expires"),
        (table(more='roles = "a"'), "roles is a list"),
        (table(more="roles = [1]"), "roles is a list"),
        (table(more='roles = ["a\\"b"]'), "roles is a list"),
        (table(more="expires = '2027-01-01'"), "expires is a date"),
        (table(more="expires = 2027-01-01T12:00:00"), "expires needs a zone"),
        (table(more=f'old_key = "{B}"'), "old_until is missing"),
        (table(more="old_until = 2027-01-01"), "old_key is missing"),
        (table(more=f'old_key = "{A}"\nold_until = 2027-01-01'), "its key is that of"),
        (table() + table("other"), "identity 'other': its key is that of 'team-a/node-1', too"),
        (table("a b"), "a name has letters"),
        (table("/a"), "a name has letters"),
        (table("a//b"), "a name has letters"),
        (table("é"), "a name has letters"),
        (table("a" * 129), "at most 128"),
        (table("understudy/brokers"), "are reserved"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(text: str, said: str) -> None:
    with pytest.raises(RightsError) as caught:
        parse_rights(text)
    assert said in str(caught.value)


def test_the_next_expiry_is_that_of_any_key() -> None:
    text = table(more=f'old_key = "{B}"\nold_until = 2027-01-01\nexpires = 2028-01-01')
    rights = parse_rights(text)
    assert rights.next_expiry(NEW_YEAR - 1) == NEW_YEAR
    later = rights.next_expiry(NEW_YEAR)
    assert later is not None
    assert later > NEW_YEAR
    assert rights.next_expiry(later) is None
    assert parse_rights(table()).next_expiry(0) is None


def test_the_brokers_have_a_key_that_nobody_else_has() -> None:
    rights = parse_rights(table()).with_brokers(B)
    assert rights.find(B, 0) == Holder(BROKERS, B)
    assert len(list(rights)) == 2
    with pytest.raises(RightsError, match="its key is the broker's own"):
        Rights([Holder("a", B)]).with_brokers(B)


def test_an_identity_may_do_what_its_roles_permit_and_nothing_without_any() -> None:
    text = table() + table("team-b", B, 'roles = ["team-b", "ops"]') + ROLES
    grants = parse_rights(text).with_brokers("0" * 40).grants
    assert grants["team-a/node-1"] == NOTHING
    both = grants["team-b"]
    assert [both.ids.has(id_) for id_ in ("a/1", "b/1", "c/1")] == [True, True, False]
    assert both.admin == {"halt"}
    assert grants[BROKERS] == EVERYTHING
    assert "nobody" not in grants


def test_an_identity_without_a_key_is_one_that_edges_ask_for() -> None:
    rights = parse_rights('[identity."team-b/web"]\nroles = ["team-b"]\n' + ROLES)
    assert list(rights) == []
    assert rights.grants["team-b/web"].ids.has("b/1")


def test_what_is_probably_not_meant_is_noted() -> None:
    text = table() + '[role.a]\ncall = ["mail", "x-1"]\n[role.b]\nserve = ["x-*"]\n'
    assert notes_on(parse_rights(text)) == [
        "identity team-a/node-1: it has no role, so it may do nothing",
        "role a: no identity has it",
        "role a: call: no role may serve the group mail",
        "role b: no identity has it",
    ]
