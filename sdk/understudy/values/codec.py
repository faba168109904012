"""The codec: arguments, results and errors to bytes and back.

Bytes are msgpack, with the extension types of `_codes`. The broker and the store never look inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from understudy.errors import DecodingError, EncodingError, PayloadTooLargeError
from understudy.values import errors as failures
from understudy.values.calls import CallTypes
from understudy.values.decoding import Decoding, Refused
from understudy.values.encoding import Encoding, TooLarge, Unencodable, encode, is_plain
from understudy.values.structure import ANY, Mismatch, Plan, plan_of

PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024

_NO_NAMES: Final[tuple[str, ...]] = ()

Buffer = bytes | bytearray | memoryview


class Codec:
    """Encodes and decodes values; keeps no state, and may be shared by threads.

    Parameters
    ----------
    pickle
        Whether what is not plain data goes through cloudpickle. If False such a value is an
        `EncodingError`, and pickled data from elsewhere a `DecodingError`.
    payload_bytes_max
        The largest encoding allowed, in bytes.
    """

    __slots__ = ("pickle", "payload_bytes_max", "_decode", "_decode_tagged")

    def __init__(self, pickle: bool = False, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        self.pickle = pickle
        self.payload_bytes_max = payload_bytes_max
        self._decode: Final = Decoding(pickle=pickle, tagged=False).decode
        self._decode_tagged: Final = Decoding(pickle=pickle, tagged=True).decode

    def encode_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], names: Sequence[str] = _NO_NAMES
    ) -> bytes:
        """Encode a call's arguments (without the context).

        Parameters
        ----------
        names
            Names of the positional parameters, for messages (`CallTypes.names`).

        Raises
        ------
        EncodingError
            Names the argument and the place inside it.
        PayloadTooLargeError
            With the size, and the size allowed.
        """
        try:
            if is_plain([*args, kwargs] if kwargs else list(args), self.payload_bytes_max):
                data = encode((args, kwargs))
            else:
                data = self._lowered_call(args, kwargs, names)
        except (OverflowError, UnicodeEncodeError, RecursionError):
            data = self._lowered_call(args, kwargs, names)
        except TooLarge:
            raise PayloadTooLargeError("the arguments", None, self.payload_bytes_max) from None
        if len(data) > self.payload_bytes_max:
            raise PayloadTooLargeError("the arguments", len(data), self.payload_bytes_max)
        return data

    def decode_call(
        self, data: Buffer, types: CallTypes | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode a call's arguments; classes are rebuilt where `types` names them.

        Raises
        ------
        DecodingError
            Whatever is wrong with the data.
        """
        if types is None or not types.has_plans:
            args, kwargs = self._shaped_call(data, tagged=False)
            return tuple(args), kwargs
        args, kwargs = self._shaped_call(data, tagged=True)
        names = types.names
        built = tuple(
            _built(types.plan_at(index), value, _argument(index, names), _root(index, names))
            for index, value in enumerate(args)
        )
        named = {
            name: _built(types.plan_named(name), value, f"argument {name!r}", name)
            for name, value in kwargs.items()
        }
        return built, named

    def encode_value(self, value: Any, what: str = "the value") -> bytes:
        """Encode one value; `what` names it in messages ("result of foo").

        Raises as `encode_call`.
        """
        try:
            if is_plain(value, self.payload_bytes_max):
                data = encode(value)
            else:
                data = encode(self._lowered(value, what, ""))
        except (OverflowError, UnicodeEncodeError, RecursionError):
            data = encode(self._lowered(value, what, ""))
        except TooLarge:
            raise PayloadTooLargeError(what, None, self.payload_bytes_max) from None
        if len(data) > self.payload_bytes_max:
            raise PayloadTooLargeError(what, len(data), self.payload_bytes_max)
        return data

    def decode_value(self, data: Buffer | None, hint: Any = None, what: str = "the value") -> Any:
        """Decode one value; no data (a timer's) is None. Raises `DecodingError`.

        Parameters
        ----------
        hint
            An annotation; classes that it names are rebuilt, without it they are dicts.
        """
        if data is None:
            return None
        plan = plan_of(hint)
        try:
            if plan is None:
                return self._decode(data)
            value = self._decode_tagged(data)
        except Exception as error:
            raise _damaged(what, error) from error
        return _built(plan, value, what, "")

    def encode_error(self, error: BaseException) -> bytes:
        """Encode an exception with its traceback as text. Never raises."""
        return failures.encode_failure(self, error)

    def decode_error(self, data: Buffer | None) -> BaseException:
        """Rebuild an exception: the very type if this process has it loaded, else `RemoteError`.

        Its cause is a `RemoteTraceback`, so that printing it shows where it happened. Raises
        `DecodingError`.
        """
        return failures.decode_failure(self, data)

    def _lowered_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], names: Sequence[str]
    ) -> bytes:
        low_args = [
            self._lowered(value, _argument(index, names), _root(index, names))
            for index, value in enumerate(args)
        ]
        low_kwargs = {
            name: self._lowered(value, f"argument {name!r}", name) for name, value in kwargs.items()
        }
        return encode((low_args, low_kwargs))

    def _lowered(self, value: Any, what: str, root: str) -> Any:
        """Raises `EncodingError` with `what` and, if inside it, the path from `root`."""
        try:
            return Encoding(self.pickle, self.payload_bytes_max).lower(value)
        except Unencodable as error:
            where = f"{what} at {root}{error.path}" if error.path else what
            if error.advice is None:
                raise EncodingError(where, error.problem) from error.__cause__
            raise EncodingError(where, error.problem, error.advice) from error.__cause__
        except TooLarge:
            raise PayloadTooLargeError(what, None, self.payload_bytes_max) from None
        except RecursionError:
            raise EncodingError(what, "nested too deeply", "Pass flatter data") from None

    def _shaped_call(self, data: Buffer, *, tagged: bool) -> tuple[list[Any], dict[str, Any]]:
        try:
            call = self._decode_tagged(data) if tagged else self._decode(data)
        except Exception as error:
            raise _damaged("the arguments", error) from error
        if type(call) is list and len(call) == 2:
            args, kwargs = call
            shaped = type(args) is list and type(kwargs) is dict
            if shaped and (not kwargs or {str}.issuperset(map(type, kwargs))):
                return args, kwargs
        raise DecodingError("the arguments", "the data is not [positional, by name]")


def _argument(index: int, names: Sequence[str]) -> str:
    """How messages call the positional argument at `index`: counted from 1."""
    if index < len(names):
        return f"argument {index + 1} ({names[index]!r})"
    return f"argument {index + 1}"


def _root(index: int, names: Sequence[str]) -> str:
    """What a path inside that argument starts with."""
    return names[index] if index < len(names) else "it"


def _damaged(what: str, error: Exception) -> DecodingError:
    if isinstance(error, Refused):
        return DecodingError(what, str(error))
    return DecodingError(what, f"the data is damaged, or not of this format: {error}")


def _built(plan: Plan | None, value: Any, what: str, root: str) -> Any:
    try:
        return (plan or ANY).build(value)
    except Mismatch as error:
        where = f"{what} at {root}{error.path}" if error.path else what
        raise DecodingError(where, error.problem) from error.__cause__
    except Refused as error:
        raise DecodingError(what, str(error)) from error.__cause__
    except Exception as error:
        raise _damaged(what, error) from error
