"""Hostile frames: malformed ones, and well-formed ones that are out of place.

All follow from a `Random`. The promises that well-formed frames create have deadlines within
seconds and one of few ids, so that few are alive at a time, however many frames are sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Final

from understudy_broker.protocol.frames import FrameLimits, encode, numbered
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    AnyCommand,
    Attach,
    Beat,
    Bye,
    Carry,
    Credit,
    Delegated,
    Detach,
    Forwarded,
    Functions,
    GroupsGet,
    Hello,
    Message,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    Pulse,
    Request,
    Response,
    Revoked,
)
from understudy_store import commands as c
from understudy_store.limits import MIB
from understudy_store.records import TAG_BRANCH, TAG_ORIGIN, TAG_TARGET, Value, pid_of

LIMITS: Final = FrameLimits()
HEAD: Final = bytes([PROTOCOL_VERSION])
#: Headers of msgpack that announce far more elements than follow.
HUGE: Final = (
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"),
    *(b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xdc\xff\xff", b"\xde\xff\xff"),
    *(b"\xdd\x00\x00\x40\x01", b"\xdb\x7f\xff\xff\xff", b"\xc6\x00\xff\xff\xff"),
)
#: The share of oversized frames, small because one costs as much as ten thousand others.
OVERSIZED_SHARE: Final = 0.0001
#: The number of promises that well-formed frames are about, and their deadlines from now.
IDS_COUNT: Final = 200
LIFE_MS: Final = (-1000, 0, 50, 500, 2000)


class Hostile:
    """Make frames for one attacker; `name` is its own, `others` are names of well-behaved peers."""

    def __init__(self, random: Random, name: str, others: tuple[str, ...]) -> None:
        self.random = random
        self._name = name
        self._others = others
        self._boots = 0
        self._kinds: dict[str, Callable[[], bytes]] = {
            "random bytes": self.noise,
            "truncated": self.truncated,
            "mutated": self.mutated,
            "spliced": self.spliced,
            "another version": self.versioned,
            "huge counts": self.huge,
            "deeply nested": self.nested,
            "wrong types": self.mistyped,
            "out of place": self.out_of_place,
            "wrong frame number": self.misnumbered,
            "too many messages": self.crowded,
        }
        self._weights = (12, 12, 24, 8, 4, 8, 2, 8, 16, 6, 0.05)

    def frame(self) -> tuple[str, list[bytes]]:
        """Return the kind and the parts of the next frame."""
        draw = self.random
        if draw.random() < OVERSIZED_SHARE:
            size = LIMITS.frame_bytes_max + draw.choice([1, 1024, 1 << 20])
            return "oversized", [HEAD + bytes(size)]
        [kind] = draw.choices([*self._kinds], self._weights)
        frame = self._kinds[kind]()
        if draw.random() < 0.01:
            return "wrong parts", draw.choice([[b"", frame], [frame, frame], [b""] * 5, [b""]])
        return kind, [frame]

    # ---- malformed ------------------------------------------------------------------------------

    def noise(self) -> bytes:
        head = self.random.choice([b"", HEAD, HEAD + b"\x91\x93\xa7request"])
        return head + self.random.randbytes(self.random.choice([0, 1, 7, 50, 300]))

    def truncated(self) -> bytes:
        frame = self.valid()
        return frame[: self.random.randrange(len(frame))]

    def mutated(self) -> bytes:
        """Return a valid frame with some bytes changed, removed or inserted."""
        draw, frame = self.random, bytearray(self.valid())
        for _ in range(draw.choice([1, 1, 2, 8])):
            at = draw.randrange(1, max(2, len(frame)))
            kind = draw.randrange(4)
            if kind == 0:
                frame[at : at + 1] = bytes([draw.randrange(256)])
            elif kind == 1:
                del frame[at : at + draw.choice([1, 4])]
            elif kind == 2:
                frame[at:at] = draw.randbytes(draw.choice([1, 4]))
            else:
                frame[at : at + 1] = draw.choice(HUGE)
        return bytes(frame)

    def spliced(self) -> bytes:
        """Return the beginning of one frame and the end of another."""
        one, other = self.valid(), self.valid()
        return one[: self.random.randrange(len(one))] + other[self.random.randrange(len(other)) :]

    def versioned(self) -> bytes:
        return bytes([self.random.choice([0, 2, 3, 127, 128, 255])]) + self.valid()[1:]

    def huge(self) -> bytes:
        head = self.random.choice(
            [b"", b"\x91", b"\x91\x93\xa7request\x01\x92", b"\x92\x92\xa3ack"]
        )
        return HEAD + head + self.random.choice(HUGE) + self.random.randbytes(8)

    def nested(self) -> bytes:
        level = self.random.choice([b"\x91", b"\x81\xa1k", b"\xdd\x00\x00\x00\x01"])
        head = self.random.choice([b"\x91", b"\x91\x93\xa7request\x01", b"\x91\x92\xa4beat"])
        return HEAD + head + level * self.random.choice([100, 2_000, 50_000])

    def mistyped(self) -> bytes:
        """Return messages with wrong fields, of a broker, or with an unknown tag."""
        draw = self.random
        odds: list[object] = [None, 1.5, -1, 2**64 - 1, "x", b"x", [], {}, True, [[]]]
        odd = draw.choice(odds)
        tag = draw.choice(["request", "hello", "credit", "ack", "beat", "odd", "response"])
        some = (odd, 1, "x", ["promise.get", odd])
        fields = [draw.choice(some) for _ in range(draw.randrange(9))]
        return HEAD + encode([[tag, *fields]])[1:]  # type: ignore[list-item]

    def crowded(self) -> bytes:
        """Return more messages than a frame may have."""
        return encode([Beat()] * (LIMITS.messages_max + 1))

    # ---- well formed ----------------------------------------------------------------------------

    def misnumbered(self) -> bytes:
        """Return a frame whose number is old, far ahead, or truncated."""
        number = self.random.choice([0, 1, 2, 7, 2**31, 2**32 - 1, self.random.randrange(2**32)])
        frame = numbered(self.valid(), number)
        return frame[: self.random.choice([1, 3, 5])] if self.random.random() < 0.2 else frame

    def valid(self) -> bytes:
        """Return a frame as a peer might send it."""
        return encode([self.message() for _ in range(self.random.choice([1, 1, 2, 5]))])

    def out_of_place(self) -> bytes:
        return self.valid()

    def hello(self, others: bool = True) -> Hello:
        """Return a hello of this attacker, or one in the name of another peer."""
        draw = self.random
        self._boots += 1
        name = draw.choice(self._others) if others and draw.random() < 0.3 else self._name
        claims = tuple((self.id(), draw.randrange(3)) for _ in range(draw.randrange(3)))
        return Hello(
            9 if draw.random() < 0.1 else PROTOCOL_VERSION,
            draw.choice(["node", "node", "client", "edge", "broker"]),
            *("hostile", name, f"b{self._boots}", 1, "h", "fuzz"),
            credit=draw.choice([0, 3, 2**31, -5]),
            claims=claims,
            functions=self._functions(),
        )

    def _functions(self) -> tuple[str, ...]:
        """Return names of functions: usually none, else very many, or very long ones."""
        draw = self.random
        if draw.random() > 0.02:
            return ()
        return draw.choice([("f" * MIB,), ("f" * 256,) * 1_024, ("f",) * 5_000, ("\x1b[2J",)])

    def message(self) -> Message:
        """Return a message that may not fit the state of the connection."""
        draw = self.random
        kind = draw.randrange(12)
        if kind == 0:
            return self.hello()
        if kind == 1:
            return draw.choice([Beat(), Bye(), Credit(draw.choice([-1, 0, 5, 2**62]))])
        if kind == 2:
            return Ack(self.id(), draw.choice(["poll://uni@hostile/x", "", "nowhere"]))
        if kind == 3:
            # Only a broker may send these.
            return draw.choice([Response(1, c.Reply(200)), Revoked(self.id(), 1, "lease")])
        if kind == 4:
            names = self._functions()
            return draw.choice(
                [
                    Attach("hostile", self._name),
                    Attach("hostile", self._name, "guest"),
                    Detach("hostile", self._name),
                    Carry(("https",), draw.choice([0, 5, 2**62])),
                    Forwarded("https://hostile.example/", self.id(), 0, "no"),
                    Functions(names, (1,) * len(names)),
                    Pulse(pid_of(self._name, "b1")),
                ]
            )
        return Request(draw.choice([0, 1, 2**62, -1, draw.randrange(1000)]), self.command())

    def id(self) -> str:
        return f"hostile.{self.random.randrange(IDS_COUNT)}"

    def command(self) -> AnyCommand:
        """Return a command that this peer is mostly not allowed to send."""
        draw, id_, version = self.random, self.id(), self.random.choice([0, 1, 2, -1, 2**62])
        at = int(time.time() * 1000) + draw.choice(LIFE_MS)
        value = Value({"k": "v"}, draw.randbytes(draw.choice([0, 10, 200])))
        tags = draw.choice([{}, {TAG_TARGET: "hostile"}, {TAG_BRANCH: id_, TAG_ORIGIN: self.id()}])
        others = (pid_of(other, "1") for other in self._others)
        pid = draw.choice([pid_of(self._name, f"b{self._boots}"), "@hostile", *others])
        choices: list[AnyCommand] = [
            c.PromiseGet(id_),
            c.PromiseCreate(id_, at, value, tags),
            c.PromiseSettle(id_, draw.choice(["resolved", "pending", "odd"]), value),
            c.PromiseCancel(id_),
            c.PromiseRegisterCallback(id_, self.id()),
            c.PromiseRegisterListener(id_, "poll://uni@hostile/x"),
            c.PromiseSearch(prefix=id_, limit=draw.choice([1, 2**31, -1])),
            c.TaskCreate(pid, 100, id_, at, value, {TAG_TARGET: "hostile"}),
            c.TaskAcquire(id_, version, pid, draw.choice([1, 2**62])),
            c.TaskFence(id_, version, (c.PromiseCreate(self.id(), at, value),)),
            c.TaskSuspend(id_, version, (self.id(), id_)),
            c.TaskFulfill(id_, version, "resolved", value),
            c.TaskRelease(id_, version, draw.choice([0, -1, 2**62])),
            c.TaskHeartbeat(pid, ((id_, version),)),
            c.TaskHalt(id_, "", draw.choice([0, version])),
            c.TaskContinue(id_),
            c.TaskRetry(id_),
            c.TaskGet(id_),
            c.TaskPreload(id_, version),
            c.TaskSearch(limit=5, cursor=id_),
            c.ScheduleCreate("hostile", "nonsense * *", id_, 10),
            c.ScheduleCreate(id_, "* * * * * *", "{id}.{timestamp}", 10),
            c.ScheduleDelete(id_),
            c.PromiseSearch(tags={"no": id_}, limit=1),
            c.ScheduleSearch(),
            PromiseCreateWatched(c.PromiseCreate(self.id(), at, value)),
            PromiseWatch((id_,)),
            PromiseUnwatch((id_,)),
            GroupsGet(),
            Delegated("guest", c.PromiseCancel(id_)),
            Delegated("", PromiseWatch((id_,))),
        ]
        return draw.choice(choices)
