"""What can go wrong with a broker or a link; each message says what to do."""

from __future__ import annotations


class BrokerError(Exception):
    """Base of all errors of this floor."""


class ListenError(BrokerError):
    """The broker cannot listen at the address."""


class CommitFailedError(BrokerError):
    """The store could not commit; the broker has stopped, and said nothing that depended on it."""


class BrokerStartError(BrokerError):
    """An embedded broker did not start in time."""


class LinkError(BrokerError):
    """Base of all errors of a link."""


class NameInUseError(LinkError):
    """Another living peer has this name."""


class ProtocolMismatchError(LinkError):
    """The broker speaks another version of the protocol."""


class HelloRefusedError(LinkError):
    """The broker does not take a peer that describes itself like this."""


class LinkFullError(LinkError):
    """As many requests wait as the link may hold; wait for answers first."""


class LinkClosedError(LinkError):
    """The link is closed, or was refused for good."""
