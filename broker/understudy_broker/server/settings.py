"""Settings of the broker: defaults < TOML file < environment < flags.

The file is ``--config``, or ``understudy.toml`` in the working directory if that exists. It has one
table ``[broker]``, or a table ``[[broker]]`` for each broker of a deployment, of which ``--name``
picks one (`understudy_broker.deployment`). The environment names are ``UNDERSTUDY_BROKER__LISTEN``
and so on.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from understudy_broker.address import (
    DEFAULT_ADDRESS,
    check_address,
    connect_address,
    is_any_interface,
    is_reachable_by_others,
    without_userinfo,
)
from understudy_broker.core.config import BrokerConfig
from understudy_broker.deployment import (
    MIXED_STORES,
    BrokerTable,
    Deployment,
    DeploymentError,
    check_broker_name,
    is_database,
    read_deployment,
)
from understudy_broker.errors import BrokerError
from understudy_broker.monitoring.address import DEFAULT_ADDRESS as DEFAULT_METRICS
from understudy_broker.monitoring.address import Place, parse_place
from understudy_broker.protocol.frames import FrameLimits
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.server.retention_settings import RetentionSettings
from understudy_broker.server.start import Wanted
from understudy_store.limits import KIB, MIB, Limits

DEFAULT_FILE: Final = "understudy.toml"
ENV_PREFIX: Final = "UNDERSTUDY_BROKER__"
#: the address of the broker, for everybody: the weakest source of `listen`
URL_ENV: Final = "UNDERSTUDY_URL"


class SettingsError(BrokerError):
    """A setting is wrong; the message names it, its source, and the values it may have."""


#: The core has the defaults of everything that it is told.
_CORE: Final = BrokerConfig()


class BrokerSettings(BaseSettings):
    """Settings of a broker process. `load_settings` makes them, and explains its errors."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    #: The name of the broker among those of its deployment; None: it is made of the process id.
    #: With a name, it shares a PostgreSQL database with others; without one it has it for itself.
    name: str | None = None
    #: ZeroMQ address for nodes and clients; with port 0 the system chooses a free one
    listen: str = DEFAULT_ADDRESS
    #: where peers reach the broker, for the map of a deployment; None: as `listen` says
    address: str | None = None
    #: names the deployment; all its brokers have the same
    deployment: str | None = None
    #: Where an edge listens beside the broker, as HOST:PORT; "off": there is none. None: at the
    #: default address, if what an edge needs is installed.
    http: str | None = None
    #: Where the broker shows metrics and health, as HOST:PORT or PORT; "none": nowhere. None: at
    #: the default address, unless another program has it.
    metrics: str | None = None
    #: The folder with ``broker.key`` and ``rights.toml``: only peers whose keys these rights have
    #: may connect, and all that they send is encrypted. None: there are no keys.
    keys: Path | None = None
    #: listen without keys where other machines can connect
    insecure: bool = False
    #: The file of the audit: who was let in and refused, and who changed what from outside. None:
    #: there is none.
    audit: Path | None = None
    #: refuse what has to be audited while the file of the audit cannot be written
    audit_required: bool = True
    #: bytes of the file of the audit from which on it is put aside for a new one
    audit_bytes_max: int = Field(64 * MIB, ge=64 * KIB)
    #: run as root although other machines can connect
    allow_root: bool = False
    #: the mode of the socket of an ``ipc://`` address: "600" is for this user alone
    ipc_mode: str = "600"
    #: where promises are kept: ``memory``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
    #: ``postgresql://user@host/database``
    store: str = "sqlite:///understudy.db"
    #: Open the store although its journal is missing or cut short. Its lost commits stay lost.
    accept_lost_journal: bool = False
    #: how long a silent node keeps its tasks
    lease_ttl_s: float = Field(_CORE.lease_ttl_ms / 1000, ge=0.2, le=3600)
    #: how often nodes send a heartbeat; None: four times per lease
    beat_s: float | None = Field(None, ge=0.05, le=900)
    #: how long a node without heartbeats keeps its tasks beyond its lease while its process lives,
    #: because a function holds the interpreter; 0: not at all
    stall_max_s: float = Field(_CORE.stall_max_ms / 1000, ge=0, le=86_400)
    #: how long a node whose connection closed may take to come back with its tasks
    reconnect_grace_ms: int = Field(_CORE.reconnect_grace_ms, ge=0, le=60_000)
    #: how long nodes may take to come back after the broker started
    boot_grace_s: float = Field(_CORE.boot_grace_ms / 1000, ge=0, le=3600)
    #: Crashes in a row of its holders after which a task is parked; 0: a task is never parked.
    #: Four, because a task is a suspect after two crashes, and one of the next two, which occur
    #: with no other suspect beside it, may be chance. Two poison tasks on one node then also cause
    #: fewer restarts than the ten after which a pool gives up.
    deaths_max: int = Field(_CORE.deaths_max, ge=0, le=1000)
    #: How long to poll for the next message before sleeping, while messages come close together;
    #: 0: never. This takes up to a core, and saves a wake-up per message. The core's own default
    #: is 0, because an embedded broker shares its process with other work.
    busy_poll_us: int = Field(500, ge=0, le=10_000)
    #: The date today, to confirm that the machine's clock is right where the broker doubts it
    #: because it is far from the latest time in the store. It confirms no other date, so it may
    #: stay.
    accept_clock: date | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: text (also called console), JSON, or auto: as UNDERSTUDY_LOG_FORMAT says, else text on a
    #: terminal and JSON lines otherwise
    log_format: Literal["auto", "console", "text", "json"] = "auto"
    #: connected nodes and clients
    peers_max: int = Field(_CORE.peers_max, ge=1)
    #: unanswered requests of one peer
    inflight_max: int = Field(_CORE.inflight_max, ge=1)
    #: how long a search may read the store; beyond, it is refused
    search_s: float = Field(_CORE.search_ms / 1000, ge=0.1, le=3600)
    #: bytes of a frame that a peer sends
    frame_bytes_max: int = Field(_CORE.frames.frame_bytes_max, ge=64 * KIB, le=1024 * MIB)
    #: bytes of one argument list or result
    payload_bytes_max: int = Field(_CORE.limits.payload_bytes_max, ge=1 * KIB, le=512 * MIB)
    #: schedules, and those among them whose cron lines say seconds
    schedules_max: int = Field(_CORE.limits.schedules_max, ge=0)
    second_schedules_max: int = Field(_CORE.limits.second_schedules_max, ge=0)
    #: How long what has ended is kept: the table ``[retention]``, see `retention_settings`.
    retention: RetentionSettings = RetentionSettings()
    #: bytes that wait for one peer to read them; beyond, the peer is dropped
    outgoing_bytes_max: int = Field(_CORE.outgoing_bytes_max, ge=1 * MIB)

    #: the brokers of the file's ``[[broker]]`` tables; None: it has none
    _deployment: Deployment | None = PrivateAttr(None)
    _file_read: Path | None = PrivateAttr(None)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        return None if value is None else check_broker_name(value, "the name")

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        return check_address(value)

    @field_validator("address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else check_address(value, port_min=1)

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: str | None) -> str | None:
        if value is not None:
            parse_place(value)
        return value

    @field_validator("ipc_mode")
    @classmethod
    def _ipc_mode(cls, value: str) -> str:
        if not re.fullmatch(r"0?[0-7]{3}", value):
            raise ValueError("a mode is three octal digits, as 660 for a group")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> BrokerSettings:
        if self.beat_s is not None and self.beat_s * 2 > self.lease_ttl_s:
            raise ValueError(
                "beat_s must be at most half of lease_ttl_s, or one lost beat is fatal"
            )
        if self.payload_bytes_max + 64 * KIB > self.frame_bytes_max:
            raise ValueError("frame_bytes_max must exceed payload_bytes_max by at least 64 KiB")
        if self.retention.max_bytes is not None and self.store.startswith("postgresql"):
            raise ValueError(
                "retention.max_bytes is for SQLite stores: use retention.max_rows over PostgreSQL"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources: flags, then the environment, then the file, given as one keyword."""
        del dotenv_settings, file_secret_settings
        assert isinstance(init_settings, InitSettingsSource)
        flags = dict(init_settings.init_kwargs)
        file: dict[str, Any] = flags.pop("_file", {})
        return (
            InitSettingsSource(settings_cls, init_kwargs=flags),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=file),
        )

    @property
    def metrics_place(self) -> Place | None:
        """The place at which metrics and health are shown; None: there is none."""
        return parse_place(DEFAULT_METRICS if self.metrics is None else self.metrics)

    @property
    def open_to_others(self) -> bool:
        """True if other machines can connect."""
        return is_reachable_by_others(self.listen)

    def one_of(self, deployment: Deployment | None) -> Self:
        """Return the same settings for one of the brokers of a file's ``[[broker]]`` tables."""
        settings = self.model_copy()
        settings._deployment = deployment
        return settings

    @property
    def file(self) -> Path | None:
        """The file that settings were read from; None: from none."""
        return self._file_read

    def read_from(self, file: Path | None) -> Self:
        """Return the same settings, as read from a file."""
        settings = self.model_copy()
        settings._file_read = file
        return settings

    @property
    def shares_database(self) -> bool:
        """True if other brokers may have the same store open, each with slots of its own."""
        return self.name is not None and is_database(self.store)

    def wanted(self) -> Wanted:
        """Return the broker as the settings have it, for `start`, which looks into the store."""
        tables = self._deployment
        if tables is None:
            return Wanted(self.name, self.deployment or None, self.deployment or "", {})
        addresses = {broker.name: broker.address for broker in tables.brokers}
        return Wanted(self.name, tables.given_name or None, self.deployment or "", addresses)

    def broker_config(self) -> BrokerConfig:
        """Return the configuration of the core; of several brokers, as of one that is new."""
        slots = None if self._deployment is None else self._deployment.slots
        if self.shares_database:
            assert self.name is not None
            # It has no slots until the database says so.
            slots = SlotMap(0, ((self.name, self.address or connect_address(self.listen)),), ())
        lease_ttl_ms = round(self.lease_ttl_s * 1000)
        beat_ms = lease_ttl_ms // 4 if self.beat_s is None else round(self.beat_s * 1000)
        return BrokerConfig(
            name=self.name or f"broker-{os.getpid()}",
            deployment=self.deployment or "",
            slots=slots,
            lease_ttl_ms=lease_ttl_ms,
            beat_ms=beat_ms,
            stall_max_ms=round(self.stall_max_s * 1000),
            reconnect_grace_ms=self.reconnect_grace_ms,
            boot_grace_ms=round(self.boot_grace_s * 1000),
            deaths_max=self.deaths_max,
            busy_poll_us=self.busy_poll_us,
            peers_max=self.peers_max,
            inflight_max=self.inflight_max,
            search_ms=round(self.search_s * 1000),
            retention=self.retention.rules(),
            archive=self.retention.archive_path,
            outgoing_bytes_max=self.outgoing_bytes_max,
            frames=FrameLimits(frame_bytes_max=self.frame_bytes_max),
            limits=Limits(
                payload_bytes_max=self.payload_bytes_max,
                schedules_max=self.schedules_max,
                second_schedules_max=self.second_schedules_max,
            ),
        )


def load_settings(
    config: str | Path | None = None, flags: Mapping[str, object] | None = None
) -> BrokerSettings:
    """Read the settings from their sources; `listen` also from UNDERSTUDY_URL.

    Parameters
    ----------
    config
        A TOML file; None: ``understudy.toml`` in the working directory, if there is one.
    flags
        Settings given on the command line; None as a value: not given. `name` picks the table of
        the file, as UNDERSTUDY_BROKER__NAME does.

    Raises
    ------
    SettingsError
        A setting is wrong or unknown, or the file cannot be read.
    """
    path = Path(config) if config is not None else Path(DEFAULT_FILE)
    raw = _read_file(path) if config is not None or path.is_file() else {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    wanted = given.get("name") or os.environ.get(ENV_PREFIX + "NAME")
    found = _find_table(raw.get("broker", {}), None if wanted is None else str(wanted), path)
    if "retention" in raw:
        # One for all brokers of the file, unless a table of theirs has its own.
        found.settings.setdefault("retention", raw["retention"])
    sources = _Sources(given, found.settings, path)
    # Clients look for their broker there, so it listens there unless told otherwise.
    url = os.environ.get(URL_ENV)
    if (
        url
        and "," in url
        and "listen" not in {**found.settings, **given}
        and not os.environ.get(ENV_PREFIX + "LISTEN")
    ):
        raise SettingsError(
            f"{URL_ENV} names several brokers ({url}): say with --listen, or with listen in the "
            "file, at which address this one listens"
        )
    file = {"listen": url, **found.settings} if url else found.settings
    try:
        # Of any types: pydantic checks them.
        settings = BrokerSettings(_file=file, **given)  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        raise SettingsError(_explain(error, sources)) from None
    is_here = found.broker is not None or found.settings.get("name") == wanted
    if wanted is not None and not is_here and not settings.shares_database:
        # It would own all slots, and take what belongs to the brokers of the deployment.
        reason = f"{path} has no [[broker]] tables" if path.is_file() else f"{path} is missing"
        raise SettingsError(
            f"there is no broker {str(wanted)!r}: {reason}. Name the file that has them with "
            "--config, start the broker without a name, or name a PostgreSQL store that it shares"
        )
    if found.deployment is not None and found.deployment.slots is not None:
        assert found.broker is not None
        _check_agreed(settings, found.broker, sources)
    if settings.shares_database:
        _check_reachable(settings, sources)
    _check_secure(settings, sources)
    return settings.one_of(found.deployment).read_from(
        path if raw.get("broker", {}) or "retention" in raw else None
    )


# The file ----------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The settings that a file has for this broker.

    Attributes
    ----------
    broker, deployment
        Its ``[[broker]]`` table, and all of them; None: there is a plain table ``[broker]``.
    """

    settings: dict[str, Any]
    broker: BrokerTable | None = None
    deployment: Deployment | None = None


def _read_file(path: Path) -> dict[str, Any]:
    """Return what a file has."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def _find_table(raw: object, wanted: str | None, path: Path) -> _Found:
    """Return the settings of the broker of this name."""
    if isinstance(raw, dict):
        return _Found(raw)
    try:
        deployment = read_deployment(raw)
        broker = deployment.pick(wanted)
    except DeploymentError as error:
        raise SettingsError(f"{path}: {error}") from None
    return _Found(broker.settings, broker, deployment)


def _check_agreed(settings: BrokerSettings, broker: BrokerTable, sources: _Sources) -> None:
    """Check that neither flags nor the environment changed what all brokers must agree on."""
    for name in ("listen", "address", "deployment"):
        moves_freely = name == "listen" and broker.has_address
        if getattr(settings, name) != broker.settings[name] and not moves_freely:
            raise SettingsError(
                f"setting {name!r}{sources.source_of(name)}: the brokers of a deployment agree on "
                f"it by the tables of their file, so remove it there and change {sources.path}"
            )
    if is_database(settings.store):
        raise SettingsError(f"setting 'store'{sources.source_of('store')}: {MIXED_STORES}")


def _check_reachable(settings: BrokerSettings, sources: _Sources) -> None:
    """Check that the others can be told where this broker is."""
    if settings.address is not None:
        return
    if is_any_interface(settings.listen) or settings.listen.endswith(":0"):
        raise SettingsError(
            f"setting 'listen'{sources.source_of('listen')}: it is {settings.listen!r}, so say "
            "where the other brokers and all peers reach this one, by the setting address, as in "
            "--set address=tcp://10.0.0.5:5577, and let it have a port of its own"
        )


def _check_secure(settings: BrokerSettings, sources: _Sources) -> None:
    """Check that nobody can connect from elsewhere without a key, unless that is wanted."""
    if settings.open_to_others and settings.keys is None and not settings.insecure:
        raise SettingsError(
            f"setting 'listen'{sources.source_of('listen')}: other machines can reach "
            f"{settings.listen}, and without keys anyone there can call, read and cancel "
            "everything. Make keys (understudy keys init --help) and name their folder with "
            "--keys, or say --insecure if only trusted machines can reach it"
        )


# Errors ------------------------------------------------------------------------------------------


class _Sources(NamedTuple):
    """The sources of the settings, to say where a wrong one came from."""

    flags: Mapping[str, object]
    table: Mapping[str, object]
    path: Path

    def source_of(self, name: str) -> str:
        """Return the source of a setting in brackets; nothing if it has its default."""
        variable = ENV_PREFIX + name.upper()
        if name in self.flags:
            return f" (flag --{name.replace('_', '-')})"
        if os.environ.get(variable):
            return f" (environment {variable})"
        if name in self.table:
            return f" ({self.path})"
        if name == "listen" and os.environ.get(URL_ENV):
            return f" (environment {URL_ENV})"
        return ""


def _explain(error: ValidationError, sources: _Sources) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        source = sources.source_of(name) if name else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(BrokerSettings.model_fields))
            lines.append(f"setting {name!r}{source} does not exist; there are: {known}")
        elif name and repr(problem["input"]) in message:
            lines.append(f"setting {name!r}{source}: {message}")
        elif name:
            lines.append(f"setting {name!r}{source}: {message}; it is {problem['input']!r}")
        else:
            lines.append(message)
    return without_userinfo("; ".join(lines))
