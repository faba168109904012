"""Deployments: the brokers that a file describes, each in a table ``[[broker]]``.

Several brokers share the promises of a deployment by their slots. Each of them reads the same
tables, and takes one as its own. The tables say which brokers there are and where; the stores say
which broker has which slots (`server.start`). The tables have to be the same wherever one of the
brokers runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from understudy_broker.address import (
    InvalidBrokerAddressError,
    check_address,
    connect_address,
    is_any_interface,
)
from understudy_broker.core.config import BrokerConfig
from understudy_broker.errors import BrokerError
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import shared_out
from understudy_store.addresses import InvalidAddressError, check_name
from understudy_store.engines.base import Share
from understudy_store.slots import SLOTS

#: characters of the name of a broker
NAME_CHARACTERS_MAX: Final = 64
#: Each broker has at least one slot.
BROKERS_MAX: Final = SLOTS

MIXED_STORES: Final = (
    "either all brokers of a file share one PostgreSQL database, or each has a SQLite store of its "
    "own"
)


class DeploymentError(BrokerError):
    """The tables of brokers are wrong; the message names table and key, and says what to do."""


class BrokerTable(NamedTuple):
    """One ``[[broker]]`` table that has been checked.

    Attributes
    ----------
    address
        Where peers reach the broker.
    has_address
        True if the table itself says the address; otherwise it follows from `listen`.
    cwd
        The working directory, for a topology.
    settings
        The settings of the broker: those of the table, with the defaults of a named broker.
    """

    name: str
    listen: str
    address: str
    has_address: bool
    cwd: str | None
    settings: dict[str, Any]


class Deployment(NamedTuple):
    """The brokers of a file.

    Attributes
    ----------
    slots
        Which broker has which slots when the deployment begins. None: there is one broker, or a
        database says it.
    given_name
        The name of the deployment; None: the tables give none, and `brokers` have a default.
    """

    brokers: tuple[BrokerTable, ...]
    slots: SlotMap | None
    given_name: str | None = None

    def pick(self, name: str | None) -> BrokerTable:
        """Return the table of a broker; of the only one, if no name is given.

        Raises
        ------
        DeploymentError
            There is no such broker, or several and no name.
        """
        if name is None and len(self.brokers) == 1:
            return self.brokers[0]
        names = ", ".join(broker.name for broker in self.brokers)
        if name is None:
            raise DeploymentError(
                f"there are several brokers: {names}. Say which one to run, with --name or "
                "UNDERSTUDY_BROKER__NAME"
            )
        for broker in self.brokers:
            if broker.name == name:
                return broker
        raise DeploymentError(f"there is no broker {name!r}; there are: {names}")


def read_deployment(tables: object) -> Deployment:
    """Check the ``[[broker]]`` tables of a file.

    Parameters
    ----------
    tables
        The value of ``broker`` in the file, of any type.

    Raises
    ------
    DeploymentError
        They are wrong.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DeploymentError(
            "broker: must be a table, written [broker], or several, each written [[broker]]"
        )
    if not 1 <= len(tables) <= BROKERS_MAX:
        raise DeploymentError(
            f"broker: there are {len(tables)} tables; a deployment has 1 to {BROKERS_MAX} brokers"
        )
    brokers = [_broker(table, index) for index, table in enumerate(tables, 1)]
    _check_differ(brokers)
    is_shared = _check_stores(brokers)
    name = _deployment_name(tables, brokers, is_shared=is_shared)
    for broker in brokers:
        broker.settings["deployment"] = name
    slots = None
    if len(brokers) > 1 and not is_shared:
        slots = shared_out([(broker.name, broker.address) for broker in brokers])
    return Deployment(tuple(brokers), slots, tables[0].get("deployment"))


def check_broker_name(name: str, what: str) -> str:
    """Return `name` if it may name a broker, else raise `InvalidAddressError`; see `check_name`."""
    return check_name(name, what, NAME_CHARACTERS_MAX)


def share_of(config: BrokerConfig, store: str) -> Share | None:
    """Return the part of a broker in the store that it shares; None: it shares none."""
    if config.slots is None or not is_database(store):
        return None
    address = dict(config.slots.brokers)[config.name]
    return Share(config.name, address, config.deployment or None)


def is_database(store: object) -> bool:
    """Return whether a store's address is that of a database on a server."""
    return isinstance(store, str) and store.startswith(("postgres://", "postgresql://"))


