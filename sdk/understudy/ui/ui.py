"""The state of a dashboard that its handlers share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import trio
from jinja2 import Environment

from understudy.edge.tokens.gate import TokenGate
from understudy.ui.inquiries import Inquiries
from understudy.ui.jobs import Jobs
from understudy.ui.log_files import LogFiles
from understudy.ui.ports import Port
from understudy.ui.row_changes import Region, digest_of
from understudy.ui.sessions import Sessions
from understudy.ui.settings import UiSettings
from understudy.ui.templating import Static, macros, make_environment
from understudy.ui.throughput import Sampler
from understudy_store.inquiry.opening import open_inquirer

#: pages whose rows are remembered until their streams are open
_SEEN_MAX: Final = 12


class Ui:
    """The state of a dashboard.

    Attributes
    ----------
    logs
        The files with the log lines of calls.
    inquiries
        The questions in SQL to the store.
    sampler
        The latest numbers of the brokers; None: a file is shown.
    gate
        The tokens with which people log in; None: nobody is asked for one.
    jobs
        Actions on many calls that are carried out.
    draining
        Set once the dashboard is to end: streams end.
    streams
        Pages that are kept up to date.
    """

    def __init__(
        self,
        settings: UiSettings,
        port: Port,
        sampler: Sampler | None = None,
        gate: TokenGate | None = None,
    ) -> None:
        self.settings = settings
        self.port = port
        self.sampler = sampler
        self.gate = gate
        self.logs = LogFiles(settings.log_files)
        self.inquiries = Inquiries(
            None if settings.query is None else open_inquirer(settings.query)
        )
        self.sessions = Sessions()
        self.jobs = Jobs(port)
        self.static = Static()
        self.templates: Environment = make_environment(self.static)
        self.draining = trio.Event()
        self.streams = 0
        self._macros: dict[str, Any] = {}
        self._seen: OrderedDict[str, Sequence[Region]] = OrderedDict()

    @property
    def is_offline(self) -> bool:
        """True if a file is shown, which nothing can change."""
        return self.port.kind != "broker"

    def rows(self, name: str) -> Any:
        """Return the macros of a template with rows."""
        found = self._macros.get(name)
        if found is None:
            found = macros(self.templates, name, offline=self.is_offline)
            self._macros[name] = found
        return found

    def remember(self, regions: Sequence[Region]) -> str:
        """Keep what a page shows until its stream is open; return the name for it."""
        digest = digest_of(regions)
        self._seen[digest] = regions
        self._seen.move_to_end(digest)
        while len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        return digest

    def seen(self, digest: str) -> Sequence[Region]:
        """Return what a page shows; nothing if that is not known any more."""
        return self._seen.get(digest, ())
