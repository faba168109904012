"""The hosts that an edge may push to. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from understudy.edge.push.networks import Address, reach_of
from understudy.errors import ConfigurationError, UnderstudyError

#: ports of the schemes that are pushed to
PORTS: Final = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
#: before a host: it is in a private network, or this machine itself
PRIVATE: Final = "private:"
_HOW: Final = (
    "write HOST[:PORT], as in hooks.example.com, *.run.app, [2606:4700::1111]:8080; with private: "
    "before a host of your own network, as in private:10.0.0.5:8080"
)
_NAME: Final = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]{0,253}[a-z0-9])?\Z")


class NotAllowedError(UnderstudyError):
    """The allow-list has no such target; the message says how to allow it."""


class Rule(msgspec.Struct, frozen=True):
    """One host pattern of an allow-list.

    Attributes
    ----------
    host
        A name in small letters, an IP address, ``*.name`` for all names below a name, or ``*`` for
        every host.
    port
        None: the usual one of the scheme.
    is_private
        The host may have a private address.
    """

    host: str
    port: int | None
    is_private: bool

    def covers(self, scheme: str, host: str, port: int) -> bool:
        """Return whether the rule is about a host and a port."""
        if port != (PORTS[scheme] if self.port is None else self.port):
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return self.host in ("*", host)


class AllowList:
    """The rules that `--push` has given."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def check_host(self, scheme: str, host: str, port: int) -> None:
        """Raise `NotAllowedError` if no rule is about a host."""
        if not self._rules_for(scheme, plain_host(host), port):
            raise NotAllowedError(
                f"{host} at port {port} is not on the allow-list of this edge (--push)"
            )

    def check_address(self, scheme: str, host: str, port: int, address: Address) -> None:
        """Raise `NotAllowedError` if a host is not to be reached at an address it has led to."""
        host = plain_host(host)
        reach = reach_of(address)
        rules = self._rules_for(scheme, host, port)
        if reach == "public" and rules:
            return
        if any(rule.is_private for rule in rules) and (reach == "private" or host == str(address)):
            return
        if reach == "never":
            raise NotAllowedError(f"{host} leads to {address}, where nothing is ever pushed to")
        raise NotAllowedError(
            f"{host} leads to {address}, which is a private address: if that is meant, allow it "
            f"with --push {PRIVATE}{_place(host, port)}"
        )

    def _rules_for(self, scheme: str, host: str, port: int) -> list[Rule]:
        return [rule for rule in self._rules if rule.covers(scheme, host, port)]


def plain_host(host: str) -> str:
    """Return a host in its one spelling.

    Examples
    --------
    >>> plain_host("Pay.Example."), plain_host("[0::1]")
    ('pay.example', '::1')
    """
    host = host.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _place(host: str, port: int) -> str:
    """Return a host and a port as `parse_allow_list` takes them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_allow_list(text: str) -> AllowList:
    """Return the allow-list of ``HOST[:PORT],…``.

    Raises
    ------
    ConfigurationError
        A pattern is none, or is an address that is not public and has no ``private:`` before it.

    Examples
    --------
    >>> allowed = parse_allow_list("*.run.app, private:10.0.0.5:8080")
    >>> allowed.check_host("https", "a.run.app", 443)
    >>> allowed.check_host("http", "10.0.0.5", 8080)
    """
    patterns = [each.strip() for each in text.split(",")]
    return AllowList([_rule_of(pattern) for pattern in patterns if pattern])


def _rule_of(pattern: str) -> Rule:
    text = pattern.lower()
    is_private = text.startswith(PRIVATE)
    text = text.removeprefix(PRIVATE)
    if "/" in text or "@" in text:
        raise ConfigurationError(f"{pattern!r} in the allow-list is no host: {_HOW}")
    found = re.match(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?\Z", text)
    if found is None:
        raise ConfigurationError(f"{pattern!r} in the allow-list is no host: {_HOW}")
    host = found[1] if found[1] == "*" else plain_host(found[1])
    port = None if found[2] is None else int(found[2])
    is_number = found[1].startswith("[") or ":" in host
    if is_number and not _is_address(host):
        raise ConfigurationError(f"{pattern!r} in the allow-list is no IPv6 address: {_HOW}")
    if not is_number and host != "*" and not _NAME.match(host):
        raise ConfigurationError(f"{pattern!r} in the allow-list is no host: {_HOW}")
    if port is not None and not 0 < port < 65_536:
        raise ConfigurationError(f"{pattern!r} in the allow-list: {port} is no port")
    if is_private and "*" in host:
        raise ConfigurationError(
            f"{pattern!r} in the allow-list: private: allows one host, so name it without *"
        )
    if not is_private and not _may_be_public(host):
        raise ConfigurationError(
            f"{pattern!r} in the allow-list is no public address, so nothing would be pushed "
            f"there: if it is meant, write {PRIVATE}{text.replace('*', 'NAME')}"
        )
    return Rule(host, port, is_private)


def _may_be_public(host: str) -> bool:
    """Return whether a host can lead to a public address: a number that is one, or a name."""
    if _is_address(host):
        return reach_of(ipaddress.ip_address(host)) == "public"
    return host != "localhost" and not host.endswith(".localhost")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
