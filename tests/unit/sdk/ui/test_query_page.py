"""Where people log in, SQL is for those to whom brokers would show everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from starlette.datastructures import QueryParams

from understudy.edge.tokens.gate import TokenGate
from understudy.ui.inquiries import Inquiries
from understudy.ui.pages.query import answered, query
from understudy.ui.ports import BrokersPort, RefusedError
from understudy.ui.settings import UiSettings
from understudy.ui.ui import Ui
from understudy_broker.protocol.messages import OwnCommand
from understudy_store.commands import PromiseSearch, Reply, ScheduleSearch, TaskSearch
from understudy_store.inquiry.base import Answer, Inquirer, InquiryError


class Brokers:
    """Brokers that refuse some kinds of commands."""

    kind = "broker"
    name = "tcp://here"

    def __init__(self, *refused: type[Any]) -> None:
        self._refused = refused

    def now_ms(self) -> int:
        return 0

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        """Answer each command."""
        await trio.lowlevel.checkpoint()
        return [
            Reply(403, "ann has no right to it") if isinstance(each, self._refused) else Reply(200)
            for each in commands
        ]


class Counting:
    """An inquirer that counts its questions."""

    name = "here"

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, question: str) -> Answer:
        self.asked += 1
        return Answer(("q",), [(question,)], True, 0.0)


def page(brokers: Brokers, *, has_gate: bool = True) -> tuple[Ui, Counting]:
    gate = cast("TokenGate", object()) if has_gate else None
    ui = Ui(UiSettings("", "127.0.0.1", 0), cast("BrokersPort", brokers), None, gate)
    counting = Counting()
    ui.inquiries = Inquiries(cast("Inquirer", counting))
    return ui, counting


@pytest.mark.parametrize("refused", [PromiseSearch, TaskSearch, ScheduleSearch])
async def test_a_role_that_may_not_list_everything_asks_nothing(refused: type[Any]) -> None:
    ui, counting = page(Brokers(refused))
    for ask in (query, answered):
        with pytest.raises(RefusedError, match="ann has no right to it"):
            await ask(ui, QueryParams({"sql": "select 1"}))
    assert counting.asked == 0


async def test_others_are_answered() -> None:
    for has_gate, brokers in ((True, Brokers()), (False, Brokers(TaskSearch))):
        ui, counting = page(brokers, has_gate=has_gate)
        view = await query(ui, QueryParams({"sql": " select 1 "}))
        assert view.context["answer"]["rows"] == [[{"kind": "text", "text": "select 1"}]]
        assert (await answered(ui, QueryParams({"sql": "select 2"}))).rows == [("select 2",)]
        assert counting.asked == 2


async def test_without_a_store_nothing_is_asked(tmp_path: Path) -> None:
    ui = Ui(UiSettings("", "127.0.0.1", 0), cast("BrokersPort", Brokers()))
    assert (await query(ui, QueryParams({"sql": "select 1"}))).context["store"] == ""
    with pytest.raises(InquiryError, match="knows no store"):
        await answered(ui, QueryParams({"sql": "select 1"}))
    settings = UiSettings("", "127.0.0.1", 0, query=str(tmp_path / "absent.db"))
    view = await query(Ui(settings, cast("BrokersPort", Brokers())), QueryParams({"sql": "select"}))
    assert "there is no store" in view.context["wrong"]
