"""The root of the command line: families found by name, errors said in one line."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from understudy.cli import EXIT_INTERRUPTED, errors
from understudy.cli.errors import EXIT_FAILED, EXIT_USAGE, explain

#: command, module that holds its ``app``; in the order in which ``--help`` shows them
COMMANDS: Final = {
    "dev": "understudy.cli.commands.dev",
    "up": "understudy.cli.commands.up",
    "broker": "understudy.cli.commands.broker",
    "node": "understudy.cli.commands.node",
    "spawn": "understudy.cli.commands.spawn",
    "invoke": "understudy.cli.commands.invoke",
    "tree": "understudy.cli.commands.tree",
    "groups": "understudy.cli.commands.groups",
    "promises": "understudy.cli.commands.promises",
    "tasks": "understudy.cli.commands.tasks",
    "schedules": "understudy.cli.commands.schedules",
    "bench": "understudy.cli.commands.bench",
}

_LOG: Final = logging.getLogger("understudy")
_SILENT: Final = logging.NullHandler()


class LazyCommands(TyperGroup):
    """A group that imports a family when it is asked for; `--help` alone imports them all."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._families: dict[str, Any] = {}
        # only the names count: "did you mean" is looked up in them
        self.commands = dict.fromkeys(COMMANDS, self)

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        if cmd_name not in self._families:
            family = typer.main.get_command(import_module(module).app)
            family.name = cmd_name
            self._families[cmd_name] = family
        return self._families[cmd_name]


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from understudy._version import __version__

        print(f"understudy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    _verbose: Annotated[
        bool, typer.Option("--verbose", help="With an error or failure, show where it happened.")
    ] = False,
) -> None:
    """Durable async RPC between actor processes.

    \b
    Try it, with an app.py that has a Runtime(group="greeters") and a function greet:
      understudy dev app              a broker and a node, again at each change
      understudy invoke hello-1 greet --arg Ann --target greeters --wait
      understudy tree hello-1         what it called, where that is, how it ended

    \b
    In earnest:
      understudy broker --store sqlite:///calls.db
      understudy spawn app:runtime --group orders --nodes 4
      understudy up topology.toml             all of it from one file

    Commands find the broker by --url, else UNDERSTUDY_URL, else tcp://127.0.0.1:5577. Exit codes:
    0 done, 1 failed, 2 wrong usage, 130 and 143 ended by SIGINT and SIGTERM.
    """


def run(argv: list[str]) -> int:
    """Run the command that `argv` asks for; returns the exit code."""
    verbose, argv = _take_verbose(argv)
    errors.verbose = verbose
    if not verbose:
        # what there is to say, commands say themselves
        _LOG.addHandler(_SILENT)
    try:
        code = typer.main.get_command(app)(args=argv, prog_name="understudy", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader (head, a pager) has what it wanted; nothing more can be written, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except typer.TyperException as error:
        return _wrong_usage(error, argv)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        text, code = explain(error)
        print(f"understudy: {text}", file=sys.stderr)
        return code
    return code if isinstance(code, int) else 0


def _take_verbose(argv: list[str]) -> tuple[bool, list[str]]:
    """``--verbose`` may stand anywhere before a ``--``."""
    end = argv.index("--") if "--" in argv else len(argv)
    kept = [text for text in argv[:end] if text != "--verbose"]
    return len(kept) < end, kept + argv[end:]


def _wrong_usage(error: typer.TyperException, argv: list[str]) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return EXIT_USAGE
    command = "understudy" if context is None else context.command_path
    if context is None and argv[0] in COMMANDS:
        # some errors do not know where they come from
        command += f" {argv[0]}"
    message = " ".join(error.format_message().split())
    end = "" if message.endswith(("?", ".")) else "."
    print(f"{command}: {message}{end} See: {command} --help", file=sys.stderr)
    return EXIT_USAGE