def _broker(table: Mapping[str, Any], index: int) -> BrokerTable:
    name = _name(table, f"broker[{index}]")
    where = f"broker[{index}] {name!r}"
    if "listen" not in table:
        raise DeploymentError(
            f"{where}.listen: it is missing; each [[broker]] says where it listens, as in "
            'listen = "tcp://127.0.0.1:5577"'
        )
    listen = _address(table["listen"], f"{where}.listen")
    if is_any_interface(listen) and "address" not in table:
        raise DeploymentError(
            f"{where}.address: it is missing; the broker listens on all interfaces ({listen}), so "
            'say where the others reach it, as in address = "tcp://10.0.0.5:5577"'
        )
    address = _address(table.get("address", connect_address(listen)), f"{where}.address")
    if is_any_interface(address) or "," in address:
        raise DeploymentError(
            f"{where}.address: {address!r} is not the address of one machine; it looks like "
            "tcp://10.0.0.5:5577"
        )
    cwd = table.get("cwd")
    if cwd is not None and not isinstance(cwd, str):
        raise DeploymentError(f"{where}.cwd: must be a string, the path of a folder")
    settings = {"store": f"sqlite:///understudy-{name}.db", **table, "address": address}
    settings.pop("cwd", None)
    return BrokerTable(name, listen, address, "address" in table, cwd, settings)


def _name(table: Mapping[str, Any], where: str) -> str:
    if "name" not in table:
        raise DeploymentError(
            f'{where}.name: it is missing; each [[broker]] has a name of its own, as in name = "a"'
        )
    try:
        return check_broker_name(table["name"], f"{where}.name:")
    except InvalidAddressError as error:
        raise DeploymentError(str(error)) from None


def _address(address: object, where: str) -> str:
    try:
        return check_address(address if isinstance(address, str) else "", port_min=1)
    except InvalidBrokerAddressError as error:
        raise DeploymentError(f"{where}: {address!r} is no address of a broker: {error}") from None


def _check_differ(brokers: Sequence[BrokerTable]) -> None:
    names: set[str] = set()
    at: dict[str, str] = {}
    for broker in brokers:
        if broker.name in names:
            raise DeploymentError(
                f"broker: the name {broker.name!r} is used twice; each broker needs its own"
            )
        names.add(broker.name)
        other = at.setdefault(broker.address, broker.name)
        if other != broker.name:
            raise DeploymentError(
                f"broker: {other!r} and {broker.name!r} have the same address, {broker.address}; "
                "each broker needs its own"
            )


def _deployment_name(
    tables: Sequence[Mapping[str, Any]], brokers: Sequence[BrokerTable], *, is_shared: bool
) -> str:
    """Return the name of the deployment: the one that all tables give, or one made of the names.

    Brokers of one database have none by default, because others may come, and neither has a single
    one.
    """
    default = ",".join(sorted(broker.name for broker in brokers))
    if is_shared or len(brokers) == 1:
        default = ""
    first = tables[0].get("deployment", default)
    for index, (table, broker) in enumerate(zip(tables, brokers, strict=True), 1):
        where = f"broker[{index}] {broker.name!r}.deployment"
        name = table.get("deployment", default)
        if not isinstance(name, str):
            raise DeploymentError(f"{where}: must be a string, and is {name!r}")
        if name != first:
            raise DeploymentError(
                f"{where}: it is {name!r}, and that of broker {brokers[0].name!r} is {first!r}; "
                "all brokers of a file are one deployment: give them all the same, or none at all"
            )
    return str(first)


def _check_stores(brokers: Sequence[BrokerTable]) -> bool:
    """Check that no two brokers have the same file; return whether they share a database."""
    users: dict[str, str] = {}
    is_shared = is_database(brokers[0].settings["store"])
    for index, broker in enumerate(brokers, 1):
        store = broker.settings["store"]
        if is_database(store) != is_shared:
            raise DeploymentError(f"broker[{index}] {broker.name!r}.store: {MIXED_STORES}")
        if is_shared:
            if store != brokers[0].settings["store"]:
                raise DeploymentError(
                    f"broker[{index}] {broker.name!r}.store: it is another database, or another "
                    f"schema, than that of broker {brokers[0].name!r}; brokers of one file share "
                    "one: write the same URL in each table"
                )
            continue
        if not isinstance(store, str) or store == "memory":
            continue
        path = posixpath.join(broker.cwd or "", store.removeprefix("sqlite:///"))
        other = users.setdefault(posixpath.normpath(path), broker.name)
        if other != broker.name:
            raise DeploymentError(
                f"broker: {other!r} and {broker.name!r} have the same store, {store}; each broker "
                "needs its own. Without `store`, it is sqlite:///understudy-NAME.db"
            )
    return is_shared
