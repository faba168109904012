"""Options of an edge as people give them: defaults < TOML file < environment < flags.

The file is ``--config``, or ``understudy.toml`` in the working directory if that exists; its table
``[edge]`` has the names of the flags. The environment names are ``UNDERSTUDY_EDGE__GRPC`` and so
on. So an edge that a broker keeps running can have what one with flags has.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from understudy.edge.address import DEFAULT_LISTEN
from understudy.errors import ConfigurationError
from understudy_broker.address import without_userinfo

DEFAULT_FILE: Final = "understudy.toml"
ENV_PREFIX: Final = "UNDERSTUDY_EDGE__"
#: the longest time that a receiver of pushes may be given, seconds
PUSH_TIMEOUT_MAX: Final = 3_600
#: as many deliveries as brokers give to one edge at a time
PUSH_MAX: Final = 4_096


class EdgeOptions(BaseSettings):
    """The options of an edge, which `load_options` reads; they are explained in the help.

    What is None is not given.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    listen: str = DEFAULT_LISTEN
    url: str | None = None
    #: names by which clients reach the edge, with commas between them
    names: str = ""
    grpc: str | None = None
    #: where metrics are shown
    metrics: str | None = None
    push: str = ""
    push_key_file: Path | None = None
    push_url: str | None = None
    #: how long a receiver may take to answer, seconds
    push_timeout: Annotated[float, Field(ge=0.1, le=PUSH_TIMEOUT_MAX)] = 20.0
    #: pushes under way for each broker
    push_max: Annotated[int, Field(ge=1, le=PUSH_MAX)] = 64
    hooks: Path | None = None
    tokens: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    insecure: bool = False
    strict: bool = False
    debug: bool = False
    legacy: bool = False
    legacy_poll: str = "127.0.0.1:8002"

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


def load_options(
    config: Path | None = None, flags: Mapping[str, object] | None = None
) -> EdgeOptions:
    """Read the options from their sources.

    Parameters
    ----------
    config
        A TOML file; None: ``understudy.toml`` in the working directory, if there is one.
    flags
        Options given on the command line; None as a value: not given.

    Raises
    ------
    ConfigurationError
        An option is wrong or unknown, or the file cannot be read. The message says which, and where
        it came from.
    """
    path = Path(DEFAULT_FILE) if config is None else config
    file = _read_table(path) if config is not None or path.is_file() else {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        # Of any types: pydantic checks them.
        return EdgeOptions(_file=file, **given)  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        raise ConfigurationError(_explain(error, given, f"[edge] in {path}")) from None


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("edge", {})
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    if not isinstance(table, dict):
        raise ConfigurationError(f"edge in {path} is no table: write [edge]")
    return table


def _explain(error: ValidationError, flags: Mapping[str, object], file: str) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        variable = ENV_PREFIX + name.upper()
        source = file
        if name in flags:
            source = f"flag --{name.replace('_', '-')}"
        elif os.environ.get(variable):
            source = f"environment {variable}"
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(EdgeOptions.model_fields))
            lines.append(f"option {name!r} ({source}) does not exist; there are: {known}")
        else:
            lines.append(
                f"option {name!r} ({source}): {problem['msg']}; it is {problem['input']!r}"
            )
    return without_userinfo("; ".join(lines))
