"""The handlers of schedules and groups."""

from __future__ import annotations

from starlette.responses import Response

from understudy.edge.edge import Edge
from understudy.edge.native import schedules
from understudy.edge.native.calls import arguments_of
from understudy.edge.native.conflicts import check_same_schedule
from understudy.edge.native.exchange import Exchange, Handler, answer
from understudy.edge.native.functions import Functions, report_of
from understudy.edge.native.handlers import page_data
from understudy.edge.native.openapi import Described, document
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.paths import path_of
from understudy.edge.native.problems import Problem, of_reply
from understudy.views.groups import groups_json
from understudy.views.records import schedule_json
from understudy_broker.protocol.messages import GroupPause
from understudy_store.commands import (
    ScheduleDelete,
    ScheduleGet,
    ScheduleResume,
    StoreCommand,
)
from understudy_store.machine.schedule_runs import promise_id


class ScheduleHandlers:
    """Create, read, list, change, pause, trigger and delete schedules."""

    def __init__(self, edge: Edge, functions: Functions) -> None:
        self._brokers = edge.brokers
        self._functions = functions

    def table(self) -> dict[str, dict[str, Handler]]:
        """Return path templates with their handlers by method."""
        return {
            "/schedules": {"GET": self.list},
            "/schedules/{id}": {
                "GET": self.read,
                "PUT": self.create,
                "PATCH": self.update,
                "DELETE": self.delete,
            },
            "/schedules/{id}/next": {"GET": self.next},
            "/schedules/{id}/pause": {"POST": self.pause},
            "/schedules/{id}/resume": {"POST": self.resume},
            "/schedules/{id}/trigger": {"POST": self.trigger},
        }

    async def list(self, exchange: Exchange) -> Response:
        """List schedules."""
        search = schedules.search(exchange.parameters(*schedules.SEARCH_PARAMETERS))
        reply = await self._brokers.ask(search)
        if not reply.ok:
            raise of_reply(reply)
        shown = [schedule_json(each) for each in reply.schedules or ()]
        return answer(page_data(shown, reply.cursor))

    async def read(self, exchange: Exchange) -> Response:
        """Read a schedule."""
        exchange.parameters()
        reply = await self._brokers.ask(ScheduleGet(exchange.names["id"]))
        if reply.schedule is None:
            raise of_reply(reply)
        return answer(schedule_json(reply.schedule))

    async def create(self, exchange: Exchange) -> Response:
        """Create a schedule."""
        parameters = exchange.parameters(*schedules.CREATE_PARAMETERS)
        awaits_function = parameters.choice("unknown", ("wait", "refuse")) == "wait"
        arguments = arguments_of(await exchange.json())
        # Checked first, because it says best what is wrong.
        schedules.create_schedule(exchange.names["id"], arguments, parameters)
        group, function = parameters.text("group") or "", parameters.text("function") or ""
        if not awaits_function:
            await self._functions.check(group, function, parameters.version())
        arguments = await self._functions.arguments(
            group, function, parameters.version(), arguments
        )
        create = schedules.create_schedule(exchange.names["id"], arguments, parameters)
        reply = await self._brokers.ask(create)
        if reply.schedule is None:
            raise of_reply(reply)
        if reply.status != 201 and not create.replace:
            check_same_schedule(create, reply.schedule)
        location = {"location": path_of("schedules", create.id)}
        return answer(schedule_json(reply.schedule), 201 if reply.status == 201 else 200, location)

    async def delete(self, exchange: Exchange) -> Response:
        """Delete a schedule. Calls that it has made continue."""
        exchange.parameters()
        await exchange.no_body()
        reply = await self._brokers.ask(ScheduleDelete(exchange.names["id"]))
        if not reply.ok:
            raise of_reply(reply)
        return Response(status_code=204)

    async def update(self, exchange: Exchange) -> Response:
        """Change when a schedule is due, and its rules."""
        parameters = exchange.parameters(*schedules.UPDATE_PARAMETERS)
        await exchange.no_body()
        return await self._changed(schedules.update(exchange.names["id"], parameters))

    async def pause(self, exchange: Exchange) -> Response:
        """Let a schedule make no more calls."""
        parameters = exchange.parameters(*schedules.PAUSE_PARAMETERS)
        await exchange.no_body()
        return await self._changed(schedules.pause(exchange.names["id"], parameters))

    async def resume(self, exchange: Exchange) -> Response:
        """Let a schedule go on."""
        exchange.parameters()
        await exchange.no_body()
        return await self._changed(ScheduleResume(exchange.names["id"]))

    async def _changed(self, command: StoreCommand) -> Response:
        reply = await self._brokers.ask(command)
        if reply.schedule is None:
            raise of_reply(reply)
        return answer(schedule_json(reply.schedule))

    async def trigger(self, exchange: Exchange) -> Response:
        """Make a call of a schedule now."""
        exchange.parameters()
        await exchange.no_body()
        command = schedules.trigger(exchange.names["id"], self._brokers.clock())
        reply = await self._brokers.ask(command)
        if reply.schedule is None:
            raise of_reply(reply)
        id_ = promise_id(reply.schedule, command.date)
        location = {"location": path_of("calls", id_)}
        return answer({"id": id_}, 201 if reply.status == 201 else 202, location)

    async def next(self, exchange: Exchange) -> Response:
        """Read when a schedule is due next."""
        parameters = exchange.parameters(*schedules.NEXT_PARAMETERS)
        reply = await self._brokers.ask(schedules.next_(exchange.names["id"], parameters))
        if reply.times is None:
            raise of_reply(reply)
        return answer({"times": reply.times})


