"""Keeps an edge running beside a broker, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from understudy import extras
from understudy.cli.errors import CliError
from understudy.client.keys import NO_KEYS
from understudy.edge.address import is_own, parse_listen
from understudy.edge.options import ENV_PREFIX, EdgeOptions, load_options
from understudy_actors.processes.lifeline import LIFELINE_ENV, Lifeline
from understudy_actors.processes.restart import GiveUp, RestartHistory, RestartPolicy
from understudy_broker.address import connect_address
from understudy_broker.keys.key_files import BROKER_PUBLIC
from understudy_broker.keys.peer_keys import BROKER_KEY_ENV, KEY_ENV

#: what is given instead of an address where no edge is wanted
OFF: Final = "off"
#: modules of the extra [http]
_NEEDED: Final = ("starlette", "hypercorn", "jsonschema", "httpcore")
#: An address may be in use for long, most often by the edge of another broker, which does as well.
_POLICY: Final = RestartPolicy(initial_s=0.5, max_s=30.0, max_restarts=sys.maxsize)
NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})
#: how long an edge may take to finish what is under way, until it is killed
_STOP_S: Final = 8.0


def check_installed() -> None:
    """Raise `CliError` if something is not installed that an edge needs."""
    if name := missing():
        raise CliError(extras.advice("an edge", name, "http"))


def missing() -> str:
    """Return what is not installed that an edge needs; empty if it has everything."""
    return extras.missing(*_NEEDED)


def edge_command(listen: str, url: str, config: Path | None = None) -> list[str]:
    """Return the command that runs an edge, with the other options of a file, if it has any."""
    command = [sys.executable, "-m", "understudy", "edge", "--listen", listen, "--url", url]
    return command if config is None else [*command, "--config", str(config)]


def check_options(
    config: Path | None, listen: str | None = None, *, insecure: bool = False
) -> EdgeOptions:
    """Return the options of an edge that is to be kept, which it would read itself.

    Parameters
    ----------
    listen, insecure
        What it is told besides, unless None or False.

    Raises
    ------
    ConfigurationError, CliError
        They are wrong. The edge would say so again and again.
    """
    options = load_options(config, {"listen": listen, "insecure": insecure or None})
    is_plain = options.model_fields_set <= {"listen", "insecure"}
    if not is_plain or not is_own(parse_listen(options.listen)[0]):
        # Imported here, because it needs the extra [http].
        from understudy.cli.edge_settings import settings_of

        settings_of(options)
    return options


class EdgeKeeper:
    """Runs an edge, again whenever it ends, from `start` to `stop`.

    The edge also ends with this process, however that happens.

    Parameters
    ----------
    listen
        Where it listens, as HOST:PORT; "off": it does not run.
    say
        Told, once, of an edge that ends.
    config
        The file with its other options, as for ``understudy edge``.
    variables
        What its environment has beyond that of this process.
    command
        Makes the command of another program that is kept instead, from its address and the
        broker's.
    name
        The name of that, for messages.
    """

    def __init__(
        self,
        listen: str,
        say: Callable[[str], None],
        config: Path | None = None,
        variables: Mapping[str, str] = NO_VARIABLES,
        command: Callable[[str, str], list[str]] | None = None,
        name: str = "edge",
    ) -> None:
        self._command = command or (lambda listen, url: edge_command(listen, url, config))
        self._name = name
        self._variables = dict(variables)
        self._listen = listen
        self._say = say
        self._lifeline = Lifeline()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self, url: str) -> None:
        """Run the edge of the broker that listens at `url`; the first call only."""
        if self._thread is not None or self._listen == OFF:
            return
        self._thread = threading.Thread(
            target=self._keep,
            args=(connect_address(url),),
            name=f"understudy-{self._name}-keeper",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Have the edge finish what is under way, for some seconds, and end it."""
        self._stopping.set()
        self._lifeline.close()
        if self._thread is None:
            return
        self._thread.join(_STOP_S)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join()

    def _keep(self, url: str) -> None:
        history = RestartHistory(_POLICY)
        said = False
        while not self._stopping.is_set():
            history.started(time.monotonic())
            code = self._run(url)
            if self._stopping.is_set():
                return
            decision = history.exited(time.monotonic(), code)
            if isinstance(decision, GiveUp):
                self._say(f"no {self._name} at {self._listen}: {decision.reason}")
                return
            if not said:
                said = True
                self._say(
                    f"the {self._name} at {self._listen} has ended; it is started again until it "
                    "stays"
                )
            self._stopping.wait(decision.delay_s)

    def _run(self, url: str) -> int | None:
        """Run the edge once; return its exit code, or None if it could not be started."""
        fd = self._lifeline.child_fd
        try:
            self._process = subprocess.Popen(
                self._command(self._listen, url),
                env={**os.environ, **self._variables, LIFELINE_ENV: str(fd)},
                pass_fds=(fd,),
                # The terminal's Ctrl-C must reach only this process, which stops the edge.
                start_new_session=True,
            )
        except (OSError, ValueError):  # there is no memory, or the line is closed by now
            return None
        return self._process.wait()


def edge_with_keys(
    listen: str | None, keys: Path | None, say: Callable[[str], None]
) -> tuple[str | None, Mapping[str, str]]:
    """Return where the edge of a broker with keys listens, and what its environment has more.

    An edge has a key of its own, as any peer has. Without one none is run.

    Parameters
    ----------
    keys
        The folder of the broker's keys; None: it has none.
    say
        Told that there is no edge.

    Raises
    ------
    CliError
        The edge was asked for, and has no key.
    """
    if keys is None:
        # As the broker is this one for certain, the edge need not prove that with keys.
        return listen, NO_KEYS
    if os.environ.get(KEY_ENV):
        return listen, {BROKER_KEY_ENV: os.environ.get(BROKER_KEY_ENV) or str(keys / BROKER_PUBLIC)}
    if listen == OFF:
        return OFF, NO_VARIABLES
    text = (
        f"the edge beside this broker needs a key of its own: make one (understudy keys new edge) "
        f"and name its file in {KEY_ENV}"
    )
    if listen is not None:
        raise CliError(f"{text}, or run none with --no-http")
    if not missing():
        say(f"no edge runs: {text}. --no-http ends this message")
    return OFF, NO_VARIABLES


@contextmanager
def edge_beside(
    listen: str | None,
    say: Callable[[str], None],
    config: Path | None = None,
    variables: Mapping[str, str] = NO_VARIABLES,
    *,
    insecure: bool = False,
) -> Iterator[EdgeKeeper]:
    """Keep an edge running beside the broker of this process, once it is started in the block.

    Parameters
    ----------
    listen
        As for `EdgeKeeper`; None: where its options say, if what an edge needs is installed.
    config, variables
        As for `EdgeKeeper`.
    insecure
        The edge is told --insecure, as the broker is.

    Raises
    ------
    CliError, ConfigurationError
        The edge was asked for, and cannot run.
    """
    if listen is None and missing():
        listen = OFF
    elif listen != OFF:
        if listen is not None:
            parse_listen(listen)
        check_installed()
        options = check_options(config, listen, insecure=insecure)
        listen = options.listen if listen is None else listen
    if insecure:
        variables = {**variables, f"{ENV_PREFIX}INSECURE": "1"}
    keeper = EdgeKeeper(listen, say, config, variables)
    try:
        yield keeper
    finally:
        keeper.stop()
