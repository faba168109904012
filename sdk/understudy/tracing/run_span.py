"""The current span of a run, which is silent while the run replays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util import types

from understudy_actors.interpreter.replay import ReplayState


class RunSpan(Span):
    """Stands for the span of a run, and for the next one when the run goes on after a pause.

    While the run replays, nothing can be set on it, and it says that it is not sampled. So spans
    that the user's code starts below it are not recorded, as long as the sampler follows the
    parent.

    Attributes
    ----------
    real
        The span that it stands for.
    replay
        Says whether the run replays; None: it has not begun.
    """

    def __init__(self, real: Span | None) -> None:
        self.real: Span = INVALID_SPAN if real is None else real
        self.replay: ReplayState | None = None

    @property
    def true_context(self) -> SpanContext:
        """The context of the span, also during a replay."""
        return self.real.get_span_context()

    @property
    def _is_silent(self) -> bool:
        return self.replay is not None and self.replay.replaying

    def get_span_context(self) -> SpanContext:
        """Return the context of the span, not sampled during a replay."""
        context = self.real.get_span_context()
        if not self._is_silent:
            return context
        flags = TraceFlags(TraceFlags.DEFAULT)
        return SpanContext(context.trace_id, context.span_id, False, flags, context.trace_state)

    def is_recording(self) -> bool:
        """Return whether what is set now is recorded."""
        return not self._is_silent and self.real.is_recording()

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """Set attributes of the run's span."""
        if self.is_recording():
            self.real.set_attributes(attributes)

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """Set an attribute of the run's span."""
        if self.is_recording():
            self.real.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: types.Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event to the run's span."""
        if self.is_recording():
            self.real.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Add a link to the run's span."""
        if self.is_recording():
            self.real.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Give the run's span another name."""
        if self.is_recording():
            self.real.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status of the run's span; a failure of the run sets it again."""
        if self.is_recording():
            self.real.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception on the run's span."""
        if self.is_recording():
            self.real.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the span ends with the run."""

    def __exit__(self, *_: Any) -> None:
        """Do nothing, as `end`."""
