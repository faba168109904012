"""The plan of a seed, drawn before anything happens: processes, their work, and faults.

Each seed draws its own mixture of faults ("swarm testing"): a world with all kinds at once seldom
makes much progress, and one with few kinds tests each of them in depth.
"""

from __future__ import annotations

import random
from typing import Any, Final

import msgspec

from tests.simulation.programs import AT_HOMES, CUT_OFF, GROUPS, OF_RELEASES, Program, make, spread

#: Kinds of faults, and how often each is drawn in a world that has it.
FAULTS: Final[dict[str, int]] = {
    "node crash": 6,
    "node drain": 2,
    "node freeze": 3,
    "client crash": 2,
    "broker crash": 5,
    "broker freeze": 1,
    "close": 4,
    "half-open": 3,
    "partition": 2,
    "stall": 2,
    "disk": 3,
    "clock": 2,
    "give back": 1,
    "cancel": 1,
    "halt": 1,
    "deploy": 6,
    "brokers apart": 8,
    "broker leave": 8,
    "database cut": 10,
    "database apart": 4,
    "database away": 4,
    "failover": 4,
}
#: Kinds that only brokers have which share a database.
OF_SHARED: Final = (
    "broker leave", "database cut", "database apart", "database away", "failover",
)  # fmt: skip
#: Kinds that are not drawn as the others are, because they came later or need several brokers.
_APART: Final = ("deploy", "brokers apart", *OF_SHARED)


class Root(msgspec.Struct):
    """A call from outside: a program with an id."""

    id: str
    program: Program
    #: The places of the hosts that make the call; they share it, because they use the same id.
    owners: list[int]
    #: "rpc"; "run": the caller acquires it itself; "listen": an unblock reports its result.
    mode: str
    group: str
    at_ms: int
    #: True if a person may cancel it, so it may end as canceled.
    cancel: bool = False


class Plan(msgspec.Struct, kw_only=True):
    """The plan of one world. Times are in milliseconds; rates are chances per event or frame."""

    seed: int
    #: The group of each node.
    nodes: list[str]
    clients: int
    roots: list[Root]
    #: Several share the slots.
    brokers: int = 1
    #: They share one database as well, and slots move between them.
    shared: bool = False
    #: When each broker is started, if not at once.
    starts_ms: tuple[int, ...] = ()
    #: Delays of requests to a shared database, and of its answers, are drawn from these.
    net_ms: tuple[int, ...] = (0,)
    #: Brokers may end each other's sessions in the database, as those of one role may.
    ends_sessions: bool = True
    schedule: bool = False
    #: The home of its promises, if it is not that of the schedule.
    schedule_home: str = ""
    #: Kinds; one that is there several times strikes more often.
    faults: list[str] = []
    #: The chance of a fault after each event, and the number of faults before the fair phase.
    fault_rate: float = 0.0
    faults_max: int = 0
    #: The longest duration of the unfair phase.
    unfair_ms: int = 20_000
    #: The chance that a frame is lost, doubled, or swapped with the one before it.
    frame_rate: float = 0.0
    #: Delays of frames, steps, commits and lookups are drawn from these.
    frame_ms: tuple[int, ...] = (0,)
    step_ms: tuple[int, ...] = (0,)
    disk_ms: tuple[int, ...] = (0,)
    #: With 0, a lookup returns its rows at once.
    lookup_ms: tuple[int, ...] = (0,)
    lease_ttl_ms: int = 2_000
    grace_ms: int = 50
    boot_grace_ms: int = 1_000
    retry_timeout_ms: int = 60_000
    linger_ms: int = 50
    warm_max: int = 100
    concurrency: int = 2
    inflight_max: int = 4_096
    batch_requests_max: int = 32_768
    #: The most frames that the broker takes in per turn.
    frames_max: int = 1_000
    #: The time for which the broker delays replies that no function waits for.
    reply_delay_ms: int = 20
    #: The size at which the broker and its peers begin another frame.
    frame_bytes: int = 1_048_576
    frame_messages: int = 16_384
    #: The most commands in a fence, and the number after which a long step passes them on.
    fence_commands: int = 1_024
    flush_commands: int = 256
    #: The number of unanswered commands at which a run pauses.
    unanswered_max: int = 8_192

    @property
    def beat_ms(self) -> int:
        return self.lease_ttl_ms // 4


#: Homes of what does not live with its caller.
HOMES: Final = tuple(f"part-{number}" for number in range(12))
#: How many worlds have several brokers, and how many they have.
SHARED_OUT: Final = 0.25
BROKERS: Final = (2, 2, 3)
#: How many of the other worlds have several brokers over one database.
SHARED: Final = 0.15


