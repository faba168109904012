"""Changes of the file of the rights leave everything else as people have written it."""

from __future__ import annotations

import pytest

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.rights import Holder, parse_rights
from understudy_broker.keys.rights_text import (
    TEMPLATE,
    lines_of,
    own_holders,
    with_identity,
    with_new_key,
    without_identity,
)

A = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
B = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
C = "0000000000000000000000000000000000000000"
DAY_MS = 86_400_000

WRITTEN = f"""# ours
[identity."team-a/node-1"]   # the first
key = "{A}"
roles = [
  "team-a",
]

# of Ann
[ identity . ann ]
key = "{B}"
[role.team-a]
"""


def test_an_identity_is_added_behind_the_others() -> None:
    template = f"{TEMPLATE}[role.a]\n\n[role.b]\n"
    text = with_identity(template, Holder("team-a/node-1", A, DAY_MS, ("a", "b")))
    assert text.startswith(template)
    assert list(parse_rights(text)) == [Holder("team-a/node-1", A, DAY_MS, ("a", "b"))]
    text = with_identity(text, Holder("ann", B, DAY_MS + 1_000))
    assert "expires = 1970-01-02\n" in text
    assert "expires = 1970-01-02T00:00:01Z\n" in text


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        (Holder("ann", C), "is there already"),
        (Holder("bob", A), "its key is that of"),
        (Holder('bob"]', C), "a name has letters"),
        (Holder("understudy/x", C), "reserved"),
    ],
)
def test_an_identity_that_cannot_be_added(holder: Holder, said: str) -> None:
    with pytest.raises(RightsError, match=said):
        with_identity(WRITTEN, holder)


def test_an_identity_is_removed_with_its_lines_only() -> None:
    text = without_identity(WRITTEN, "team-a/node-1", "gone")
    assert text == f'# ours\n# gone\n\n# of Ann\n[ identity . ann ]\nkey = "{B}"\n[role.team-a]\n'
    assert without_identity(text, "ann", "gone").endswith("# of Ann\n# gone\n[role.team-a]\n")
    with pytest.raises(RightsError, match="there is no identity 'bob'"):
        without_identity(WRITTEN, "bob", "gone")


@pytest.mark.parametrize(
    "text",
    [
        f'identity."ann".key = "{A}"\n',
        f'identity = {{ann = {{key = "{A}"}}}}\n',
        f'[identity]\nann.key = "{A}"\n',
        f'[identity."\\u0061nn"]\nkey = "{A}"\n',
        # A line of Python's, and not of TOML's: the identity would still be there.
        f'# see\u2028[identity.ann]\n[identity.ann]\nkey = "{A}"\n',
        # What looks like a header, and is part of a text, ends nothing.
        f'[identity.ann]\nkey = "{A}"\nroles = [\n\n"x"]\n[identity.ann.more]\n',
    ],
)
def test_an_unusual_text_is_left_alone(text: str) -> None:
    with pytest.raises(RightsError):
        without_identity(text, "ann", "gone")


def test_a_new_key_has_the_old_one_beside_it_for_a_while() -> None:
    text = with_new_key(WRITTEN, "team-a/node-1", C, old_until=DAY_MS, now=0)
    assert own_holders(parse_rights(text), "team-a/node-1") == [
        Holder("team-a/node-1", C, roles=("team-a",)),
        Holder("team-a/node-1", A, DAY_MS, ("team-a",), is_old=True),
    ]
    assert text.startswith("# ours\n")
    assert "[ identity . ann ]\n" in text
    # The one before that is no longer taken.
    again = parse_rights(with_new_key(text, "team-a/node-1", C[:-1] + "1", 2 * DAY_MS, 0))
    assert again.find(A, 0) == "its key is unknown"
    at_once = parse_rights(with_new_key(WRITTEN, "ann", C, old_until=5, now=5))
    assert at_once.find(B, 5) == "its key is unknown"


def test_an_old_key_does_not_outlive_its_identity() -> None:
    text = lines_of([Holder("ann", A, DAY_MS)])
    text = with_new_key(text, "ann", B, old_until=2 * DAY_MS, now=0)
    assert own_holders(parse_rights(text), "ann")[1].expires_at == DAY_MS
    assert "old_until = 1970-01-02" in text
