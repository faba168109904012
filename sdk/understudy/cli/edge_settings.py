"""The settings of an edge from its options; what these name is read, and checked."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Final

from understudy import extras
from understudy.cli.errors import CliError, UsageError
from understudy.client.address import broker_address
from understudy.edge.address import parse_listen
from understudy.edge.exposure import check_exposure
from understudy.edge.hooks import parse_hooks
from understudy.edge.options import EdgeOptions
from understudy.edge.push.settings import push_settings
from understudy.edge.settings import EdgeSettings
from understudy.edge.tls import Certificate
from understudy.edge.tokens.gate import load
from understudy_broker.monitoring.address import MonitoringAddressError, Place, parse_place

#: modules of the extra [grpc]
_GRPC: Final = ("grpc", "grpc_health", "grpc_reflection")


def settings_of(options: EdgeOptions) -> EdgeSettings:
    """Return the settings of an edge with these options.

    Raises
    ------
    ConfigurationError, CliError, UsageError
        An option does not say what it should, or something is not installed that it needs.
    """
    host, port = parse_listen(options.listen)
    grpc = options.grpc
    grpc_place = None if grpc is None else parse_listen(grpc.removeprefix("grpc://"))
    if grpc_place is not None and (name := extras.missing(*_GRPC)):
        raise CliError(extras.advice("gRPC", name, "grpc"))
    has_legacy = options.legacy and not options.debug
    if options.tokens is not None:
        load(options.tokens)
    settings = EdgeSettings(
        broker_address(options.url),
        host,
        port,
        grpc=grpc_place,
        metrics=_metrics(options.metrics),
        hooks=() if options.hooks is None else parse_hooks(_read(options.hooks), os.environ),
        push=push_settings(options),
        credit=options.push_max,
        strict=options.strict,
        debug=options.debug,
        legacy_poll=parse_listen(options.legacy_poll) if has_legacy else None,
        names=tuple(filter(None, map(str.strip, options.names.lower().split(",")))),
        tokens=options.tokens,
        tls=_tls(options),
    )
    if not options.insecure:
        check_exposure(
            settings.places,
            has_tokens=settings.tokens is not None,
            has_tls=settings.tls is not None,
            is_behind_proxy=options.behind_proxy,
        )
    return settings


def _metrics(address: str | None) -> Place | None:
    try:
        return None if address is None else parse_place(address)
    except MonitoringAddressError as error:
        raise UsageError(f"--metrics: {error}") from None


def _tls(options: EdgeOptions) -> tuple[Path, Path] | None:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both, or none")
    if options.tls_cert is None or options.tls_key is None:
        return None
    if options.behind_proxy:
        raise UsageError("--behind-proxy says that TLS ends at a proxy: give no --tls-cert then")
    Certificate(options.tls_cert, options.tls_key)
    return options.tls_cert, options.tls_key


def _read(hooks: Path) -> dict[str, Any]:
    """Read a file of webhooks."""
    try:
        return tomllib.loads(hooks.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--hooks {hooks}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--hooks {hooks} is no TOML: {error}") from None
