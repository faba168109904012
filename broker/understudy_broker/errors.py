"""Errors of a broker and of a link. Each message says what to do next."""

from __future__ import annotations

from understudy_store.errors import UnderstudyError


class BrokerError(UnderstudyError):
    """The base of all errors of this package."""


class ListenError(BrokerError):
    """The broker cannot listen at the address."""


class AddressInUseError(ListenError):
    """Another broker, or another program, listens at the address."""


class CommitFailedError(BrokerError):
    """The store could not commit. The broker has stopped, and told no peer about that batch."""


class BrokerStartError(BrokerError):
    """An embedded broker did not start in time."""


class ClockError(BrokerError):
    """The wall clock is far beyond the latest time in the store, and nobody has confirmed it."""


class LinkError(BrokerError):
    """Base of all errors of a link."""


class NameInUseError(LinkError):
    """Another living peer has this name."""


class ProtocolMismatchError(LinkError):
    """The broker speaks another version of the protocol."""


class HelloRefusedError(LinkError):
    """The broker refused this peer's hello."""


class LinkFullError(LinkError):
    """The link holds as many unanswered requests as it may. Wait for some of them first."""


class LinkClosedError(LinkError):
    """The link is closed, or the broker has refused it for good."""
