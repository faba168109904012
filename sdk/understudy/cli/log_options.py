"""The options for logs, which the processes that a command starts follow as well."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from understudy.cli.errors import UsageError
from understudy_broker.log_format import (
    FILE_VARIABLE,
    FORMAT_VARIABLE,
    FORMATS,
    LEVEL_VARIABLE,
    LEVELS,
    LogSettingError,
    chosen_format,
    chosen_level,
)

LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        help=f"text, for people, or json, for programs. [default: {FORMAT_VARIABLE}, else text]",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help=f"One of {', '.join(LEVELS)}. [default: {LEVEL_VARIABLE}, else info]",
    ),
]


def follow(log_format: str | None, log_level: str | None) -> None:
    """Set the environment of this process, and of those that it starts, as the options say.

    Raises
    ------
    UsageError
        An option, or the environment, names a format or a level that there is not, or a file that
        cannot be written to.
    """
    _check("--log-format", log_format, FORMATS)
    _check("--log-level", log_level, LEVELS)
    if log_format is not None:
        os.environ[FORMAT_VARIABLE] = log_format
    if log_level is not None:
        os.environ[LEVEL_VARIABLE] = log_level
    try:
        chosen_format()
        chosen_level()
    except LogSettingError as error:
        raise UsageError(str(error)) from None
    if path := os.environ.get(FILE_VARIABLE):
        _check_writable(path)


def _check(option: str, given: str | None, known: tuple[str, ...]) -> None:
    if given is not None and given not in known:
        raise UsageError(f"{option} {given!r}: choose one of {', '.join(known)}")


def _check_writable(path: str) -> None:
    # Imported here, because most processes have no such file.
    from understudy.log_file import LogFile

    try:
        LogFile(path).close()
    except OSError as error:
        raise UsageError(
            f"{FILE_VARIABLE}={path!r}: {error.strerror}. Name a file that this user may write"
        ) from None
