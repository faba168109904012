"""The root of the command line: finds commands by name, and reports errors in one line."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from understudy.cli import colors, errors
from understudy.cli.errors import EXIT_FAILED, EXIT_USAGE, explain
from understudy.cli.printing import err, out
from understudy_broker.output import escape_unencodable, open_standard_descriptors

#: command to the module that holds its `app`, in the order of ``--help``
COMMANDS: Final = {
    "dev": "understudy.cli.commands.dev",
    "up": "understudy.cli.commands.up",
    "broker": "understudy.cli.commands.broker",
    "node": "understudy.cli.commands.node",
    "spawn": "understudy.cli.commands.spawn",
    "edge": "understudy.cli.commands.edge",
    "ui": "understudy.cli.commands.ui",
    "source": "understudy.cli.commands.source",
    "connector": "understudy.cli.commands.connector",
    "invoke": "understudy.cli.commands.invoke",
    "calls": "understudy.cli.commands.calls",
    "tree": "understudy.cli.commands.tree",
    "why": "understudy.cli.commands.why",
    "debug": "understudy.cli.commands.debug",
    "rehearse": "understudy.cli.commands.rehearse",
    "groups": "understudy.cli.commands.groups",
    "health": "understudy.cli.commands.health",
    "brokers": "understudy.cli.commands.brokers",
    "slots": "understudy.cli.commands.slots",
    "promises": "understudy.cli.commands.promises",
    "tasks": "understudy.cli.commands.tasks",
    "schedules": "understudy.cli.commands.schedules",
    "store": "understudy.cli.commands.store",
    "keys": "understudy.cli.commands.keys",
    "audit": "understudy.cli.commands.audit",
    "seal": "understudy.cli.commands.seal",
    "codec": "understudy.cli.commands.codec",
    "tokens": "understudy.cli.commands.tokens",
    "backup": "understudy.cli.commands.backup",
    "bench": "understudy.cli.commands.bench",
}

_LOG: Final = logging.getLogger("understudy")
_SILENT: Final = logging.NullHandler()


class LazyCommands(TyperGroup):
    """A group that imports a command when it is run. Only `--help` imports them all."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._imported: dict[str, Any] = {}
        # Typer reads only the keys, for its "did you mean".
        self.commands = dict.fromkeys(COMMANDS, self)

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        if cmd_name not in self._imported:
            command = typer.main.get_command(import_module(module).app)
            command.name = cmd_name
            self._imported[cmd_name] = command
        return self._imported[cmd_name]


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from understudy._version import __version__

        out(f"understudy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
    _verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="Show tracebacks of errors. May be given after the command."
        ),
    ] = False,
    _no_color: Annotated[
        bool,
        typer.Option(
            "--no-color",
            help="Print no colors, as with NO_COLOR=1. May be given after the command.",
        ),
    ] = False,
) -> None:
    """Make durable calls between processes, and run the processes.

    \b
    Try it with an app.py that has a Runtime(group="greeters") and a function greet:
      understudy dev app              run a broker and a node; restart the node on change
      understudy invoke hello-1 greet --arg Ann --target greeters --wait
      understudy tree hello-1         show what the call called and how it ended

    \b
    In production:
      understudy broker --store sqlite:///calls.db
      understudy spawn app:runtime --group orders --nodes 4
      understudy up topology.toml     start all of it from one file

    \b
    Commands find the broker by --url, then UNDERSTUDY_URL, then the default address.
    Commands that print records accept --json.

    \b
    Exit codes:
      0  success
      1  failure: a call that was waited for failed, or what was named does not exist
      2  wrong usage
      3  the broker refused the request
      4  no broker answers
      129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM
    """


def run(argv: list[str]) -> int:
    """Run the command in `argv`; return the exit code. `main` answers a KeyboardInterrupt."""
    open_standard_descriptors()
    escape_unencodable()
    verbose, argv = take_flag("--verbose", argv)
    errors.verbose = verbose
    colors.forbidden, argv = take_flag("--no-color", argv)
    if not verbose:
        # Commands report what matters themselves.
        _LOG.addHandler(_SILENT)
    try:
        code = typer.main.get_command(app)(args=argv, prog_name="understudy", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, a pager) has ended. Python would fail again when it flushes the standard
        # output at exit, so that now goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except typer.TyperException as error:
        return _report_usage_error(error, argv)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        text, code = explain(error)
        err(f"understudy: {text}")
        return code
    return code if isinstance(code, int) else 0


def take_flag(flag: str, argv: list[str]) -> tuple[bool, list[str]]:
    """Remove a flag that may stand anywhere before a ``--``; return whether it stood."""
    end = argv.index("--") if "--" in argv else len(argv)
    kept = [text for text in argv[:end] if text != flag]
    return len(kept) < end, kept + argv[end:]


def _report_usage_error(error: typer.TyperException, argv: list[str]) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        out(error.format_message())
        return EXIT_USAGE
    command = "understudy" if context is None else context.command_path
    if context is None and argv[0] in COMMANDS:
        # Some errors have no context, so the command is read from `argv`.
        command += f" {argv[0]}"
    message = " ".join(error.format_message().split())
    end = "" if message.endswith(("?", ".")) else "."
    err(f"{command}: {message}{end} See: {command} --help")
    return EXIT_USAGE
