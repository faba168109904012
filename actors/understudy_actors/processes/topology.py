"""Topologies: a TOML file that names brokers, groups of nodes, and other programs to run.

::

    [broker]                        # without it, nodes use `url`, or UNDERSTUDY_URL
    listen = "tcp://127.0.0.1:5577"
    store = "sqlite:///understudy.db"

    [edge]                          # optional: the options of the edge beside it
    grpc = "127.0.0.1:8003"

    [[group]]
    name = "service-a"
    app = "examples.async_rpc.service_a:runtime"
    nodes = 2

    [[process]]
    name = "gateway"
    command = ["python", "-m", "examples.async_rpc.gateway"]

Instead of ``[broker]`` there may be a table ``[[broker]]`` for each of several brokers, which share
the work (`understudy_broker.deployment`). Each of them reads its table from the same file.

Everything runs in the folder of the file, or in the `cwd` given at its top or in an entry.
Every key is checked before anything starts, and an error names the file, the key and what is
allowed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from understudy_actors.errors import ActorError
from understudy_actors.processes.child import ProcessSpec
from understudy_actors.processes.pool import POOL_NAME
from understudy_broker.address import (
    DEFAULT_ADDRESS,
    InvalidBrokerAddressError,
    check_address,
    connect_address,
)
from understudy_broker.deployment import BrokerTable, DeploymentError, read_deployment
from understudy_broker.monitoring.address import MonitoringAddressError, Place, parse_place
from understudy_store.addresses import InvalidAddressError, check_name

#: Bound of the nodes of one group on one machine.
NODES_MAX = 1000

_BROKER_NAME = "broker"
_APP = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_SETTING = re.compile(r"[a-z][a-z0-9_]*")

#: The order of stopping (see `ProcessSpec.stage`): callers, then nodes, then the broker.
_BROKER_STAGE, _NODE_STAGE, PROCESS_STAGE = range(3)

_E = TypeVar("_E", bound=msgspec.Struct)


class TopologyError(ActorError, ValueError):
    """A topology file cannot be used; the message names file and key, and what is allowed."""


class BrokerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The ``[broker]`` table, or one of several ``[[broker]]``.

    Attributes
    ----------
    name, config
        Of one of several: its name, and the file that it reads.
    """

    name: str | None = None
    config: Path | None = None
    listen: str = DEFAULT_ADDRESS
    #: where peers reach it; None: as `listen` says
    address: str | None = None
    #: the store's address; None: the broker's own default
    store: str | None = None
    #: other settings of the broker, as text, by their names
    settings: dict[str, str] = {}
    cwd: str | None = None

    @property
    def process_name(self) -> str:
        """The name of the process."""
        return _BROKER_NAME if self.name is None else f"{_BROKER_NAME}-{self.name}"


class GroupEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[group]]``: nodes that run the same app."""

    name: str
    #: ``module:attribute`` of a Runtime
    app: str
    nodes: Annotated[int, msgspec.Meta(ge=1, le=NODES_MAX)] = 1
    #: where the first node shows metrics and health; each further one does at the next port
    metrics: str | None = None
    env: dict[str, str] = {}
    cwd: str | None = None


class ProcessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[process]]``: any other program."""

    name: str
    #: program and arguments; "python" and "understudy" mean those of this interpreter
    command: Annotated[list[str], msgspec.Meta(min_length=1)]
    env: dict[str, str] = {}
    cwd: str | None = None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """The checked contents of a topology file."""

    #: the folder where entries without a `cwd` run
    folder: Path
    brokers: tuple[BrokerEntry, ...] = ()
    #: the address for nodes and processes, or several with commas; None: as UNDERSTUDY_URL says
    url: str | None = None
    groups: tuple[GroupEntry, ...] = ()
    processes: tuple[ProcessEntry, ...] = ()
    #: the file, if it has a table [edge], which whoever starts the edge reads; else None
    edge_file: Path | None = None


