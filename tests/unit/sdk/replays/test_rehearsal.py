"""The report of a rehearsal: what is counted together, and the exit code."""

from __future__ import annotations

from understudy.replays.rehearsal import Rehearsal, Verdict


def mismatch(number: int, asked: str = "sleep", step: str = "1") -> Verdict:
    id = f"order-{number}"
    return Verdict(
        id, "checkout", 2, "mismatch", 4, f"{id}.{step}", "rpc charge", "shop.py:7", asked,
        "shop.py:8",
    )  # fmt: skip


def goes_on(number: int) -> Verdict:
    return Verdict(f"order-{number}", "checkout", 2, "goes_on", 4)


def test_calls_that_break_for_one_reason_are_one_cause() -> None:
    own = [mismatch(n, f"rpc ship with the id box-{n}") for n in (6, 7)]
    rehearsal = Rehearsal(
        [
            goes_on(1),
            *(mismatch(n) for n in range(2, 6)),
            *own,
            Verdict("o", "refund", 0, "no_function", text="it is gone"),
        ]
    )
    assert (rehearsal.calls, rehearsal.breaks, rehearsal.unknown) == (8, 7, 0)
    assert [(cause.count, cause.examples) for cause in rehearsal.causes] == [
        (4, ["order-2", "order-3", "order-4"]),
        (2, ["order-6", "order-7"]),
        (1, ["o"]),
    ]
    assert rehearsal.is_known(mismatch(99))
    assert not rehearsal.is_known(mismatch(99, "promise"))
    text = rehearsal.as_text("of group shop")
    assert text.startswith("8 calls of group shop under way: 1 go on, 7 break.\n\n")
    assert (
        "4 calls of checkout version 2: the code makes another call than is recorded\n"
        "  recorded  rpc charge  shop.py:7\n"
        "  now       sleep  shop.py:8\n"
        "  calls     order-2 (at order-2.1), order-3, order-4, 1 more"
    ) in text
    assert "1 call of refund: it is gone\n  calls     o" in text
    data = rehearsal.as_data()
    assert (data["calls"], data["go_on"], data["break"]) == (8, 1, 7)
    assert data["causes"][2] == {
        "kind": "no_function", "count": 1, "function": "refund", "text": "it is gone",
        "examples": ["o"],
    }  # fmt: skip


def test_the_exit_code_tells_breaks_from_what_is_not_known() -> None:
    unknown = Verdict("x", "checkout", 0, "hangs", text="it hangs")
    assert Rehearsal().exit_code == 0
    assert Rehearsal([goes_on(1)]).exit_code == 0
    assert Rehearsal([goes_on(1), unknown]).exit_code == 2
    assert Rehearsal([unknown, mismatch(1)]).exit_code == 1
    assert [c.first.kind for c in Rehearsal([unknown, unknown, mismatch(1)]).causes] == [
        "mismatch",
        "hangs",
    ]
    assert "nothing that could break" in Rehearsal().as_text("of group shop")
