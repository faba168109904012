"""The class of an exception as text: what lists of failed calls show, and search for. Pure."""

from __future__ import annotations

from understudy_store.records import ERROR_CHARS_MAX

#: the exception that stands for one of another process, whose class is unknown here
_REMOTE = "understudy.errors.RemoteError"


def error_class(error: BaseException) -> str:
    """Return the class of `error`, with its module unless that is Python's own; never raises.

    Of a class that says odd things about itself, or of a very long name, the end is returned.

    Examples
    --------
    >>> import json
    >>> error_class(ValueError("x")), error_class(json.JSONDecodeError("x", "", 0))
    ('ValueError', 'json.decoder.JSONDecodeError')
    """
    kind = type(error)
    try:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name == _REMOTE:
            name = str(vars(error).get("type_name", name))
    except BaseException:
        # This is code of the error's class, or of its metaclass.
        name = "unknown"
    shown = "".join(char for char in name.removeprefix("builtins.") if char.isprintable())
    return shown[-ERROR_CHARS_MAX:]
