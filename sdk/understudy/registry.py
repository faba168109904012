"""The registry: functions by name and version."""

from __future__ import annotations

import difflib
import functools
import inspect
import pathlib
import threading
import typing
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Literal

from understudy.errors import (
    ConfigurationError,
    InvalidArgumentsError,
    InvalidFunctionError,
    UnknownFunctionError,
)
from understudy.options import seconds
from understudy.retry import Retry
from understudy.values.calls import CallTypes
from understudy.values.hints import function_hints

Kind = Literal["generator", "coroutine", "plain"]

#: How many names the error about an unknown function lists.
NAMES_MAX: Final = 8

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)

_KEYWORD: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Function:
    """A function that can be called durably; `Runtime.register` makes it.

    Parameters
    ----------
    fn : function
        A generator function, an ``async def`` or a plain function. Its first parameter is the
        context.
    name : str, optional
        The name that calls use; by default the function's own.
    version : int, optional
        The version, from 1.
    retry : Retry, optional
        The policy of calls that have none of their own; by default the runtime's.
    timeout_s : float or timedelta, optional
        Seconds to the deadline of calls that have none of their own; by default the runtime's.

    Attributes
    ----------
    kind : str
        ``generator``, ``coroutine`` or ``plain``.
    signature : inspect.Signature
        The parameters, including the context.
    where : str
        The place where the function is defined: ``file.py:12``.

    Raises
    ------
    InvalidFunctionError
        `fn` cannot be called durably: it is not a function, is an async generator, or has no
        parameter for the context.
    ConfigurationError
        A name, version, policy or timeout that makes no sense.

    Examples
    --------
    >>> @runtime.register(name="price", version=2)
    ... def price_with_tax(ctx, amount):
    ...     return amount * 1.2
    >>> [(function.name, function.version, function.kind) for function in runtime.functions]
    [('price', 2, 'plain')]
    """

    __slots__ = (
        "name",
        "version",
        "fn",
        "kind",
        "signature",
        "where",
        "retry",
        "timeout_s",
        "_types",
        "_result_hint",
        "_stub",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout_s: float | timedelta | None = None,
    ) -> None:
        innermost = _innermost(fn)
        self.where: str = _where(innermost)
        self.name: str = _name(fn, innermost, name)
        number: object = version
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigurationError(f"{self.name}: version={version!r} must be an int, 1 or more")
        if retry is not None and (isinstance(retry, type) or not isinstance(retry, Retry)):
            raise ConfigurationError(
                f"{self.name}: retry={retry!r} must be a policy, such as Never()"
            )
        self.version: int = version
        self.fn = fn
        self.kind: Kind = _kind(fn, innermost, self.name, self.where)
        self.signature: inspect.Signature = _signature(fn, self.name, self.where)
        self.retry: Retry | None = retry
        self.timeout_s: float | None = (
            None if timeout_s is None else seconds("timeout", timeout_s, zero=False)
        )
        self._types: CallTypes | None = None
        self._result_hint: tuple[Any] | None = None
        self._stub: Callable[..., None] | None = None

    def __repr__(self) -> str:
        return f"<Function {self.name!r} version {self.version}, {self.kind}, {self.where}>"

    @property
    def types(self) -> CallTypes:
        """The type hints of the parameters; one that cannot be resolved counts as none."""
        if self._types is None:
            parameters = list(self.signature.parameters.values())
            if parameters[0].kind is not parameters[0].VAR_POSITIONAL:
                del parameters[0]
            self._types = CallTypes(parameters, function_hints(self.fn))
        return self._types

    @property
    def result_hint(self) -> Any:
        """The type hint of the result; None if there is none."""
        if self._result_hint is None:
            hint = function_hints(self.fn).get("return")
            if self.kind == "generator":
                # Generator[Y, S, R] returns an R; an Iterator's hint does not say what it returns.
                arguments = typing.get_args(hint)
                hint = arguments[2] if len(arguments) == 3 else None
            self._result_hint = (hint,)
        return self._result_hint[0]

    def takes_keyword(self, name: str) -> bool:
        """Return whether the function accepts a keyword argument of that name.

        Parameters
        ----------
        name : str
            The name of the keyword argument.

        Returns
        -------
        bool
            True if a parameter has that name, or ``**kwargs`` takes it.

        Examples
        --------
        >>> add = runtime.register(lambda ctx, a, b: a + b, name="add")
        >>> [runtime.functions[0].takes_keyword(name) for name in ("a", "c")]
        [True, False]
        """
        parameters = self.signature.parameters
        named = parameters.get(name)
        return (named is not None and named.kind in _KEYWORD) or any(
            parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
        )

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check that arguments suit the parameters, as Python does when a function is called.

        Parameters
        ----------
        args : tuple
            The positional arguments, without the context. Python's message counts the context.
        kwargs : dict
            The keyword arguments.

        Raises
        ------
        InvalidArgumentsError
            They do not suit the parameters; the message is Python's own.

        Examples
        --------
        >>> add = runtime.register(lambda ctx, a, b: a + b, name="add")
        >>> runtime.functions[0].check_arguments((1,), {"b": 2})
        """
        stub = self._stub
        if stub is None:
            stub = self._stub = _stub(self.signature, self.name)
        try:
            stub(None, *args, **kwargs)
        except TypeError as error:
            raise InvalidArgumentsError(str(error)) from None


class Registry:
    """The functions of a process, by name and version; several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, dict[int, Function]] = {}
        self._by_fn: dict[int, Function] = {}

    def register(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout_s: float | timedelta | None = None,
        replace: bool = False,
    ) -> Function:
        """Add a function; `Function` explains the parameters and errors.

        The same function may be added again; its latest options count. Another function under the
        same name and version is a `ConfigurationError` that names both places, unless `replace` is
        set.
        """
        function = Function(fn, name=name, version=version, retry=retry, timeout_s=timeout_s)
        with self._lock:
            versions = self._by_name.setdefault(function.name, {})
            known = versions.get(version)
            if known is not None and known.fn is not fn:
                if not replace:
                    raise ConfigurationError(
                        f"function {function.name!r}, version {version}, is registered twice: at "
                        f"{known.where} and at {function.where}. Give one of them another name= or "
                        "version=, or say replace=True"
                    )
                if self._by_fn.get(id(known.fn)) is known:
                    del self._by_fn[id(known.fn)]
            versions[version] = function
            self._by_fn[id(fn)] = function
        return function

    def get(self, name: str, version: int | None = None) -> Function:
        """Return the function of that name; version None or 0 means the highest.

        Raises
        ------
        UnknownFunctionError
            Names similar functions, or the versions that exist.
        """
        function = self.find(name, version)
        if function is not None:
            return function
        versions = self._by_name.get(name)
        if versions:
            raise UnknownFunctionError(name, version, sorted(versions))
        similar = difflib.get_close_matches(str(name), list(self._by_name), n=3, cutoff=0.6)
        known = () if similar else sorted(self._by_name)[:NAMES_MAX]
        raise UnknownFunctionError(name, version, (), similar, known)

    def find(self, name: str, version: int | None = None) -> Function | None:
        """Return the same as `get`, or None at once, without the slow search for similar names."""
        versions = self._by_name.get(name)
        return versions.get(version or max(versions)) if versions else None

    def of(self, fn: Callable[..., Any]) -> Function | None:
        """Return what this very object was last registered as, or None."""
        return self._by_fn.get(id(fn))

    def functions(self) -> list[Function]:
        """Return all functions, by name and version."""
        with self._lock:
            return [
                versions[version]
                for _, versions in sorted(self._by_name.items())
                for version in sorted(versions)
            ]


