"""Import of the Runtime that ``module:name`` names."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from understudy.cli.errors import UsageError
from understudy.runtime import Runtime


class AppError(UsageError):
    """The app's own code failed when it was imported; the message ends with its traceback."""


def load_runtime(app: str) -> Runtime:
    """Import a module and return its Runtime. The working directory is searched first.

    Parameters
    ----------
    app
        ``package.module:name``. The name may be left out if the module has only one Runtime.

    Raises
    ------
    UsageError
        The module or the name does not exist, or is not a Runtime.
    AppError
        The module failed when it was imported.
    """
    module_name, _, attribute = app.partition(":")
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        hint = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise UsageError(
            f"{app!r} is not of the form module:runtime; "
            f"did you mean {hint or 'app'}:{attribute or 'runtime'}?"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _import(module_name, folder)
    return _named_runtime(module, attribute) if attribute else _only_runtime(module)


def _import(name: str, folder: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {error.name!r} in {folder} or among the installed packages; "
                "change to the folder that has it, or install it"
            ) from None
        raise AppError(_import_failure(name, error)) from error
    except (Exception, SystemExit) as error:
        raise AppError(_import_failure(name, error)) from error


def _import_failure(name: str, error: BaseException) -> str:
    """Return the message, with a traceback that begins at the app's own first line."""
    frames = error.__traceback__
    while frames is not None and (
        frames.tb_frame.f_code.co_filename.startswith("<frozen importlib")
        or frames.tb_frame.f_code.co_filename in (__file__, importlib.__file__)
    ):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return f"{name} cannot be imported:\n{''.join(lines).rstrip()}"


def _named_runtime(module: ModuleType, attribute: str) -> Runtime:
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(
                f"module {module.__name__!r} has no {attribute!r}{_choices(module)}"
            ) from None
    if not isinstance(found, Runtime):
        raise UsageError(
            f"{module.__name__}:{attribute} is not a Runtime but a {type(found).__name__}"
            f"{_choices(module)}"
        )
    return found


def _only_runtime(module: ModuleType) -> Runtime:
    found = _runtimes(module)
    if len({id(runtime.session) for runtime in found.values()}) == 1:
        return next(iter(found.values()))
    if not found:
        raise UsageError(
            f"module {module.__name__!r} has no Runtime: "
            'add one with runtime = Runtime(group="...")'
        )
    names = ", ".join(f"{module.__name__}:{name}" for name in sorted(found))
    raise UsageError(f"module {module.__name__!r} has several Runtimes; choose one of: {names}")


def _runtimes(module: ModuleType) -> dict[str, Runtime]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Runtime)}


def _choices(module: ModuleType) -> str:
    names = sorted(_runtimes(module))
    if not names:
        return '; it has no Runtime at all: add one with runtime = Runtime(group="...")'
    return f"; its Runtimes are: {', '.join(f'{module.__name__}:{name}' for name in names)}"
