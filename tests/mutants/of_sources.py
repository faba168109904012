"""Faults of sources: of the way of a message, of the window, and of the loop."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk").mutant
_FEED: Final = "sources/test_feed.py"
_FILING: Final = "sources/test_filing.py"
_TEMPLATE: Final = "sources/test_template.py"
_TRANSLATOR: Final = "sources/test_translator.py"
_WINDOW: Final = "queues/test_window.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "source-acknowledges-out-of-order",
        None,
        "a message is acknowledged after the older ones of its partition",
        "understudy.queues.window.Window.take_filed",
        swap("while queue and queue[0].filed:", "while queue:"),
        _FEED,
    ),
    _mutant(
        "source-acknowledges-what-it-forgot",
        None,
        "messages of a queue that was away are not acknowledged",
        "understudy.queues.window.Window.file",
        swap("if entry.forgotten:", "if not entry.forgotten:"),
        _FEED,
    ),
    _mutant(
        "source-forgets-for-nothing",
        None,
        "forgotten messages have their room until they are answered",
        "understudy.queues.window.Window.forget",
        swap("if entry.filed:", "if True:"),
        _FEED,
    ),
    _mutant(
        "source-has-endless-room",
        None,
        "the messages under way are bounded",
        "understudy.queues.window.Window.room",
        swap("self._count_max - self.count", "self._count_max"),
        _FEED,
    ),
    _mutant(
        "source-ignores-sizes",
        None,
        "the bytes under way are bounded",
        "understudy.queues.window.Window.room",
        swap("min(by_bytes, max(0, self._count_max - self.count))", "self._count_max - self.count"),
        _WINDOW,
    ),
    _mutant(
        "source-settles-what-is-not-its-own",
        None,
        "a promise of somebody else is not rejected",
        "understudy.sources.filing.Filing._recorded",
        swap("any(found.tags.get(tag) != self._command.tags[tag] for tag in same)", "False"),
        _FILING,
    ),
    _mutant(
        "source-takes-other-arguments-for-known",
        None,
        "a position that comes again with other contents is recorded",
        "understudy.sources.filing.Filing.answered",
        swap("if self._forms.alike(found, command):", "if True:"),
        _FILING,
    ),
    _mutant(
        "source-leaves-records-pending",
        None,
        "a record that a crash has left pending is rejected",
        "understudy.sources.filing.Filing._recorded",
        swap('self._reject(found.id) if found.state == PENDING else "poison"', '"poison"'),
        _FILING,
    ),
    _mutant(
        "source-takes-trouble-for-poison",
        None,
        "a refusal that is not the message's fault is tried again",
        "understudy.sources.filing.Filing._refused",
        swap("status not in _HOPELESS or isinstance(command, PromiseSettle)", "False"),
        _FILING,
    ),
    _mutant(
        "source-drops-refused-commands",
        None,
        "a command that was refused is sent again",
        "understudy.sources.feed.Feed._send_late",
        drop("self._submit(late.entry, late.filing, late.command)"),
        _FEED,
    ),
    _mutant(
        "source-keeps-the-order-of-a-lost-queue",
        None,
        "what a queue delivers again is taken anew",
        "understudy.sources.feed.Feed._close",
        drop("self._window.forget()"),
        _FEED,
    ),
    _mutant(
        "source-polls-at-the-bound",
        None,
        "at the bound no message is polled",
        "understudy.sources.feed.Feed._poll",
        swap("min(self._window.room, BATCH_MAX)", "BATCH_MAX"),
        _FEED,
    ),
    _mutant(
        "source-hammers-a-queue-that-is-away",
        None,
        "attempts to reach a queue become rare",
        "understudy.sources.feed.Feed._lose",
        swap("min(_PAUSE_MAX_S, self._pause_s * 2)", "self._pause_s"),
        _FEED,
    ),
    _mutant(
        "source-ids-keep-dots",
        None,
        "a dot of a position ends no home",
        "understudy.sources.template._value",
        swap('value.replace(".", _INSTEAD_OF_DOT)', "value"),
        _TEMPLATE,
    ),
    _mutant(
        "source-takes-any-template",
        None,
        "a template that does not tell messages apart is refused",
        "understudy.sources.template.IdTemplate.__init__",
        swap("identity <= names", "True"),
        _TEMPLATE,
    ),
    _mutant(
        "source-stops-at-strange-bytes",
        None,
        "no message stops the others",
        "understudy.sources.translator.Translator.translate",
        swap("msgspec.DecodeError, UnicodeDecodeError, RecursionError", "RecursionError"),
        _TRANSLATOR,
    ),
)
