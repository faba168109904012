"""A source as a program: its runtime, signals, log and exit code."""

from __future__ import annotations

import logging
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from understudy.client.session import ConnectionPort
from understudy.errors import BrokerUnavailableError, ConfigurationError
from understudy.logs import announce
from understudy.options import RESERVED, Options
from understudy.queues.port import Source
from understudy.queues.window import Window
from understudy.runtime import Runtime
from understudy.sources.commands import Commands
from understudy.sources.feed import Feed
from understudy.sources.filing import TAG_CONTENT, TAG_POISON, TAG_SOURCE, Answer, Command
from understudy.sources.report import Figures, Report
from understudy.sources.template import IdTemplate
from understudy.sources.translator import Translator
from understudy_broker.log_format import chosen_format
from understudy_broker.process import StopSignals, tune_collection
from understudy_store.addresses import check_name, poll
from understudy_store.limits import MIB, Limits
from understudy_store.machine.validation import Refusal, check_tags

#: the group in which sources introduce themselves
GROUP: Final = "understudy-source"
#: messages under way unless the user says otherwise, and the most of them
IN_FLIGHT: Final = 2048
IN_FLIGHT_MAX: Final = 16_384
#: bytes of messages under way
_BYTES_MAX: Final = 64 * MIB
#: a year: a source waits for its broker until somebody stops it
_FOREVER_S: Final = 3600.0 * 24 * 365
_LOOK_S: Final = 0.25
_STOP_S: Final = 2.0
#: A body of JSON has at most about so many times the bytes of the arguments that travel.
_JSON_EXCESS: Final = 4

#: the tags of sources
_OWN_TAGS: Final = frozenset({TAG_SOURCE, TAG_POISON, TAG_CONTENT})

#: Given a function that stops the source, watches for the supervisor's wish that it stops.
WatchSupervisor: TypeAlias = Callable[[Callable[[], None]], object]

_LOG: Final = logging.getLogger("understudy.sources")


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a source that are the same for all queues.

    Attributes
    ----------
    call
        The group and the function to call: ``group/function``.
    name
        The name of the queue, topic or stream.
    id
        The template of ids; None: the queue's own.
    url
        The address of a broker, or several; None: that of the environment.
    options
        The options of the calls.
    headers
        The headers of a message that become tags of its call.
    in_flight
        The most messages under way.
    as_json
        Whether progress is printed as lines of JSON.
    """

    call: str
    name: str
    id: str | None = None
    url: str | None = None
    options: Options = Options()
    headers: Sequence[str] = ()
    in_flight: int = IN_FLIGHT
    as_json: bool = False


class BrokerStore:
    """The store behind the connection of a runtime."""

    def __init__(self, connection: ConnectionPort) -> None:
        self._connection = connection

    def submit(self, command: Command, answered: Callable[[Answer], None]) -> None:
        """Send a command; commands that gather until the connection's thread runs share a frame."""
        future = self._connection.command(command)
        future.add_done_callback(lambda done: answered(done.exception() or done.result().reply))


def run_source(
    source: Source,
    settings: SourceSettings,
    watch: WatchSupervisor | None = None,
) -> int:
    """Feed calls from a queue until a signal comes; must be called on the main thread.

    The first SIGINT, SIGTERM or SIGHUP has it acknowledge what is stored, and end; the second
    SIGINT or SIGTERM ends the process at once.

    Returns
    -------
    The exit code: 0 after a stop in order.

    Raises
    ------
    ConfigurationError, UnderstudyError
    """
    kind = source.kind
    group, function = parse_call(settings.call)
    template = IdTemplate(settings.id or kind.default_id, kind)
    place = f"{kind.name}:{settings.name}"
    tags = {TAG_SOURCE: place}
    _check_names([*(settings.options.tags or {}), *settings.headers])
    _check_tags({**tags, **(settings.options.tags or {})})
    runtime = Runtime(
        group=GROUP,
        id=f"source-{secrets.token_hex(4)}",
        url=settings.url,
        connect_timeout=_FOREVER_S,
        task_source="",
    )
    stop = threading.Event()
    with StopSignals(stop.set):
        if watch is not None:
            watch(stop.set)
        _announce(source, settings, template, runtime.url)
        try:
            connection = runtime.session.connection
            if not _wait_for_broker(connection, runtime.url, stop):
                return 0
            env = runtime.session.env
            options = settings.options.merge(target=poll(group))
            commands = Commands(env, function, options, tags)
            translator = Translator(
                template,
                commands.call,
                settings.headers,
                env.values.codec.payload_bytes_max * _JSON_EXCESS,
            )
            report = Report(_LOG.info, _LOG.warning, _show_json if settings.as_json else _show)
            window = Window(settings.in_flight, _BYTES_MAX)
            store = BrokerStore(connection)
            feed = Feed(source, translator, commands, store, window, report, place=place)
            tune_collection()
            feed.run(stop.is_set)
            _LOG.info(
                "stopped: %s stored, %s known, %s poison; %s were acknowledged",
                *(f"{n:,}" for n in (report.stored, report.known, report.poison)),
                f"{report.acknowledged:,}",
            )
        finally:
            runtime.stop(timeout=_STOP_S)
    return 0


def parse_call(text: str) -> tuple[str, str]:
    """Return group and function of ``group/function``.

    Raises
    ------
    ConfigurationError, InvalidAddressError

    Examples
    --------
    >>> parse_call("shop/checkout")
    ('shop', 'checkout')
    """
    group, slash, function = text.partition("/")
    if not slash or not function:
        raise ConfigurationError(
            f"{text!r} names no function: write GROUP/FUNCTION, as in shop/checkout"
        )
    return check_name(group, "group"), function


def _check_names(names: Iterable[str]) -> None:
    """Refuse tags that would be taken for those of a source, or of the store."""
    for name in names:
        if name in _OWN_TAGS or name.startswith(RESERVED):
            raise ConfigurationError(f"{name!r} is a tag that only understudy itself may set")


def _check_tags(tags: Mapping[str, str]) -> None:
    try:
        check_tags(Limits(), tags)
    except Refusal as refusal:
        raise ConfigurationError(refusal.error) from None


def _announce(source: Source, settings: SourceSettings, template: IdTemplate, url: str) -> None:
    text = f"understudy source: {source.place} to {settings.call} at {url}, ids {template.text}"
    if settings.as_json and chosen_format() != "json":
        print(text, file=sys.stderr, flush=True)
    else:
        announce(text)
    home = template.shared_home
    if home is not None:
        _LOG.warning(
            "all ids have the home %r, because a dot ends the home: with several brokers, one of "
            "them gets all calls. Use another character than a dot",
            home,
        )


def _wait_for_broker(connection: ConnectionPort, url: str, stop: threading.Event) -> bool:
    """Return True once a broker answers, False if the source is to stop before."""
    while not stop.is_set():
        try:
            connection.wait_connected(_LOOK_S)
        except BrokerUnavailableError:
            continue
        _LOG.info("a broker answers at %s", url)
        return True
    return False


def _show(figures: Figures) -> None:
    _LOG.info("%s", figures.text())


def _show_json(figures: Figures) -> None:
    print(msgspec.json.encode(figures).decode(), flush=True)
