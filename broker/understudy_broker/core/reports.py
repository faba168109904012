"""Reports: replies that say what the broker knows of its peers. Part of the core, pure."""

from __future__ import annotations

from understudy_broker.core.authorization import Authorization
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.flow_control import LIGHT_BYTES_MAX, FlowControl
from understudy_broker.core.function_schemas import functions_report
from understudy_broker.core.members import Members
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.pauses import Pauses
from understudy_broker.core.quotas import Quotas
from understudy_broker.core.report import groups_report
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import FunctionsGet, GroupsReport, Response
from understudy_store.commands import Reply
from understudy_store.machine import Machine


class Reports:
    """Replies to `GroupsGet` and `FunctionsGet`."""

    def __init__(
        self,
        machine: Machine,
        dispatcher: Dispatcher,
        sessions: Sessions,
        members: Members,
        pauses: Pauses,
        outbox: Outbox,
        flow: FlowControl,
        metrics: Metrics,
        authorization: Authorization,
        quotas: Quotas,
    ) -> None:
        self._machine = machine
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._members = members
        self._pauses = pauses
        self._outbox = outbox
        self._flow = flow
        self._metrics = metrics
        self._authorization = authorization
        self._quotas = quotas

    def groups(self, session: Session, corr: int, identity: str | None, now: int) -> None:
        """Reply with the groups of which an identity may know."""
        numbers = self._metrics.read()
        report = groups_report(
            self._machine, self._dispatcher, self._sessions, self._members, self._pauses, numbers,
            now,
        )  # fmt: skip
        if self._authorization.is_on:
            shows = self._authorization.shows_group
            groups = tuple(each for each in report.groups if shows(identity, each.name))
            sees_all = "groups" in self._authorization.grant(identity).admin
            limited = tuple(
                each for each in self._quotas.limited(now) if sees_all or each[0] == identity
            )
            report = GroupsReport(groups, report.counters, limited)
        self._outbox.reply(session.peer, Response(corr, Reply(200), report))

    def functions(self, session: Session, corr: int, command: FunctionsGet, _now: int) -> None:
        """Reply with a page of the functions of a group."""
        nodes = [
            each.schemas
            for each in self._sessions
            if each.kind == "node" and each.group == command.group
        ]
        report = functions_report(command, nodes)
        size = sum(len(each.schema) for each in report.functions)
        if size > LIGHT_BYTES_MAX:
            self._flow.owe(session.peer, size)
        self._outbox.reply(session.peer, Response(corr, Reply(200), functions=report))
