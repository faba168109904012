"""Traces: which tracer provider is used, and the spans of calls, attempts and steps.

Spans are made if the process uses OpenTelemetry's API and has set a tracer provider. Until then
nothing here costs more than a look, and OpenTelemetry is not imported.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from understudy.errors import ConfigurationError
from understudy.extras import advice, missing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from understudy.tracing.tracer import OtelTracing

#: the module that every user of OpenTelemetry's traces has imported
_API: Final = "opentelemetry.trace"
_GLOBAL: Final = object()
#: names a provider, which OpenTelemetry makes when it is asked for the global one
_NAMED: Final = "OTEL_PYTHON_TRACER_PROVIDER"


class _Choice:
    """The provider that was chosen, and the tracing that was made of the latest one."""

    def __init__(self) -> None:
        #: `_GLOBAL`, a provider, or None for no traces
        self.provider: Any = _GLOBAL
        self.tracing: OtelTracing | None = None


_choice: Final = _Choice()


def set_tracer_provider(provider: TracerProvider | None) -> None:
    """Use a tracer provider of one's own for the spans of understudy, in this process.

    By default the global one is used, which ``opentelemetry.trace.set_tracer_provider`` sets.

    Parameters
    ----------
    provider : opentelemetry.trace.TracerProvider or None
        The provider; None: make no spans and pass on no context, whatever the global one is.

    Raises
    ------
    ConfigurationError
        OpenTelemetry's API is not installed; it comes with the extra [otel].

    Examples
    --------
    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> from understudy.tracing import set_tracer_provider
    >>> set_tracer_provider(TracerProvider())
    >>> set_tracer_provider(None)
    """
    if provider is not None and missing("opentelemetry"):
        raise ConfigurationError(advice("a trace", "opentelemetry", "otel"))
    _choice.provider = provider


def follow_global() -> None:
    """Use the global tracer provider again; see `set_tracer_provider`."""
    _choice.provider = _GLOBAL


def current() -> OtelTracing | None:
    """Return what makes the spans of this process; None: there is no tracer provider."""
    provider = _choice.provider
    if provider is None or (provider is _GLOBAL and _API not in sys.modules):
        return None
    tracing = _choice.tracing
    if tracing is not None and tracing.chosen is provider:
        # A global one that was set stays for as long as the process lives.
        return tracing
    return _make(provider)


def _make(chosen: Any) -> OtelTracing | None:
    if chosen is _GLOBAL and _is_none():
        return None
    from understudy.tracing.tracer import OtelTracing, global_provider

    provider = global_provider() if chosen is _GLOBAL else chosen
    if provider is None:
        return None
    _choice.tracing = OtelTracing(provider, chosen)
    return _choice.tracing


def _is_none() -> bool:
    """Return whether there surely is no global provider; to ask for it takes far longer."""
    found = getattr(sys.modules[_API], "_TRACER_PROVIDER", _GLOBAL)
    return found is None and not _is_named()


@cache
def _is_named() -> bool:
    return _NAMED in os.environ


__all__ = ["set_tracer_provider"]
