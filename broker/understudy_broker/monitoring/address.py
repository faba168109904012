"""The address at which a program shows its metrics and its health."""

from __future__ import annotations

from typing import Final, NamedTuple

from understudy_broker.errors import BrokerError

#: instead of an address: there is no listener
NONE: Final = "none"
#: the port of a broker's listener, unless it is told otherwise
DEFAULT_ADDRESS: Final = "127.0.0.1:9090"


class MonitoringAddressError(BrokerError, ValueError):
    """A text names no place at which to show metrics."""


class Place(NamedTuple):
    """A host, and a port; with port 0 the system chooses one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def after(self, count: int) -> Place:
        """Return the place that is so many ports further; port 0 stays what it is.

        Examples
        --------
        >>> str(Place("127.0.0.1", 9100).after(2))
        '127.0.0.1:9102'
        """
        return Place(self.host, self.port + count if self.port else 0)


def parse_place(text: str) -> Place | None:
    """Return host and port of ``HOST:PORT``, or of a port on this machine alone.

    Returns
    -------
    None, if `text` says that there is to be no listener.

    Raises
    ------
    MonitoringAddressError

    Examples
    --------
    >>> parse_place("9090"), parse_place("[::1]:0"), parse_place("none")
    (Place(host='127.0.0.1', port=9090), Place(host='::1', port=0), None)
    """
    if text in (NONE, "off"):
        return None
    host, colon, port = text.removeprefix("http://").rpartition(":")
    if not colon:
        host, colon = "127.0.0.1", ":"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise MonitoringAddressError(
            f"{text!r} is no address for metrics: write HOST:PORT, as in {DEFAULT_ADDRESS}, a port "
            f"of this machine, as in 9090, or {NONE}"
        )
    return Place("0.0.0.0" if host == "*" else host, int(port))
