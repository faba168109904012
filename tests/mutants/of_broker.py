"""Faults of the broker: its batches, frames, delayed replies, and signals."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_CORE: Final = "core/test_core.py"
_IDLE: Final = "core/test_idle_steps.py"
_FRAMES: Final = "protocol/test_frames.py"
_FLOW: Final = "core/test_flow_control.py"
_MEMBERS: Final = "core/test_membership.py"
_COALESCER: Final = "core/test_reply_coalescer.py"
_CORE_RANDOM: Final = "core/test_core_random.py"
_SEARCH_QUEUE: Final = "core/test_search_queue.py"
_WATCHES: Final = "core/test_watches.py"
_STOP_SIGNALS: Final = "tests/integration/broker/test_stop_signals.py"
_SERVER: Final = "tests/integration/broker/test_server.py"

_BATCHES: Final = (
    _mutant(
        "idle-with-work-to-do",
        18,
        "a step is idle only if nothing but heartbeats has arrived",
        "understudy_broker.core.receiver.Receiver.receive",
        drop("self.has_input = True"),
        _IDLE,
    ),
    _mutant(
        "idle-with-a-peer-lost",
        18,
        "a lost connection is dealt with at once",
        "understudy_broker.core.core.BrokerCore.connection_lost",
        drop("self._receiver.has_input = True"),
        _IDLE,
    ),
    _mutant(
        "answered-before-its-commit",
        17,
        "no reply is sent before its commit, because a client could see the promise vanish",
        "understudy_broker.core.requests.RequestHandlers._reply",
        swap(
            "self._outbox.reply("
            "session.peer, Response(corr, reply), may_be_delayed=may_be_delayed)",
            "getattr(self._outbox, 'add_urgent')(session.peer, Response(corr, reply))",
        ),
        _CORE,
    ),
    _mutant(
        "refused-and-performed",
        None,
        "a command that is not permitted is not performed",
        "understudy_broker.core.requests.RequestHandlers._permits",
        swap("refusal is not None", "not command"),
        "core/test_authorization.py",
    ),
    _mutant(
        "performed-without-its-rows",
        None,
        "requests wait for their rows, however late the store answers",
        "understudy_broker.core.core.BrokerCore.step",
        swap("self._rows is None", "self._rows is None and self.committing"),
        "core/test_late_lookups.py",
    ),
    _mutant(
        "created-and-not-watched",
        None,
        "a caller is told how its call ended",
        "understudy_broker.core.requests.RequestHandlers._create_watched",
        drop("self._add_watches(session, [promise.id])"),
        _WATCHES,
    ),
    _mutant(
        "settled-at-once-and-not-said",
        None,
        "the reply to a call past its deadline holds its result, because no push follows",
        "understudy_broker.core.requests.RequestHandlers._create_watched",
        swap(
            "reply.ok and promise is not None and not promise.settled",
            "reply.ok and promise is not None",
        ),
        _WATCHES,
    ),
    _mutant(
        "calls-watched-without-bound",
        None,
        "the number of watches is bounded, because they are in memory",
        "understudy_broker.core.requests.RequestHandlers._create_watched",
        swap("len(session.watches) >= self._config.watches_max", "not session"),
        _WATCHES,
    ),
    _mutant(
        "invoked-before-its-commit",
        10,
        "a version is handed out when its acquisition is on disk",
        "understudy_broker.core.poll_scheme.PollScheme._push",
        swap(
            "self._outbox.add(session.peer, Invoke(promise, 1))",
            "getattr(self._outbox, 'add_urgent')(session.peer, Invoke(promise, 1))",
        ),
        _CORE,
    ),
    _mutant(
        "settlement-told-before-its-commit",
        17,
        "watchers hear only of settlements on disk",
        "understudy_broker.core.delivery.Delivery._tell_settled",
        swap(
            "self._outbox.add(peer, Settled(promises))",
            "getattr(self._outbox, 'add_urgent')(peer, Settled(promises))",
        ),
        _WATCHES,
    ),
    _mutant(
        "committed-after-the-send",
        17,
        "the server sends the messages of a batch when its commit has returned",
        "understudy_broker.server.group_commit.GroupCommit.commit",
        swap(
            "result = self._store.commit(batch.changes, reads, self._on_done, "
            "attended=self._attended)\n"
            "return None if result is None else self._finish(result)",
            "frames = self._finish([])\n"
            "self._store.commit(batch.changes, reads, self._on_done)\n"
            "return frames",
        ),
        f"{_SERVER}::test_a_failed_commit_stops_the_broker",
    ),
    _mutant(
        "failed-commit-ignored",
        17,
        "a broker whose commit failed stops, and sends no message of that batch",
        "understudy_broker.server.group_commit.GroupCommit._finish",
        swap(
            "(result, StoreFailedError):\n    raise",
            "(result, StoreFailedError):\n    result = []\nif result is None:\n    raise",
        ),
        f"{_SERVER}::test_a_failed_commit_stops_the_broker",
    ),
    _mutant(
        "history-not-forgotten",
        None,
        "memory grows with live work, not with history",
        "understudy_broker.core.core.BrokerCore.committed",
        drop("self.machine.committed(batch.changes)"),
        _CORE,
        _FLOW,
        _CORE_RANDOM,
    ),
    _mutant(
        "preload-in-another-place",
        None,
        "a message that waits for a read holds its place",
        "understudy_broker.core.outbox.Outbox.add_with_read",
        swap("len(batch.messages[peer]) - 1", "0"),
        _CORE,
        _CORE_RANDOM,
    ),
    _mutant(
        "failures-forgotten-on-the-way",
        None,
        "retries end on any node, because a resume carries the number of failures",
        "understudy_broker.core.outbox.BatchOutbox.fill",
        swap("preload, message.failures", "preload"),
        _CORE,
    ),
    _mutant(
        "answered-requests-still-count",
        None,
        "a request counts as unanswered until it is answered, and no longer",
        "understudy_broker.core.flow_control.FlowControl.on_committed",
        swap("max(0, session.inflight - count)", "max(1, session.inflight - count)"),
        _CORE,
    ),
    _mutant(
        "unanswered-without-bound",
        None,
        "the unanswered requests of a peer are bounded",
        "understudy_broker.core.flow_control.FlowControl.admit",
        swap(
            "session.inflight >= config.inflight_max",
            "session.inflight > 2 * config.inflight_max",
        ),
        _CORE,
    ),
    _mutant(
        "anyones-lease",
        11,
        "a peer takes and renews leases in its own name only",
        "understudy_broker.core.requests.RequestHandlers._apply_for_own_pid",
        swap("command.pid != session.pid", "not command.pid"),
        _CORE,
    ),
    _mutant(
        "lease-of-an-ended-session",
        None,
        "a session that has ended takes no task",
        "understudy_broker.core.requests.RequestHandlers._apply_for_own_pid",
        swap("is not session", "is None"),
        _MEMBERS,
    ),
    _mutant(
        "loser-not-told",
        None,
        "a node that loses a task is told",
        "understudy_broker.core.delivery.Delivery.settle",
        drop("self._outbox.add(loser.peer, revoked)"),
        _CORE,
    ),
    _mutant(
        "watched-for-ever",
        None,
        "a watch ends with its connection",
        "understudy_broker.core.membership.Membership._drop",
        drop("self._watches.drop(session)"),
        _WATCHES,
        _MEMBERS,
    ),
    _mutant(
        "told-of-what-it-unwatched",
        None,
        "a watch ends with an unwatch",
        "understudy_broker.core.watches.Watches.remove",
        drop("watchers.pop(session, None)"),
        _WATCHES,
    ),
    _mutant(
        "unblock-sent-once",
        13,
        "an unblock is sent until it is acknowledged",
        "understudy_broker.core.poll_scheme.PollScheme.tick",
        swap("self._unblocks.for_group(group, self._sessions, self._members)", "()"),
        _CORE,
    ),
    _mutant(
        "unblock-not-kept-for-the-absent",
        13,
        "an unblock waits for its group to connect",
        "understudy_broker.core.poll_scheme.PollScheme._send_owed",
        swap("receiver is session", "receiver is None"),
        _CORE,
    ),
    _mutant(
        "acknowledged-in-memory-only",
        13,
        "an acknowledged unblock is owed no longer, after a restart either",
        "understudy_broker.core.poll_scheme.PollScheme.acknowledge",
        drop("self._machine.acknowledge(ack.id, ack.address)"),
        _CORE,
    ),
)

_FRAMES_IN_ORDER: Final = (
    _mutant(
        "frame-taken-twice",
        None,
        "a frame that comes again does nothing",
        "understudy_broker.core.receiver.Receiver.receive",
        swap('place != "next"', 'place == "gap"'),
        _CORE,
    ),
    _mutant(
        "gap-in-frames-ignored",
        None,
        "if a frame is missing, no later one is performed",
        "understudy_broker.protocol.frames.FrameSequence.check",
        swap('_NUMBER_MASK // 2 else "gap"', '_NUMBER_MASK // 2 else "next"'),
        _CORE,
        _FRAMES,
    ),
    _mutant(
        "gap-does-not-end-the-connection",
        None,
        "if a frame is missing, the connection is over",
        "understudy_broker.core.receiver.Receiver._on_out_of_order",
        drop('self._membership.connection_lost(session.peer, now, "frames are missing")'),
        _CORE,
    ),
    _mutant(
        "frames-unnumbered",
        None,
        "a peer that numbers its frames gets numbered ones",
        "understudy_broker.core.outbox.Outbox._pack",
        swap("None if session is None else session.sequence", "None"),
        _CORE,
    ),
    _mutant(
        "count-of-a-frame-believed",
        None,
        "a small frame that announces many messages is refused before they are made",
        "understudy_broker.protocol.frames._decode",
        swap("count > messages_max", "count > messages_max * 2"),
        f"{_FRAMES}::test_the_statuses",
    ),
    _mutant(
        "bad-request-spoils-its-frame",
        None,
        "a bad request does not affect the others in its frame",
        "understudy_broker.core.receiver.Receiver._salvage",
        swap("error.status == 400", "error.status == 413"),
        _CORE,
    ),
)

_DELAYED_REPLIES: Final = (
    _mutant(
        "reply-delayed-for-ever",
        None,
        "a delayed reply leaves when its time is over",
        "understudy_broker.core.reply_coalescer.ReplyCoalescer.delay",
        swap("now + self.delay_ms", "None"),
        _COALESCER,
    ),
    _mutant(
        "delayed-reply-lost",
        None,
        "a delayed reply travels with the next frame",
        "understudy_broker.core.reply_coalescer.ReplyCoalescer.merge_into",
        swap("messages if delayed is None else delayed + messages", "messages"),
        _COALESCER,
    ),
    _mutant(
        "reply-to-a-step-delayed",
        None,
        "the reply to a stored step is sent at once, because its function waits for it",
        "understudy_broker.core.reply_coalescer.may_be_delayed",
        swap("PromiseSettle not in map(type, command.commands)", "bool(command.commands)"),
        _COALESCER,
    ),
    _mutant(
        "replies-delayed-without-bound",
        None,
        "the delayed replies of one peer are bounded",
        "understudy_broker.core.reply_coalescer.ReplyCoalescer.delay",
        swap("len(delayed) + len(messages) > DELAYED_MAX", "len(delayed) < 0"),
        _COALESCER,
    ),
    _mutant(
        "large-answers-without-bound",
        None,
        "the bytes of replies owed to a peer are bounded",
        "understudy_broker.core.flow_control.ReplyBudget.owe",
        swap("owed + self.sent.get(peer, 0) >= self.bytes_max", "owed >= 4 * self.bytes_max"),
        _FLOW,
    ),
    _mutant(
        "put-off-for-ever",
        18,
        "deferred requests are performed when the peer has received its replies",
        "understudy_broker.core.flow_control.ReplyBudget.on_drained",
        swap("self.sent.pop(peer, None)", "self.sent.get(peer)"),
        _FLOW,
    ),
)

_SIGNALS: Final = (
    _mutant(
        "ignored-hangup-stops",
        None,
        "a process that began with SIGHUP ignored, as under nohup, ignores it",
        "understudy_broker.process.signals_to_handle",
        swap("number != signal.SIGHUP or is_default", "True"),
        _STOP_SIGNALS,
    ),
    _mutant(
        "second-hangup-kills",
        None,
        "a terminal that closes asks once, however often it says so",
        "understudy_broker.process.is_repeated",
        swap("number == signal.SIGHUP", "False"),
        _STOP_SIGNALS,
    ),
)

_SEARCHING: Final = (
    _mutant(
        "searches-all-at-once",
        None,
        "one search is under way at a time",
        "understudy_broker.core.search_queue.SearchQueue.begin",
        swap("self.under_way is not None", "False"),
        _SEARCH_QUEUE,
    ),
    _mutant(
        "searches-of-one-peer-first",
        None,
        "peers take turns with their searches",
        "understudy_broker.core.search_queue.SearchQueue.begin",
        swap(
            "del self._waiting[peer]\nif queue:\n    self._waiting[peer] = queue",
            "if not queue:\n    del self._waiting[peer]",
        ),
        f"{_SEARCH_QUEUE}::test_peers_take_turns",
    ),
    _mutant(
        "searches-without-bound",
        None,
        "searches that wait are bounded for a peer and for all",
        "understudy_broker.core.search_queue.SearchQueue.admit",
        swap("self._total >= self._total_max", "False"),
        _SEARCH_QUEUE,
    ),
    _mutant(
        "searches-of-a-peer-without-bound",
        None,
        "searches that wait are bounded for a peer and for all",
        "understudy_broker.core.search_queue.SearchQueue.admit",
        swap("count >= self._peer_max", "False"),
        _SEARCH_QUEUE,
    ),
    _mutant(
        "search-before-its-commit",
        None,
        "a search begins once all that its peer asked for before is committed",
        "understudy_broker.core.searches.Searches.ask",
        swap(
            "self._outbox.add_search(search)",
            "self.queue.add([search])",
        ),
        _SEARCH_QUEUE,
    ),
    _mutant(
        "searches-for-the-deaf",
        None,
        "no page is read for a peer that takes none",
        "understudy_broker.core.flow_control.FlowControl.takes_replies",
        swap("self.budget.sent.get(peer, 0) < self.budget.bytes_max", "True"),
        _FLOW,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    *_BATCHES,
    *_FRAMES_IN_ORDER,
    *_DELAYED_REPLIES,
    *_SIGNALS,
    *_SEARCHING,
)
