"""Faults of deliveries by carriers, and of where an edge may push to."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit").mutant
_RELAY: Final = "broker/core/test_relay.py"
_REFUSALS: Final = "broker/core/test_relay_refusals.py"
_RETRIES: Final = "broker/core/test_relay_retries.py"
_MOVES: Final = "broker/core/test_relay_moves.py"
_HOSTS: Final = "sdk/edge/push/test_allow_list.py"
_NETWORKS: Final = "sdk/edge/push/test_networks.py"
_SIGNATURES: Final = "sdk/test_signatures.py"
_SCHEME: Final = "understudy_broker.core.relay_scheme"

_CARRIERS: Final = "understudy_broker.core.carriers"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "refusals-are-forgotten",
        None,
        "a carrier that has refused an address is not asked again",
        f"{_CARRIERS}.Carrier.refuse",
        drop("self._refused[address] = None"),
        _REFUSALS,
    ),
    _mutant(
        "a-refusal-ends-it",
        None,
        "another carrier is asked at once",
        f"{_SCHEME}.RelayScheme.forwarded",
        swap("if self._carriers.carry_to(delivery):", "if False:"),
        _REFUSALS,
    ),
    _mutant(
        "refused-by-all-for-ever",
        None,
        "what all carriers refuse is tried again, as any failure is",
        f"{_CARRIERS}.Carriers.next_for",
        swap("if not each.has_refused(address)] or those:", "if not each.has_refused(address)]:"),
        _REFUSALS,
    ),
    _mutant(
        "failed-unblock-acknowledged",
        13,
        "an unblock is owed until its receiver has taken it",
        f"{_SCHEME}.RelayScheme._end_unblock",
        swap("if error is None:", "if True:"),
        _RELAY,
    ),
    _mutant(
        "failed-unblock-forgotten",
        13,
        "a failed unblock is tried again",
        f"{_SCHEME}.RelayScheme._end_unblock",
        drop("heapq.heappush(self._retries, (self._now + pause_ms, delivery.key))"),
        _RELAY,
    ),
    _mutant(
        "failed-offer-left-to-the-store",
        None,
        "an offer that has failed is made again soon",
        f"{_SCHEME}.RelayScheme._pause",
        swap("if pause_ms <= OFFER_PAUSE_MS_MAX:", "if False:"),
        _RETRIES,
    ),
    _mutant(
        "offers-of-acquired-tasks-have-failed",
        None,
        "an offer whose task is acquired has not failed, however it ends",
        f"{_SCHEME}.RelayScheme._end_offer",
        swap("error is not None and self._is_wanted(delivery)", "error is not None"),
        _RETRIES,
    ),
    _mutant(
        "a-dead-place-is-asked-as-often",
        None,
        "a place that is down for long is asked as seldom as the store offers",
        f"{_SCHEME}.RelayScheme._pause",
        swap(
            "max(OFFER_RETRY_MS << min(delivery.attempts - 1, 32), failing_ms)",
            "OFFER_RETRY_MS << min(delivery.attempts - 1, 32)",
        ),
        _RETRIES,
    ),
    _mutant(
        "settled-tasks-stay-in-their-pause",
        None,
        "nothing is kept of a task that has settled",
        f"{_SCHEME}.RelayScheme.withdraw",
        drop("self._pausing.pop((target, task_id), None)"),
        _RETRIES,
    ),
    _mutant(
        "no-rest-for-a-busy-receiver",
        None,
        "a place rests as long as its receiver wants",
        f"{_SCHEME}.RelayScheme.assign",
        swap("self._states.rests(place)", "False"),
        _RETRIES,
    ),
    _mutant(
        "carrier-takes-deliveries-along",
        13,
        "what a carrier that is gone had in flight goes to another",
        f"{_SCHEME}.RelayScheme.drop",
        drop("self._put_again(delivery)"),
        _RELAY,
    ),
    _mutant(
        "a-place-takes-all-the-credit",
        None,
        "a place that hangs leaves room for the others",
        f"{_CARRIERS}.Carrier.may_take",
        swap("max(1, left // 2)", "left"),
        _RELAY,
    ),
    _mutant(
        "carriers-get-what-others-can-deliver",
        None,
        "a carrier that names places gets what is for them, and nothing else",
        f"{_CARRIERS}.Carrier.carry",
        swap("message.places or message.schemes", "message.schemes"),
        _RELAY,
    ),
    _mutant(
        "a-backlog-is-put-again-and-again",
        None,
        "what lies in a queue is offered again after as long as it has waited, at least",
        f"{_SCHEME}.RelayScheme._end_offer",
        swap("grow=error is None", "grow=False"),
        _RELAY,
    ),
    _mutant(
        "an-offer-put-off-for-ever",
        13,
        "an offer that is put off is made again",
        "understudy_store.machine.offers.put_off",
        drop("s.offers_due.arm(task.retry_at, task.id)"),
        _RELAY,
    ),
    _mutant(
        "carrier-beyond-its-credit",
        None,
        "no more is in flight than the credit",
        f"{_CARRIERS}.Carrier.room",
        swap("max(0, self.credit - len(self.in_flight))", "self.credit"),
        _RELAY,
    ),
    _mutant(
        "offers-of-tasks-that-are-taken",
        15,
        "a task that was taken meanwhile is not offered",
        f"{_SCHEME}.RelayScheme._is_wanted",
        swap("execute is not None and execute.version == delivery.version", "True"),
        _RELAY,
    ),
    _mutant(
        "answers-to-an-earlier-offer",
        None,
        "an answer ends only the delivery of its version",
        f"{_CARRIERS}.Carrier.end",
        swap("delivery is None or delivery.version != version", "delivery is None"),
        _RELAY,
    ),
    _mutant(
        "offered-anew-and-forgotten",
        18,
        "a task that was let go while its offer was in flight is offered again",
        f"{_SCHEME}.RelayScheme.offer",
        swap(
            "None if flies.version == execute.version else execute.version",
            "None",
        ),
        _RELAY,
    ),
    _mutant(
        "deliveries-stay-when-slots-leave",
        27,
        "a broker delivers nothing about slots that have left it",
        "understudy_broker.core.core.BrokerCore.__init__",
        swap("poll.forget, relay.forget", "poll.forget"),
        _MOVES,
    ),
    _mutant(
        "private-addresses-are-pushed-to",
        None,
        "a private address is pushed to only where the allow-list says so",
        "understudy.edge.push.allow_list.AllowList.check_address",
        swap('reach == "public" and rules', "rules"),
        _HOSTS,
    ),
    _mutant(
        "metadata-by-a-private-name",
        None,
        "a name of one's own network does not lead to the secrets of the machine",
        "understudy.edge.push.allow_list.AllowList.check_address",
        swap('(reach == "private" or host == str(address))', "True"),
        _HOSTS,
    ),
    _mutant(
        "addresses-in-disguise",
        None,
        "an IPv4 address is judged within an IPv6 address too",
        "understudy.edge.push.networks.reach_of",
        swap("(address, *embedded)", "(address,)"),
        _NETWORKS,
    ),
    Area("tests/integration").mutant(
        "addresses-of-grpc-unchecked",
        None,
        "a private address is pushed to only where the allow-list says so, over gRPC too",
        "understudy.edge.grpc.pusher._passed",
        swap("allowed.check_address(place.scheme, place.host, place.port, address)", "pass"),
        "sdk/edge/grpc/test_pusher.py",
    ),
    _mutant(
        "suspended-tasks-are-never-let-go",
        None,
        "a receiver that holds its answer hears when a task is suspended",
        "understudy_actors.node.state.NodeState.keep_warm",
        drop("self.on_let_go(activation.id, activation.version)"),
        "actors/node/test_let_go.py",
    ),
    _mutant(
        "old-pushes-are-taken",
        None,
        "a push that was signed long ago is refused",
        "understudy.signatures.verify",
        swap("apart_s > TOLERANCE_S", "False"),
        _SIGNATURES,
    ),
)