class GroupHandlers:
    """Read, pause and resume the groups, and describe the functions that they have."""

    def __init__(self, edge: Edge, functions: Functions) -> None:
        self._brokers = edge.brokers
        self._functions = functions

    def table(self) -> dict[str, dict[str, Handler]]:
        """Return path templates with their handlers by method."""
        return {
            "/groups": {"GET": self.list},
            "/groups/{group}/pause": {"POST": self.pause},
            "/groups/{group}/resume": {"POST": self.resume},
            "/openapi.json": {"GET": self.describe},
        }

    async def list(self, exchange: Exchange) -> Response:
        """Read the groups with their nodes, and the brokers' counters."""
        exchange.parameters()
        report = await report_of(self._brokers)
        self._functions.take(report)
        return answer(groups_json(report))

    async def pause(self, exchange: Exchange) -> Response:
        """Give no more calls of a group, or of one of its functions, to nodes."""
        parameters = exchange.parameters("function", "reason")
        return await self._set(exchange, parameters, paused=True)

    async def resume(self, exchange: Exchange) -> Response:
        """Let a group, or one of its functions, go on."""
        return await self._set(exchange, exchange.parameters("function"), paused=False)

    async def _set(self, exchange: Exchange, parameters: Parameters, *, paused: bool) -> Response:
        await exchange.no_body()
        group, function = exchange.names["group"], parameters.text("function")
        if function == "":
            raise Problem(400, "name the function, or leave it out", parameter="function")
        reason = (parameters.text("reason") or "") if paused else ""
        reply = await self._brokers.ask(GroupPause(group, function or "", paused, reason))
        if not reply.ok:
            raise of_reply(reply)
        return answer({"group": group, "function": function, "paused": paused})

    async def describe(self, exchange: Exchange) -> Response:
        """Describe this API, with the functions that nodes have now."""
        exchange.parameters()
        groups = await self._functions.all()
        highest = {
            (group, name): schema.data
            for group, schemas in sorted(groups.items())
            for (name, _version), schema in sorted(schemas.items(), key=lambda item: item[0])
        }
        described = (Described(*key, schema) for key, schema in highest.items())
        return answer(document(described))