def _innermost(fn: Any) -> Any:
    """Return the function inside `functools.partial` and `functools.wraps`."""
    while True:
        inner = inspect.unwrap(fn)
        if isinstance(inner, functools.partial):
            inner = inner.func
        if inner is fn:
            return fn
        fn = inner


def _code(fn: Any) -> Any:
    code = getattr(fn, "__code__", None)
    if code is None:
        call = getattr(fn, "__call__", None)  # noqa: B004 - `callable` does not give its code
        code = getattr(call, "__code__", None)
    return code


def _where(fn: Any) -> str:
    code = _code(fn)
    if code is None:
        return f"<{getattr(fn, '__module__', None) or 'unknown'}>"
    return f"{pathlib.PurePath(code.co_filename).name}:{code.co_firstlineno}"


def _name(fn: Any, innermost: Any, name: object) -> str:
    if name is None:
        name = getattr(fn, "__name__", None) or getattr(innermost, "__name__", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{fn!r} has no name of its own, and name={name!r}: name it")
    return name


def _kind(fn: Any, innermost: Any, name: str, where: str) -> Kind:
    if isinstance(fn, type) or not callable(fn):
        raise InvalidFunctionError(
            f"{name} ({where}) is not a function: register a def, an async def or a lambda"
        )
    candidates = [fn, innermost]
    if not inspect.isroutine(innermost):
        candidates.append(type(innermost).__call__)
    if any(map(inspect.isasyncgenfunction, candidates)):
        raise InvalidFunctionError(
            f"{name} ({where}) is an async generator: use either `yield ctx...` in a def, or "
            "`await ctx...` in an async def"
        )
    if any(map(inspect.isgeneratorfunction, candidates)):
        return "generator"
    if any(map(inspect.iscoroutinefunction, candidates)):
        return "coroutine"
    return "plain"


def _signature(fn: Any, name: str, where: str) -> inspect.Signature:
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError) as error:
        raise InvalidFunctionError(
            f"{name} ({where}) does not show its parameters: wrap it in a def with a first "
            "parameter for the context"
        ) from error
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind not in _POSITIONAL:
        raise InvalidFunctionError(
            f"{name}{signature} ({where}) has no parameter for the context: write "
            f"def {name}(ctx, ...)"
        )
    return signature


def _stub(signature: inspect.Signature, name: str) -> Callable[..., None]:
    """Make a function that has these parameters and does nothing, so that Python checks calls."""
    bare = [
        parameter.replace(
            annotation=parameter.empty,
            default=parameter.empty if parameter.default is parameter.empty else None,
        )
        for parameter in signature.parameters.values()
    ]
    parameters = str(inspect.Signature(bare))[1:-1]
    stub: Callable[..., None] = eval(f"lambda {parameters}: None", {})
    stub.__qualname__ = name
    return stub
