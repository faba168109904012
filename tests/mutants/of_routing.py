"""Faults of the links to several brokers, and of where requests go."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_ROUTING: Final = "link/test_routing.py"
_ROUTER: Final = "tests/integration/broker/test_router.py"
_SESSION: Final = "link/test_session_of_several.py"
_CLOCK: Final = "tests/integration/recovery/test_clock.py"
_TWO: Final = "tests/integration/sdk/test_two_brokers.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "slot-elsewhere-is-an-answer",
        None,
        "a request whose slot is another broker's is asked there",
        "understudy_broker.link.session.LinkSession._answer",
        swap("answer.reply.status == MISDIRECTED", "answer.reply.status == 0"),
        _SESSION,
    ),
    _mutant(
        "moved-requests-stay",
        None,
        "what waits at a broker that has lost the slot goes to the new owner",
        "understudy_broker.link.routing.Routing._route_anew",
        swap("if at is not port", "if at is None"),
        _ROUTING,
    ),
    _mutant(
        "takes-a-map-that-cannot-be",
        None,
        "a map of slots that cannot be is not followed",
        "understudy_broker.link.session.LinkSession._take_slots",
        swap("wrong = flaw(slots)", "wrong = None"),
        _SESSION,
    ),
    _mutant(
        "is-welcomed-with-a-map-that-cannot-be",
        None,
        "a broker whose map of slots cannot be is left alone",
        "understudy_broker.link.session.LinkSession._welcomed",
        swap("(found := flaw(welcome.slots))", "(found := None)"),
        _SESSION,
    ),
    _mutant(
        "runs-of-slots-overlap",
        None,
        "what a map says of a slot can be understood in one way only",
        "understudy_broker.protocol.placement._flaw_of_runs",
        drop("before = last"),
        "protocol/test_slot_maps.py",
    ),
    _mutant(
        "an-older-map-counts",
        None,
        "of two maps of slots the newer one counts",
        "understudy_broker.link.routing.Routing.take_map",
        swap("merged(self.slots, slots)", "slots"),
        _ROUTING,
    ),
    _mutant(
        "search-of-those-that-are-linked",
        None,
        "a search that does not ask all brokers is not answered",
        "understudy_broker.link.routing.Routing.request",
        swap("self._lacks_ports", "not self.ports"),
        _ROUTING,
    ),
    _mutant(
        "nobody-tries-again",
        None,
        "requests that find no room at a broker are sent again",
        "understudy_broker.link.routing.Routing._wait",
        drop("self._on_waiting()"),
        _ROUTING,
    ),
    _mutant(
        "watches-overtake",
        None,
        "a broker that has one slot of a watch need not have the others",
        "understudy_broker.link.routing.Routing._request_parts",
        swap(
            "ids_of.setdefault(slot_of(id_), []).append(id_)",
            "ids_of.setdefault(slot_of(command.ids[0]), []).append(id_)",
        ),
        _ROUTING,
    ),
    _mutant(
        "searches-wait-for-the-gone",
        None,
        "a search does not wait for a broker that has no slots",
        "understudy_broker.link.routing.Routing._route_anew",
        swap("{name for name in names if name is not None} or", "set() or"),
        _ROUTING,
    ),
    _mutant(
        "addresses-forgotten",
        None,
        "a peer whose brokers were all replaced asks the addresses that it was given",
        "understudy_broker.link.router.Router._seek",
        swap("self._routing.ports and not self.connected", "not self._routing"),
        f"{_ROUTER}::test_if_all_brokers_are_replaced_the_addresses_that_were_given_are_asked",
    ),
    _mutant(
        "last-link-ended-by-a-map",
        None,
        "a peer keeps the links that it has while no broker is named",
        "understudy_broker.link.router.Router._follow_map",
        swap("if not known:", "if known is None:"),
        f"{_ROUTER}::test_a_map_of_no_brokers_ends_no_link",
    ),
    _mutant(
        "any-deployment-will-do",
        None,
        "a broker of another deployment gets nothing",
        "understudy_broker.link.router.Router._check_welcome",
        swap("welcome.deployment != self._deployment", "welcome.deployment is None"),
        _ROUTER,
        _TWO,
    ),
    _mutant(
        "arrivals-before-the-slots",
        None,
        "a peer joins a broker anew once the slots that came are routed to it",
        "understudy_broker.link.arrivals.Arrivals._slots_of",
        swap("its_own & self._routing.slots_at(port)", "its_own"),
        "link/test_arrivals.py",
    ),
    _mutant(
        "arrivals-of-once",
        None,
        "slots come once, and their tasks are claimed once",
        "understudy_broker.link.arrivals.Arrivals.told",
        swap("self._slots_at[port] = now_there = ", "now_there = "),
        "link/test_arrivals.py",
    ),
    _mutant(
        "every-slot-is-here",
        None,
        "a broker performs nothing about slots of others",
        "understudy_broker.core.own_slots.OwnSlots.has",
        swap("self.map is None or self.mine.issuperset(slots_concerned(command))", "True"),
        "protocol/test_placement.py",
    ),
    _mutant(
        "clock-of-the-first-welcome-for-ever",
        None,
        "a broker that starts again with another time is followed",
        "understudy.client.peer.Peer._follow_clock",
        swap("followed is not link", "True"),
        f"{_CLOCK}::test_forth_while_the_broker_was_away_and_back_again",
    ),
)