def load_topology(path: str | Path) -> Topology:
    """Read and check a topology file.

    Raises
    ------
    TopologyError
        If the file cannot be read, is not TOML, or has an entry that is not allowed.
    """
    file = Path(path)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise TopologyError(f"{file}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise TopologyError(f"{file}: is not TOML: {exc}") from exc
    try:
        return _topology(raw, file.resolve())
    except TopologyError as exc:
        raise TopologyError(f"{file}: {exc}") from exc


def processes(topology: Topology) -> list[ProcessSpec]:
    """Return the processes to start, in order: brokers, nodes group by group, other programs."""
    url_env = {} if topology.url is None else {"UNDERSTUDY_URL": topology.url}
    specs = [_broker_spec(broker, topology.folder) for broker in topology.brokers]
    for group in topology.groups:
        specs += [_node_spec(group, n, topology.folder, url_env) for n in range(1, group.nodes + 1)]
    for process in topology.processes:
        specs.append(
            ProcessSpec(
                name=process.name,
                argv=_command(process.command),
                env=url_env | process.env,
                cwd=_folder(topology.folder, process.cwd),
                stage=PROCESS_STAGE,
            )
        )
    return specs


# From entries to processes ---------------------------------------------------------------------


def _broker_spec(broker: BrokerEntry, folder: Path) -> ProcessSpec:
    argv = [sys.executable, "-m", "understudy", "broker"]
    argv += _named_arguments(broker) if broker.name is not None else _arguments(broker)
    # The environment would override the file, so a format that the file has is repeated there.
    log_format = broker.settings.get("log_format") if broker.name is not None else None
    return ProcessSpec(
        name=broker.process_name,
        argv=argv,
        env={} if log_format is None else {"UNDERSTUDY_BROKER__LOG_FORMAT": log_format},
        cwd=_folder(folder, broker.cwd),
        stage=_BROKER_STAGE,
        watches_lifeline=True,
    )


def _named_arguments(broker: BrokerEntry) -> list[str]:
    # It reads the tables of all brokers, because the map of slots follows from them.
    return ["--name", str(broker.name), "--config", str(broker.config)]


def _arguments(broker: BrokerEntry) -> list[str]:
    argv = ["--listen", broker.listen]
    if broker.store is not None:
        argv += ["--store", broker.store]
    for name, text in broker.settings.items():
        # Passed as flags, because an unknown name is an error there. In the environment it would be
        # ignored.
        argv += ["--set", f"{name}={text}"]
    return argv


def _node_spec(group: GroupEntry, number: int, folder: Path, env: dict[str, str]) -> ProcessSpec:
    # The id has a hyphen, because in addresses a slash separates group and node.
    argv = [sys.executable, "-m", "understudy", "node", group.app]
    place = None if group.metrics is None else parse_place(group.metrics)
    return ProcessSpec(
        name=f"{group.name}/{number}",
        argv=[*argv, "--group", group.name],
        own_args=("--id", f"{group.name}-{number}", *metrics_args(place, number)),
        forks=True,
        env=env | group.env,
        cwd=_folder(folder, group.cwd),
        stage=_NODE_STAGE,
        watches_lifeline=True,
    )


def metrics_args(first: Place | None, number: int) -> tuple[str, ...]:
    """Return the arguments that tell a node where to show its metrics.

    Parameters
    ----------
    first
        Where the first node of its group does; None: no node does.
    number
        The number of the node in its group, from 1.
    """
    return () if first is None else ("--metrics", str(first.after(number - 1)))


def _command(command: list[str]) -> list[str]:
    program, *arguments = command
    if program == "python":
        return [sys.executable, *arguments]
    if program == "understudy":
        return [sys.executable, "-m", "understudy", *arguments]
    return command


def _folder(folder: Path, cwd: str | None) -> Path:
    return folder if cwd is None else (folder / cwd).resolve()


# From TOML to entries --------------------------------------------------------------------------


def _topology(raw: dict[str, Any], file: Path) -> Topology:
    _check_keys(raw, ("broker", "edge", "url", "cwd", "group", "process"), "the top of the file")
    _check_texts(raw, "")
    folder = _checked_folder(file.parent, raw.get("cwd"), "cwd")
    brokers = _brokers(raw["broker"], file, folder) if "broker" in raw else ()
    url = raw.get("url")
    if "url" in raw:
        if brokers:
            raise TopologyError(
                "url: remove it, because there is a [broker] whose `listen` is the address"
            )
        _check_address(url, "url")
    if brokers:
        url = ",".join(each.address or connect_address(each.listen) for each in brokers)
    groups = tuple(
        _group(table, where, folder) for table, where in _tables(raw.get("group", []), "group")
    )
    others = tuple(
        _process(table, where, folder)
        for table, where in _tables(raw.get("process", []), "process")
    )
    if not brokers and not groups and not others:
        raise TopologyError("there is nothing to run: add [broker], [[group]] or [[process]]")
    _check_unique([group.name for group in groups] + [other.name for other in others], brokers)
    if "edge" in raw and not brokers:
        raise TopologyError("edge: remove it, because an edge runs only where there is a [broker]")
    return Topology(
        folder=folder,
        brokers=brokers,
        url=url,
        groups=groups,
        processes=others,
        edge_file=file.resolve() if "edge" in raw else None,
    )


def _tables(raw: Any, name: str) -> list[tuple[Any, str]]:
    """Return each table of an array of tables with its place, as in ``group[1] 'service-a'``."""
    if not isinstance(raw, list):
        raise TopologyError(f"{name}: must be an array of tables, written [[{name}]]")
    places = []
    for index, table in enumerate(raw, 1):
        known = table.get("name") if isinstance(table, dict) else None
        label = f" {known!r}" if isinstance(known, str) else ""
        places.append((table, f"{name}[{index}]{label}"))
    return places


def _brokers(raw: Any, file: Path, folder: Path) -> tuple[BrokerEntry, ...]:
    if isinstance(raw, dict):
        return (_broker(raw, folder),)
    try:
        deployment = read_deployment(raw)
    except DeploymentError as exc:
        raise TopologyError(str(exc)) from exc
    entries = tuple(
        _named_broker(table, f"broker[{index}] {table.name!r}", file, folder)
        for index, table in enumerate(deployment.brokers, 1)
    )
    listens: dict[str, str | None] = {}
    for entry in entries:
        other = listens.setdefault(entry.listen, entry.name)
        if other != entry.name:
            raise TopologyError(
                f"broker: {other!r} and {entry.name!r} both listen at {entry.listen}, on this "
                "machine; each broker needs a port of its own"
            )
    return entries


def _broker(raw: dict[str, Any], folder: Path) -> BrokerEntry:
    if "name" in raw:
        raise TopologyError(
            "broker.name: remove it, because a single [broker] needs no name. Several brokers are "
            "written [[broker]], each with its name"
        )
    known = {key: raw[key] for key in ("listen", "store", "cwd") if key in raw}
    others = {key: value for key, value in raw.items() if key not in known}
    entry = _convert(known | {"settings": _settings(others, "broker")}, BrokerEntry, "broker")
    _check_address(entry.listen, "broker.listen")
    _checked_folder(folder, entry.cwd, "broker.cwd")
    return entry


def _named_broker(table: BrokerTable, where: str, file: Path, folder: Path) -> BrokerEntry:
    _checked_folder(folder, table.cwd, f"{where}.cwd")
    return BrokerEntry(
        name=table.name,
        config=file,
        listen=table.listen,
        address=table.address,
        settings=_settings(table.settings, where),
        cwd=table.cwd,
    )


def _settings(raw: dict[str, Any], where: str) -> dict[str, str]:
    settings = {}
    for key, value in raw.items():
        if not _SETTING.fullmatch(key) or not isinstance(value, str | int | float):
            raise TopologyError(
                f"{where}.{key}: a setting is a lower-case name with a string, number or boolean"
            )
        settings[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return settings


def _group(raw: Any, where: str, folder: Path) -> GroupEntry:
    entry = _convert(raw, GroupEntry, where)
    _check_entry_name(entry.name, where)
    if not _APP.fullmatch(entry.app):
        raise TopologyError(
            f"{where}.app: {entry.app!r} is not of the form module:attribute, "
            "such as 'shop.orders:runtime'"
        )
    if entry.metrics is not None:
        try:
            parse_place(entry.metrics)
        except MonitoringAddressError as exc:
            raise TopologyError(f"{where}.metrics: {exc}") from exc
    _check_env(entry.env, where)
    _checked_folder(folder, entry.cwd, f"{where}.cwd")
    return entry


def _process(raw: Any, where: str, folder: Path) -> ProcessEntry:
    entry = _convert(raw, ProcessEntry, where)
    _check_entry_name(entry.name, where)
    _check_env(entry.env, where)
    _checked_folder(folder, entry.cwd, f"{where}.cwd")
    return entry


def _convert(raw: Any, kind: type[_E], where: str) -> _E:
    if not isinstance(raw, dict):
        raise TopologyError(f"{where}: must be a table")
    _check_keys(raw, tuple(field.name for field in msgspec.structs.fields(kind)), where)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as exc:
        problem, _, path = str(exc).partition(" - at `$")
        raise TopologyError(f"{where}{path.rstrip('`')}: {problem}") from exc


# Checks ----------------------------------------------------------------------------------------


def _check_keys(raw: dict[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in raw:
        if key not in allowed:
            raise TopologyError(f"{where}: unknown key {key!r}; allowed are {', '.join(allowed)}")


def _check_texts(raw: Any, where: str) -> None:
    """Refuse NUL characters anywhere, because no system call accepts one."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            _check_texts(key, where)
            _check_texts(value, f"{where}.{key}" if where else key)
    elif isinstance(raw, list):
        for place, value in enumerate(raw, 1):
            _check_texts(value, f"{where}[{place}]")
    elif isinstance(raw, str) and "\0" in raw:
        raise TopologyError(f"{where or 'the top of the file'}: {raw!r} holds a NUL character")


def _check_env(env: dict[str, str], where: str) -> None:
    for name in env:
        if not name or "=" in name:
            raise TopologyError(f"{where}.env: {name!r} cannot name a variable")


def _check_entry_name(name: str, where: str) -> None:
    try:
        check_name(name, f"{where}.name:")
    except InvalidAddressError as exc:
        raise TopologyError(str(exc)) from exc
    if name in (_BROKER_NAME, POOL_NAME):
        raise TopologyError(f"{where}.name: {name!r} is taken; choose another")


def _check_unique(names: list[str], brokers: Sequence[BrokerEntry]) -> None:
    taken = {broker.process_name for broker in brokers}
    seen: set[str] = set()
    for name in names:
        if name in taken:
            raise TopologyError(f"the name {name!r} is that of a broker's process; choose another")
        if name in seen:
            raise TopologyError(
                f"the name {name!r} is used twice; groups and processes need names of their own"
            )
        seen.add(name)


def _check_address(address: Any, where: str) -> None:
    try:
        check_address(address if isinstance(address, str) else "", port_min=1)
    except InvalidBrokerAddressError as error:
        raise TopologyError(f"{where}: {address!r} is no address of a broker: {error}") from error


def _checked_folder(folder: Path, cwd: Any, where: str) -> Path:
    if cwd is not None and not isinstance(cwd, str):
        raise TopologyError(f"{where}: must be a string, the path of a folder")
    resolved = _folder(folder, cwd)
    if not resolved.is_dir():
        raise TopologyError(f"{where}: there is no folder {resolved}")
    return resolved
