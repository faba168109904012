"""Webhooks as they are set: which there are, how they are signed, and what they become."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from understudy.errors import ConfigurationError
from understudy_store.addresses import InvalidAddressError, check_name

#: the senders whose signatures are known
SCHEMES: Final = ("github", "stripe", "slack")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Hook(msgspec.Struct, frozen=True):
    """A webhook.

    Attributes
    ----------
    name
        The end of its path.
    scheme
        How its requests are signed, one of `SCHEMES`.
    secrets
        The secrets with which they may be.
    group, function
        The function to call, with the body and the headers of the request.
    promise
        Instead of them: the id of the promise to resolve with the body, a text in which ``{a.b}``
        is replaced by what is there in the body.
    """

    name: str
    scheme: str
    secrets: tuple[bytes, ...]
    group: str = ""
    function: str = ""
    promise: str = ""


def parse_hooks(data: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Hook, ...]:
    """Return the hooks of a file.

    Parameters
    ----------
    data
        The content of the file, with a table ``[[hook]]`` for each.
    environ
        Environment variables, which have the secrets.

    Raises
    ------
    ConfigurationError
        Says what is wrong, and in which hook.
    """
    tables = data.get("hook", [])
    others = ", ".join(data.keys() - {"hook"})
    if others or not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ConfigurationError(
            f"a file of hooks has a table [[hook]] for each, and nothing else: {others or 'hook'}"
        )
    hooks = tuple(_hook(table, environ) for table in tables)
    names = [hook.name for hook in hooks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"hook {name!r} is there twice")
    return hooks


def _hook(table: Mapping[str, Any], environ: Mapping[str, str]) -> Hook:
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ConfigurationError(
            f"hook name={name!r}: it must be 1 to 64 letters, digits and _ -, the end of the path"
        )
    unknown = table.keys() - {"name", "scheme", "secret_env", "group", "function", "promise"}
    if unknown:
        raise ConfigurationError(f"hook {name!r} has an unknown key: {', '.join(sorted(unknown))}")
    texts = {key: table.get(key, "") for key in ("scheme", "group", "function", "promise")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ConfigurationError(f"hook {name!r}: its values are texts")
    if texts["scheme"] not in SCHEMES:
        raise ConfigurationError(
            f"hook {name!r}, scheme={texts['scheme']!r}: it must be one of {', '.join(SCHEMES)}"
        )
    calls = bool(texts["group"] and texts["function"])
    if calls == bool(texts["promise"]) or bool(texts["group"]) != bool(texts["function"]):
        raise ConfigurationError(
            f"hook {name!r} needs group and function, for a call, or promise, to resolve one"
        )
    if calls:
        try:
            check_name(texts["group"], f"hook {name!r}: group")
        except InvalidAddressError as error:
            raise ConfigurationError(str(error)) from None
    return Hook(name, secrets=_secrets(name, table.get("secret_env"), environ), **texts)


def _secrets(name: str, given: Any, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigurationError(
            f"hook {name!r}: secret_env must name the environment variable that has its secret"
        )
    missing = [each for each in names if not environ.get(each)]
    if missing:
        raise ConfigurationError(
            f"hook {name!r}: the environment variable {missing[0]} is not set, or empty"
        )
    return tuple(environ[each].encode() for each in names)
