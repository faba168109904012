"""all and race inside each other, failures among values, and the notes on failures."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import Harness, double
from understudy_actors.errors import CommandError, RequestError
from understudy_actors.node.fence_replies import failed
from understudy_store.records import HEADER_KIND, RESOLVED


class TestNesting:
    def test_all_in_all(self) -> None:
        def fn(ctx: Any) -> Any:
            pairs = [ctx.all([ctx.rfi("a", n), ctx.rfc("b", n)]) for n in range(2)]
            return (yield ctx.all([*pairs, ctx.all([]), ctx.lfi(double, 4)]))

        harness = Harness(fn)
        for id in ("root.4", "root.1", "root.2"):
            harness.resolve(id, id)
            assert harness.outcome is None
        harness.resolve("root.3", "root.3")
        assert harness.result == [["root.1", "root.2"], ["root.3", "root.4"], [], 8]

    def test_all_in_race_wins_when_all_of_it_have_settled(self) -> None:
        def fn(ctx: Any) -> Any:
            calls = ctx.all([ctx.rfi("a"), ctx.rfi("b")])
            return (yield ctx.race([calls, ctx.sleep(30)], cancel=True))

        harness = Harness(fn)
        harness.resolve("root.2", 2)
        assert harness.outcome is None
        harness.resolve("root.1", 1)
        assert harness.canceled == ["root.3"]
        harness.resolve("root.3")
        assert harness.result == [1, 2]

    def test_all_in_race_loses_and_what_it_waits_for_is_canceled(self) -> None:
        def fn(ctx: Any) -> Any:
            calls = ctx.all([ctx.rfi("a"), ctx.rfi("b")])
            return (yield ctx.race([calls, ctx.sleep(30)], cancel=True))

        harness = Harness(fn)
        harness.resolve("root.2", 2)
        harness.resolve("root.3")
        assert harness.canceled == ["root.1"]
        harness.resolve("root.1")
        assert harness.result is None

    def test_races_in_all_are_decided_and_cancel_at_once(self) -> None:
        def fn(ctx: Any) -> Any:
            races = [ctx.race([ctx.rfi("a", n), ctx.sleep(5)], cancel=True) for n in range(2)]
            return (yield ctx.all(races))

        harness = Harness(fn)
        assert len(harness.awaited) == 4, "whichever settles, something is to be done"
        harness.resolve("root.1", "quick")
        assert harness.canceled == ["root.2"]
        harness.resolve("root.2")
        harness.resolve("root.5")
        assert harness.canceled == ["root.2", "root.4"]
        harness.resolve("root.4")
        assert harness.result == ["quick", None]

    def test_races_in_all_that_cancel_nothing_need_one_callback(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("x"), ctx.race([ctx.rfi("a"), ctx.rfi("b")]), ctx.rfi("y")])

        assert len(Harness(fn).awaited) == 1

    def test_the_winner_of_a_race_of_races_is_what_settled_first(self) -> None:
        def fn(ctx: Any) -> Any:
            inner = ctx.race([ctx.rfi("a"), ctx.rfi("b")])
            return (yield ctx.race([inner, ctx.rfi("c")]))

        harness = Harness(fn)
        harness.resolve("root.2", "b")
        harness.resolve("root.4", "c")
        harness.resolve("root.1", "a")
        assert harness.result == "b"

    def test_a_race_that_settled_between_two_runs_is_decided_by_time(self) -> None:
        def fn(ctx: Any) -> Any:
            inner = ctx.race([ctx.rfi("a"), ctx.all([ctx.rfi("b"), ctx.rfi("c")])])
            return (yield ctx.race([ctx.rfi("d"), inner]))

        harness = Harness(fn)
        for id in ("root.3", "root.2", "root.1", "root.5"):
            harness.resolve(id, id)
        calls = [r for r in harness.promises.values() if r.param.headers[HEADER_KIND] != "race"]
        again = Harness(fn, env=harness.env, records=calls)
        assert again.result == harness.result == ["root.2", "root.3"]

    def test_an_all_that_is_found_settled_counts_from_its_last_promise(self) -> None:
        def fn(ctx: Any) -> Any:
            pair = ctx.all([ctx.rfi("a"), ctx.rfi("b")])
            return (yield ctx.race([pair, ctx.rfi("c")]))

        harness = Harness(fn)
        for id in ("root.1", "root.3", "root.2"):
            harness.resolve(id, id)
        calls = [r for r in harness.promises.values() if r.param.headers[HEADER_KIND] != "race"]
        again = Harness(fn, env=harness.env, records=calls)
        assert again.result == harness.result == "root.3"

    def test_one_race_may_stand_in_two_places(self) -> None:
        def fn(ctx: Any) -> Any:
            race = ctx.race([ctx.rfi("a"), ctx.rfi("b")])
            return (yield ctx.all([race, race]))

        harness = Harness(fn)
        harness.resolve("root.1", 1)
        harness.resolve("root.2", 2)
        assert harness.result == [1, 1]

    @pytest.mark.parametrize("first", ["root.1", "root.2", "root.4"])
    def test_the_winner_is_waited_for_if_only_the_history_of_its_slot_is_there(
        self, first: str
    ) -> None:
        """A history has the decision of a race, and not the calls of other slots."""

        def fn(ctx: Any) -> Any:
            inner = ctx.race([ctx.rfi("b"), ctx.rfi("c")])
            return (yield ctx.race([ctx.rfi("a"), inner]))

        harness = Harness(fn)
        calls = ["root.1", "root.2", "root.4"]
        for id in dict.fromkeys([first, *calls]):
            harness.resolve(id, id)
        assert harness.result == first
        races = [r for r in harness.promises.values() if r.param.headers[HEADER_KIND] == "race"]
        again = Harness(fn, env=harness.env, records=races)
        assert again.outcome is None
        for id in calls:
            again.resolve(id, id)
        assert again.result == first

    def test_map_stands_in_both(self) -> None:
        def fn(ctx: Any) -> Any:
            maps = ctx.all([ctx.map("f", range(2)), ctx.map("g", range(1))])
            return (yield ctx.race([maps, ctx.promise()]))

        harness = Harness(fn)
        for id in ("root.3", "root.4", "root.5"):
            harness.resolve(id, id)
        assert harness.result == [["root.3", "root.4"], ["root.5"]]

    def test_map_with_a_window_inside_is_refused_with_advice(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.map("f", range(5), window=2)])

        harness = Harness(fn)
        for id in harness.open():
            harness.resolve(id)
        with pytest.raises(RequestError, match=re.escape("pass ctx.begin_run of that")):
            _ = harness.result

    @pytest.mark.parametrize("seed", range(150))
    def test_replay_at_any_moment_gives_what_the_run_gave(self, seed: int) -> None:
        """Random trees, settled in random order; replayed from every prefix of the history."""
        shape = random.Random(seed)

        def tree(ctx: Any, choose: random.Random, depth: int) -> Any:
            kind = choose.choice(["call", "sleep", "step", "all", "race", "keep", "cancel"])
            if depth == 0 or kind in ("call", "sleep", "step"):
                if kind == "sleep":
                    return ctx.sleep(1)
                return ctx.lfi(double, 1) if kind == "step" else ctx.rfi("f", 1)
            items = [tree(ctx, choose, depth - 1) for _ in range(choose.randint(1, 3))]
            if kind in ("race", "cancel"):
                return ctx.race(items, cancel=kind == "cancel")
            return ctx.all(items, return_exceptions=kind == "keep")

        def fn(ctx: Any) -> Any:
            choose = random.Random(seed)
            try:
                first = yield ctx.all([tree(ctx, choose, 3)], return_exceptions=True)
                second = yield ctx.all([tree(ctx, choose, 2)])
            except RuntimeError as error:
                return [str(error), error.__notes__]
            return [_texts(first), _texts(second)]

        first = Harness(fn)
        _settle_all(first, shape)
        for length in range(0, len(first.log), 3):
            records = {record.id: record for record in first.log[:length]}
            again = Harness(fn, env=first.env, records=records.values())
            _settle_all(again, random.Random(seed + length))
            known = [r for r in first.log[:length] if r.param.headers[HEADER_KIND] == "race"]
            for record in known:
                if record.settled:
                    assert again.promises[record.id].value == record.value, "a winner stays"
            if length == len(first.log) - 1:
                assert again.result == first.result
        final = Harness(fn, env=first.env, records=first.promises.values())
        assert final.result == first.result

    def test_ten_thousand_races_cost_as_much_each_as_a_few(self) -> None:
        def fn(ctx: Any) -> Any:
            races = [ctx.race([ctx.rfi("f", n), ctx.sleep(5)]) for n in range(10_000)]
            return len((yield ctx.all(races)))

        harness = Harness(fn)
        harness.root.answered(10**6)
        harness.step(harness.root)
        ids = harness.open()
        for id in itertools.chain(ids[0::2], ids[1::2]):
            harness.resolve(id)
        assert harness.result == 10_000


def _texts(value: Any) -> Any:
    if isinstance(value, BaseException):
        return [str(value), value.__notes__]
    return [_texts(item) for item in value] if isinstance(value, list) else value


def _settle_all(harness: Harness, choose: random.Random) -> None:
    while (ids := harness.open()) and harness.outcome is None:
        harness.settle(choose.choice(ids))


class TestReturnExceptions:
    def test_failures_stand_among_the_values(self) -> None:
        def fn(ctx: Any) -> Any:
            calls = [ctx.rfi("a"), ctx.rfi("b"), ctx.rfi("c")]
            found = yield ctx.all(calls, return_exceptions=True)
            return [repr(value) for value in found]

        harness = Harness(fn)
        harness.resolve("root.2", 2)
        harness.reject("root.1", KeyError("one"))
        assert harness.outcome is None
        harness.reject("root.3", ValueError(3))
        assert harness.result == ["KeyError('one')", "2", "ValueError(3)"]

    def test_map_too(self) -> None:
        def fn(ctx: Any) -> Any:
            found = yield ctx.map("f", range(3), window=2, return_exceptions=True)
            return [repr(value) for value in found]

        harness = Harness(fn)
        harness.reject("root.1", ValueError("x"))
        harness.resolve("root.2")
        harness.resolve("root.3")
        assert harness.result == ["ValueError('x')", "None", "None"]

    def test_it_holds_for_its_own_items_only(self) -> None:
        def fn(ctx: Any) -> Any:
            inner = ctx.all([ctx.rfi("a"), ctx.rfi("b")])
            found = yield ctx.all([inner, ctx.rfi("c")], return_exceptions=True)
            return [repr(value) for value in found]

        harness = Harness(fn)
        harness.resolve("root.1")
        harness.reject("root.2", ValueError("b"))
        harness.resolve("root.3", 3)
        assert harness.result == ["ValueError('b')", "3"]

    @pytest.mark.parametrize("wrong", ["no", 1, None])
    def test_it_is_true_or_false(self, wrong: Any) -> None:
        def in_all(ctx: Any) -> Any:
            yield ctx.all([], return_exceptions=wrong)

        def in_map(ctx: Any) -> Any:
            yield ctx.map("f", [], return_exceptions=wrong)

        for fn in (in_all, in_map):
            with pytest.raises(ValueError, match="return_exceptions"):
                _ = Harness(fn).result


class TestNotes:
    @staticmethod
    def notes(fn: Any, failing: str) -> list[str]:
        harness = Harness(fn)
        for id in harness.open():
            if id == failing:
                harness.reject(id, ValueError("no"))
            else:
                harness.resolve(id)
        notes = _notes_of(harness)
        again = Harness(fn, env=harness.env, records=harness.promises.values())
        assert _notes_of(again) == notes, "the same in a replay"
        return notes

    def test_a_note_names_place_call_arguments_and_id(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("price", n, currency="EUR") for n in range(3)])

        (note,) = self.notes(fn, "root.2")
        assert re.fullmatch(
            r"item 1 of ctx\.all, counted from 0: rpc price\(1, currency='EUR'\), id root\.2, "
            r"called at interpreter/test_joins\.py:\d+",
            note,
        )

    def test_map_names_its_item(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.map("price", ["book", "pen"])

        (note,) = self.notes(fn, "root.2")
        assert note.startswith("item 1 of ctx.map, counted from 0: rpc price('pen'), id root.2")

    def test_each_level_has_a_note(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.sleep(1), ctx.race([ctx.rfi("a")]), ctx.all([ctx.rfi("b", 7)])])

        notes = self.notes(fn, "root.4")
        assert [note.partition(" called")[0] for note in notes] == [
            "item 0 of ctx.all, counted from 0: rpc b(7), id root.4,",
            "item 2 of ctx.all, counted from 0: ctx.all of 1",
        ]

    def test_a_step_is_named_with_its_arguments_and_no_address(self) -> None:
        class Opaque:
            pass

        def fail(ctx: Any, *args: Any) -> None:
            raise ValueError("no")

        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.lfi(fail, 5, Opaque(), {"b", "a"})])

        (note,) = _notes_of(Harness(fn))
        assert "run fail(5, <" in note
        assert " at 0x" not in note
        assert "{'a', 'b'}" in note, "in an order that does not change"

    def test_a_step_is_named_as_in_a_replay(self) -> None:
        def charge(ctx: Any, price: int) -> None:
            raise ValueError("no")

        def in_all(ctx: Any) -> Any:
            yield ctx.all([ctx.run(charge, 3), ctx.sleep(1)])

        def in_race(ctx: Any) -> Any:
            yield ctx.race([ctx.run(charge, 3), ctx.sleep(1)])

        for fn in (in_all, in_race):
            (note,) = self.notes(fn, "")
            assert "counted from 0: run charge(3), id root.1, called at" in note

    def test_the_version_follows_the_arguments(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("price", "pen").options(version=2)])

        (note,) = self.notes(fn, "root.1")
        assert "counted from 0: rpc price('pen'), version 2, id root.1" in note

    def test_a_call_that_the_store_refuses_is_named(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("price", 1).options(id="mine")])

        harness = Harness(fn)
        harness.root.learn(failed("mine", CommandError(409, "taken"), harness.env.values))
        harness.step(harness.root)
        (note,) = _notes_of(harness)
        assert "counted from 0: rpc price(1), id mine, called at" in note

    def test_long_arguments_are_cut(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("f", "x" * 900), ctx.rfi("f", "x" * 9_000)])

        (cut,) = self.notes(fn, "root.1")
        assert "rpc f('xxx" in cut
        assert "..." in cut
        assert len(cut) < 250
        (left_out,) = self.notes(fn, "root.2")
        assert "rpc f(…)" in left_out

    def test_a_deadline_and_a_promise_are_named_too(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([ctx.promise(id="approval")])

        (note,) = self.notes(fn, "approval")
        assert "promise, id approval" in note

    def test_a_class_that_takes_no_notes_is_raised_all_the_same(self) -> None:
        class Closed(ValueError):
            def add_note(self, note: str) -> None:
                raise TypeError("no notes")

        def fail(ctx: Any) -> None:
            raise Closed("no")

        def fn(ctx: Any) -> Any:
            try:
                yield ctx.all([ctx.lfi(fail)])
            except Exception as error:
                return str(error)

        assert "no" in Harness(fn).result


def _notes_of(harness: Harness) -> list[str]:
    assert harness.outcome is not None
    assert harness.outcome.state != RESOLVED
    assert harness.outcome.error is not None
    return list(harness.outcome.error.__notes__)