def draw(seed: int, brokers: int | None = None, *, shared: bool | None = None) -> Plan:
    """Draw the plan of a seed.

    Parameters
    ----------
    brokers
        So many, if not as drawn.
    shared
        Whether they share one database, if not as drawn.
    """
    rng = random.Random(seed)
    one = rng.random() < 0.3
    nodes = [GROUPS[0]] * rng.choice((1, 2, 2, 3))
    # Any program may make calls to the second group.
    nodes += [GROUPS[1]] * rng.choice((1, 1, 2))
    clients = 1 if one else 2
    kinds = [kind for kind in FAULTS if kind not in _APART and rng.random() < 0.45]
    roots = _roots(rng, len(nodes), clients, shared="cancel" not in kinds)
    fair = rng.random() < 0.04 or not kinds
    plan = Plan(
        seed=seed,
        nodes=nodes,
        clients=clients,
        roots=roots,
        schedule=rng.random() < 0.06,
        faults=[] if fair else kinds,
        fault_rate=rng.choice((0.01, 0.03, 0.06)),
        faults_max=rng.choice((1, 3, 6, 12)),
        unfair_ms=rng.choice((500, 3_000, 10_000)),
        frame_rate=0.0 if fair or rng.random() < 0.7 else rng.choice((0.01, 0.05, 0.15)),
        frame_ms=rng.choice(((0,), (0, 0, 1), (0, 1, 2, 5), (0, 0, 0, 40))),
        step_ms=rng.choice(((0,), (0, 0, 1), (0, 3, 20), (0, 0, 200))),
        disk_ms=rng.choice(((0,), (0, 1), (1, 2, 8), (0, 0, 300))),
        lease_ttl_ms=rng.choice((800, 2_000, 2_000, 10_000)),
        grace_ms=rng.choice((0, 50, 50, 400)),
        boot_grace_ms=rng.choice((100, 1_000, 5_000)),
        retry_timeout_ms=rng.choice((200, 60_000, 3_600_000)),
        linger_ms=rng.choice((0, 5, 50, 250)),
        warm_max=rng.choice((0, 1, 100)),
        concurrency=rng.choice((1, 2, 4)),
        inflight_max=rng.choice((2, 4_096, 4_096)),
        batch_requests_max=rng.choice((1, 32_768, 32_768)),
        frames_max=rng.choice((1, 1_000, 1_000)),
        reply_delay_ms=rng.choice((0, 20, 20, 500)),
        frame_bytes=rng.choice((200, 1_048_576, 1_048_576)),
        frame_messages=rng.choice((1, 3, 16_384, 16_384)),
        fence_commands=rng.choice((1, 2, 1_024, 1_024)),
        flush_commands=rng.choice((1, 2, 256)),
        unanswered_max=rng.choice((0, 3, 8_192, 8_192)),
    )
    _strike(rng, plan)
    plan.lookup_ms = rng.choice(((0,), (0,), (0, 1, 20), (1, 2, 8), (0, 0, 300)))
    if plan.faults and rng.random() < 0.15:
        plan.faults.append("deploy")
    drawn = rng.choice(BROKERS) if rng.random() < SHARED_OUT else 1
    plan.brokers = drawn if brokers is None else brokers
    if shared or (shared is None and plan.brokers == 1 and rng.random() < SHARED):
        _share_database(rng, plan, brokers)
    if plan.brokers > 1:
        _share_out(rng, plan)
    return plan


def _share_database(rng: random.Random, plan: Plan, brokers: int | None) -> None:
    """Let the brokers of a plan share a database, and draw what may happen to that."""
    if brokers is None:
        plan.brokers = rng.choice((2, 3, 3, 4))
    plan.shared = plan.brokers > 1
    if not plan.shared:
        return
    plan.starts_ms = tuple(rng.choice((0, 0, 100, 2_000, 6_000)) for _ in range(plan.brokers))
    plan.net_ms = rng.choice(((0,), (0,), (0, 1), (0, 0, 2, 20)))
    plan.ends_sessions = rng.random() < 0.7
    plan.unfair_ms = rng.choice((4_000, 10_000, 20_000))
    plan.disk_ms = rng.choice(((0,), (0, 1), (0, 0, 5), (0, 0, 0, 100)))
    # Events are many, so a fault is to be rarer after each.
    plan.fault_rate = rng.choice((0.003, 0.006, 0.015))
    plan.faults_max = rng.choice((3, 6, 12, 24))
    if plan.faults:
        plan.faults = [kind for kind in plan.faults if kind != "disk"]
        plan.faults += [kind for kind in OF_SHARED if rng.random() < 0.5]
        if not plan.faults:
            plan.faults = ["database cut"]


def _share_out(rng: random.Random, plan: Plan) -> None:
    """Spread the work of a plan over slots, by the ids of its calls."""
    kinds = AT_HOMES - OF_RELEASES if "deploy" in plan.faults else AT_HOMES
    for number, root in enumerate(plan.roots):
        root.id = f"r{number}-{int(rng.random() * 100)}"
        if rng.random() < 0.5:
            homes = rng.sample(HOMES, 3)
            root.program.append([CUT_OFF, number, [], "", homes[0], homes[1:]])
        if root.cancel:
            # Something that waits for long, so that brokers must tell one another of the end.
            root.program.append(["call", 0, [[["promise", number, [], ""]]], ""])
        spread(rng, root.program, HOMES, kinds)
    if rng.random() < 0.15:
        plan.schedule = True
        plan.schedule_home = rng.choice(HOMES)
    if plan.faults and rng.random() < 0.5:
        plan.faults.append("brokers apart")
    if "cancel" in plan.faults:
        plan.faults += ["cancel"] * 8


def _roots(rng: random.Random, nodes: int, clients: int, *, shared: bool) -> list[Root]:
    roots: list[Root] = []
    for number in range(rng.choice((1, 1, 2, 3))):
        mode = rng.choice(("rpc", "rpc", "rpc", "run", "listen"))
        owners = [int(rng.random() * nodes) if mode == "run" else nodes + number % clients]
        if mode != "run" and rng.random() < 0.3:
            owners = [nodes + place for place in range(clients)]
        program = make(rng, rng.choice((1, 2, 2, 3)), rng.choice((4, 8, 14)), shared=shared)
        group = GROUPS[1] if rng.random() < 0.3 else GROUPS[0]
        roots.append(Root(f"r{number}", program, owners, mode, group, rng.choice((0, 0, 30))))
    return roots


def _strike(rng: random.Random, plan: Plan) -> None:
    """Decide which of the roots may be canceled, if the faults include this."""
    if "cancel" in plan.faults:
        for root in plan.roots:
            root.cancel = rng.random() < 0.5


def described(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data, to be printed with a failure."""
    found: dict[str, Any] = msgspec.to_builtins(plan)
    return found
