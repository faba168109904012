"""The handler of webhooks: checks the signature, and starts a call or settles a promise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from understudy.edge.edge import Edge
from understudy.edge.hooks import Hook
from understudy.edge.native import hooks
from understudy.edge.native.bodies import NOTHING
from understudy.edge.native.calls import create_call, encoded_value
from understudy.edge.native.checks import shown
from understudy.edge.native.exchange import Exchange, Handler, answer
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.paths import path_of
from understudy.edge.native.problems import Problem, of_reply
from understudy.edge.native.promises import create_promise
from understudy.edge.native.schemas import Arguments
from understudy.edge.native.signatures import verify
from understudy_actors.interpreter.child_commands import pending_record
from understudy_store.commands import PromiseSettle
from understudy_store.records import PROMISE_WORDS, RESOLVED, PromiseRecord, Value

_NO_PARAMETERS = Parameters(b"", ())


class HookHandlers:
    """Take webhooks.

    Parameters
    ----------
    wall_s
        The time of this machine, in seconds since 1970; tests replace it.
    """

    def __init__(self, edge: Edge, wall_s: Callable[[], float] = time.time) -> None:
        self._brokers = edge.brokers
        self._hooks = {hook.name: hook for hook in edge.settings.hooks}
        self._wall_s = wall_s

    def table(self) -> dict[str, dict[str, Handler]]:
        """Return path templates with their handlers by method."""
        return {"/hooks/{name}": {"POST": self.take}}

    async def take(self, exchange: Exchange) -> Response:
        """Take an event."""
        hook = self._hooks.get(exchange.names["name"])
        if hook is None:
            raise Problem(404, f"there is no hook {shown(exchange.names['name'])} at this edge")
        body = await exchange.body()
        headers = exchange.all_headers()
        verify(hook.scheme, hook.secrets, headers, body, self._wall_s())
        payload = hooks.payload_of(body, headers.get("content-type"))
        challenge = hooks.challenge_of(hook, payload)
        if challenge is not None:
            return answer({"challenge": challenge})
        payload = None if payload is NOTHING else payload
        if hook.promise:
            return _told(await self._resolve(hook, payload))
        id_ = hooks.event_id(hook, payload, body)
        return _told(await self._call(hook, id_, payload, headers))

    async def _call(
        self, hook: Hook, id_: str, payload: Any, headers: dict[str, str]
    ) -> PromiseRecord:
        """Start the call of an event. If it comes again, it is the call that there is."""
        await self._brokers.wait_clock()
        now_ms = self._brokers.clock()
        arguments: Arguments = ((payload, hooks.passed_headers(headers)), {})
        create = create_call(
            hook.group, hook.function, id_, arguments, _NO_PARAMETERS, now_ms, headers
        )
        reply = await self._brokers.ask(create)
        if not reply.ok:
            raise of_reply(reply)
        return reply.promise or pending_record(create, now_ms)

    async def _resolve(self, hook: Hook, payload: Any) -> PromiseRecord:
        """Resolve the promise of an event, which may be faster than the function that waits."""
        id_ = hooks.promise_id(hook, payload)
        settle = PromiseSettle(id_, RESOLVED, Value({}, encoded_value(payload)))
        reply = await self._brokers.ask(settle)
        if reply.status == 404:
            await self._brokers.wait_clock()
            create = create_promise(id_, NOTHING, _NO_PARAMETERS, self._brokers.clock())
            created = await self._brokers.ask(create)
            if not created.ok:
                raise of_reply(created)
            reply = await self._brokers.ask(settle)
        if reply.promise is None:
            raise of_reply(reply)
        return reply.promise


def _told(record: PromiseRecord) -> Response:
    """Return the answer for the sender, who needs to know no more."""
    data = {"id": record.id, "state": PROMISE_WORDS[record.state]}
    return answer(data, 200 if record.settled else 202, {"location": path_of("calls", record.id)})
