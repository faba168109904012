"""The registry: functions by name and version."""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import itertools
import pathlib
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Literal

from understudy.errors import (
    ConfigurationError,
    InvalidArgumentsError,
    InvalidFunctionError,
    UnknownFunctionError,
)
from understudy.options import check_address, check_loop, seconds
from understudy.retry import Retry
from understudy.values.calls import CallTypes
from understudy.values.hints import Unresolved, function_hints
from understudy.values.schemas import function_schema
from understudy_actors.interpreter.ports import LoopName

Kind = Literal["generator", "coroutine", "plain"]

#: How many names the error about an unknown function lists.
NAMES_MAX: Final = 8

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)

_KEYWORD: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

#: The registries of this process, in the order in which they were made.
_REGISTRIES: Final[weakref.WeakValueDictionary[int, Registry]] = weakref.WeakValueDictionary()
_NUMBERS: Final = itertools.count()


class Function:
    """A function that can be called durably; `Runtime.register` makes it.

    Parameters
    ----------
    fn : callable
        A generator function, an ``async def`` or a plain function; a bound method, a partial, or
        an object with ``__call__``. Its first parameter is the context.
    name : str, optional
        The name that calls use; by default the function's own.
    version : int, optional
        The version, from 1.
    retry : Retry, optional
        The policy of calls that have none of their own; by default the runtime's.
    timeout_s : float or timedelta, optional
        Seconds to the deadline of calls that have none of their own; by default the runtime's.
    target : str, optional
        The group or node of calls that name none; by default the runtime's group.
    loop : str, optional
        The event loop that runs it if it is an ``async def``: ``trio`` or ``asyncio``.

    Attributes
    ----------
    kind : str
        ``generator``, ``coroutine`` or ``plain``: what `fn` itself is. What a plain function
        returns decides once more: a generator or a coroutine that it returns is run as one. So a
        decorator's wrapper may do with the wrapped function as it likes.
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
        A name, version, policy, timeout or loop that makes no sense.

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
        "target",
        "loop",
        "_types",
        "_result_hint",
        "_schema",
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
        target: str | None = None,
        loop: LoopName = "trio",
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
        self.kind: Kind = _kind(fn, self.name, self.where)
        self.signature: inspect.Signature = _signature(fn, self.name, self.where)
        self.retry: Retry | None = retry
        self.timeout_s: float | None = (
            None if timeout_s is None else seconds("timeout", timeout_s, zero=False)
        )
        #: the canonical address, or None
        self.target: str | None = None if target is None else check_address("target", target)
        self.loop: LoopName = check_loop(loop)
        self._types: CallTypes | None = None
        self._result_hint: tuple[Any] | None = None
        self._schema: str | None = None
        self._stub: Callable[..., None] | None = None

    def __repr__(self) -> str:
        return f"<Function {self.name!r} version {self.version}, {self.kind}, {self.where}>"

    @property
    def types(self) -> CallTypes:
        """The type hints of the parameters; one that cannot be resolved counts as none."""
        if self._types is None:
            self._types = CallTypes(self._parameters(), function_hints(self.fn))
        return self._types

    @property
    def schema(self) -> str:
        """The JSON schema of its arguments and its result, as JSON: see `values.schemas`."""
        if self._schema is None:
            self._schema = function_schema(self.fn, self._parameters(), self.result_hint)
        return self._schema

    def _parameters(self) -> list[inspect.Parameter]:
        """Return the parameters without the context."""
        parameters = list(self.signature.parameters.values())
        if parameters[0].kind is not parameters[0].VAR_POSITIONAL:
            del parameters[0]
        return parameters

    @property
    def result_hint(self) -> Any:
        """The type hint of the result; None if there is none."""
        if self._result_hint is None:
            hint = function_hints(self.fn).get("return")
            is_generator = _kind_of_callable(_innermost(self.fn)) == "generator"
            if is_generator and not isinstance(hint, Unresolved):
                # Generator[Y, S, R] returns an R; an Iterator's hint does not say what it returns.
                arguments = typing.get_args(hint)
                hint = arguments[2] if len(arguments) == 3 else None
                if self.kind != "generator" and hint is types.NoneType:
                    # A wrapper, which most likely collects what the generator yields.
                    hint = None
            self._result_hint = (hint,)
        return self._result_hint[0]

    @property
    def may_make_calls(self) -> bool:
        """False for a plain function that wraps no other kind: it does not make calls."""
        return self.kind != "plain" or _kind_of_callable(_innermost(self.fn)) != "plain"

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
            They do not suit the parameters; the message is Python's own, and names the parameters.

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
            raise InvalidArgumentsError(
                f"{error}; its parameters, beside the context: {_described(self.signature)}"
            ) from None


class Registry:
    """The functions of a runtime, by name and version; several threads may use it.

    Parameters
    ----------
    loop
        The event loop of ``async def`` functions that name none.

    Attributes
    ----------
    target
        The address of the runtime's own group.
    targets
        The addresses of functions that were registered with one, by the name of the function.
    """

    def __init__(self, loop: LoopName = "trio") -> None:
        self.loop: LoopName = check_loop(loop)
        self.target = ""
        self.targets: dict[str, str] = {}
        self._lock = threading.Lock()
        #: called after each registration, on its thread
        self.on_register: Callable[[], None] | None = None
        self._by_name: dict[str, dict[int, Function]] = {}
        self._by_fn: dict[object, Function] = {}
        _REGISTRIES[next(_NUMBERS)] = self

    def register(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | None = None,
        timeout_s: float | timedelta | None = None,
        target: str | None = None,
        loop: LoopName | None = None,
        replace: bool = False,
    ) -> Function:
        """Add a function; `Function` explains the parameters and errors.

        The same function may be added again; its latest options count. Another function under the
        same name and version is a `ConfigurationError` that names both places, unless `replace` is
        set.
        """
        function = Function(
            fn,
            name=name,
            version=version,
            retry=retry,
            timeout_s=timeout_s,
            target=target,
            loop=loop or self.loop,
        )
        with self._lock:
            versions = self._by_name.setdefault(function.name, {})
            known = versions.get(version)
            if known is not None and key_of(known.fn) != key_of(fn):
                if not replace:
                    raise ConfigurationError(
                        f"function {function.name!r}, version {version}, is registered twice: at "
                        f"{known.where} and at {function.where}. Give one of them another name= or "
                        "version=, or say replace=True"
                    )
                if self._by_fn.get(key_of(known.fn)) is known:
                    del self._by_fn[key_of(known.fn)]
            versions[version] = function
            self._by_fn[key_of(fn)] = function
            latest = versions[max(versions)].target
            if latest is None:
                self.targets.pop(function.name, None)
            else:
                self.targets[function.name] = latest
        if self.on_register is not None:
            self.on_register()
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
        function = self._by_fn.get(id(fn))
        if function is None and fn.__class__ is types.MethodType:
            function = self._by_fn.get(key_of(fn))
        return function

    def elsewhere(self, fn: Callable[..., Any]) -> Function | None:
        """Return what this object was registered as on another runtime of the process, or None.

        Of several, the runtime that was made last counts. The function's target is the one that
        it was registered with, else the group of that runtime.
        """
        for registry in reversed(list(_REGISTRIES.values())):
            function = registry.of(fn)
            if function is not None and registry is not self:
                # Evaluated before the copy is made, so that they are evaluated once.
                _ = function.types, function.result_hint
                if function.target is None:
                    function = copy.copy(function)
                    function.target = registry.target
                return function
        return None

    def functions(self) -> list[Function]:
        """Return all functions, by name and version."""
        with self._lock:
            return [
                versions[version]
                for _, versions in sorted(self._by_name.items())
                for version in sorted(versions)
            ]


def key_of(fn: Any) -> object:
    """Return what tells one callable from another.

    Python makes a new object each time that a method is taken from its instance or class.
    """
    if fn.__class__ is types.MethodType:
        return id(fn.__self__), id(fn.__func__)
    return id(fn)


def called_already(fn: Any) -> str | None:
    """Return the name of the function that was called to make `fn`, where a function belongs.

    None if `fn` is neither a generator nor a coroutine. A coroutine is closed, because nothing
    will await it.
    """
    if isinstance(fn, types.CoroutineType):
        fn.close()
    elif not isinstance(fn, types.GeneratorType):
        return None
    return str(fn.__name__)


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
        owner = next((each for each in (fn, innermost) if hasattr(each, "__name__")), None)
        name = (owner or type(innermost)).__name__
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{fn!r} has no name of its own, and name={name!r}: name it")
    return name


def _kind(fn: Any, name: str, where: str) -> Kind:
    called = called_already(fn)
    if called is not None:
        raise InvalidFunctionError(
            f"{called} was called, and what that gave is no function: pass {called} itself, and "
            "its arguments after it, without the context"
        )
    if isinstance(fn, classmethod):
        raise InvalidFunctionError(
            f"{name} ({where}) is a class method that has no class yet: register it after the "
            f"class statement, as runtime.register(TheClass.{name})"
        )
    if isinstance(fn, type) or not callable(fn):
        raise InvalidFunctionError(
            f"{name} ({where}) is not a function: register a def, an async def or a lambda"
        )
    kind = _kind_of_callable(fn)
    if kind is None:
        raise InvalidFunctionError(
            f"{name} ({where}) is an async generator: use either `yield ctx...` in a def, or "
            "`await ctx...` in an async def"
        )
    return kind


def _kind_of_callable(fn: Any) -> Kind | None:
    """Return what a callable itself is, whatever it wraps; None: an async generator function."""
    while isinstance(fn, functools.partial | staticmethod):
        fn = fn.func if isinstance(fn, functools.partial) else fn.__func__
    candidates = [fn] if inspect.isroutine(fn) else [fn, type(fn).__call__]
    if any(map(inspect.isasyncgenfunction, candidates)):
        return None
    if any(map(inspect.isgeneratorfunction, candidates)):
        return "generator"
    if any(map(_is_coroutine_function, candidates)):
        return "coroutine"
    return "plain"


def _is_coroutine_function(fn: Any) -> bool:
    if inspect.iscoroutinefunction(fn):
        return True
    # Before Python 3.12 only asyncio knew a mark, which asgiref still sets.
    coroutines = sys.modules.get("asyncio.coroutines")
    mark = getattr(coroutines, "_is_coroutine", None)
    return mark is not None and getattr(fn, "_is_coroutine", None) is mark


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


def _described(signature: inspect.Signature) -> str:
    """Return the parameters after the context, without types and default values."""
    parameters = list(signature.parameters.values())
    if parameters[0].kind is not parameters[0].VAR_POSITIONAL:
        del parameters[0]
    bare = [
        parameter.replace(
            annotation=parameter.empty,
            default=parameter.empty if parameter.default is parameter.empty else ...,
        )
        for parameter in parameters
    ]
    return str(inspect.Signature(bare)).replace("=Ellipsis", "=...") if bare else "none"


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
