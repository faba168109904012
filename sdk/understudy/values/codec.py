"""The codec: arguments, results and errors to bytes and back.

The bytes are msgpack, with the extension types of `extension_types`. The broker and the store never
look inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from understudy.errors import (
    DecodingError,
    EncodingError,
    PayloadTooLargeError,
    SealedValueError,
)
from understudy.values.builders import ANY, Builder, MismatchError
from understudy.values.calls import CallTypes
from understudy.values.decoding import (
    Buffer,
    Decoder,
    RefusedError,
    decoding_error,
    refuse_pickle,
    refuse_unsealed_pickle,
    unpickle,
)
from understudy.values.encoding import (
    Converter,
    TooManyItemsError,
    UnencodableError,
    encode,
    is_plain,
)
from understudy.values.error_decoding import decode_error
from understudy.values.error_encoding import encode_error
from understudy.values.seals import OVERHEAD_BYTES, Authentic, Sealer, is_sealed, problem_of
from understudy.values.structure import LOADED, builder_of

PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024

_NO_NAMES: Final[tuple[str, ...]] = ()


class Codec:
    """Encodes and decodes values. It keeps no state, so threads may share it.

    With seal keys, what it encodes is sealed on its way to the broker, and what comes from there
    was opened (see `client.sealed_records`). So here a value that is still sealed is one that this
    process cannot open.

    Parameters
    ----------
    pickle
        Whether values that are not plain data are pickled. If False such a value is an
        `EncodingError`, and pickled data from elsewhere is a `DecodingError`.
    payload_bytes_max
        The largest encoding allowed, in bytes; sealing included.
    sealer
        The seal keys of this process. With them pickles are loaded only from values that were
        sealed.
    """

    __slots__ = (
        "pickle",
        "payload_bytes_max",
        "sealer",
        "_decoder",
        "_tagging_decoder",
        "_doubting",
    )

    def __init__(
        self,
        pickle: bool = False,
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
        sealer: Sealer | None = None,
        *,
        refuse: Callable[[memoryview], Any] = refuse_pickle,
    ) -> None:
        self.pickle = pickle
        self.sealer: Final = sealer
        self.payload_bytes_max = 0
        self.bound_payload(payload_bytes_max)
        read_pickle = unpickle if pickle else refuse
        self._decoder: Final = Decoder(read_pickle, self._decode_error, tagged=False)
        self._tagging_decoder: Final = Decoder(read_pickle, self._decode_error, tagged=True)
        #: reads what others than the holders of a key may have made
        self._doubting: Final[Codec | None] = (
            Codec(refuse=refuse_unsealed_pickle) if pickle and sealer is not None else None
        )

    def bound_payload(self, bytes_max: int) -> None:
        """Allow encodings that have at most this many bytes in the store."""
        overhead = 0 if self.sealer is None else OVERHEAD_BYTES
        self.payload_bytes_max = max(bytes_max - overhead, 0)

    def encode_call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        names: Sequence[str] = _NO_NAMES,
        types: CallTypes | None = None,
    ) -> bytes:
        """Encode a call's arguments, without the context.

        Parameters
        ----------
        names
            Names of the positional parameters, for messages (`CallTypes.names`).
        types
            The function's parameters if they are known. Instances of classes are then checked:
            they must be such as the reader can rebuild.

        Raises
        ------
        EncodingError
            An argument is not plain data, or an instance of a class that its annotation does not
            name. The message names it and the place inside it.
        PayloadTooLargeError
            The encoding is too large. The message has its size and the size allowed.
        """
        try:
            if is_plain([*args, kwargs] if kwargs else list(args), self.payload_bytes_max):
                data = encode((args, kwargs))
            else:
                data = self._encode_converted_call(args, kwargs, names, types)
        except (OverflowError, UnicodeEncodeError, RecursionError):
            data = self._encode_converted_call(args, kwargs, names, types)
        except TooManyItemsError:
            raise PayloadTooLargeError("the arguments", None, self.payload_bytes_max) from None
        if len(data) > self.payload_bytes_max:
            raise PayloadTooLargeError("the arguments", len(data), self.payload_bytes_max)
        return data if self._doubting is None else Authentic(data)

    def decode_call(
        self, data: Buffer, types: CallTypes | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode a call's arguments; classes are rebuilt if `types` names them.

        Raises
        ------
        DecodingError
            The data is damaged, pickled, or does not fit `types`.
        SealedValueError
            It is sealed, and this process could not open it.
        """
        if (doubting := self._reader_of(data, "the arguments")) is not None:
            return doubting.decode_call(data, types)
        if types is None or not types.has_builders:
            args, kwargs = self._decode_raw_call(data, self._decoder)
            return tuple(args), kwargs
        args, kwargs = self._decode_raw_call(data, self._tagging_decoder)
        names = types.names
        built_args = tuple(
            _build(types.builder_at(index), value, _argument(index, names), _root(index, names))
            for index, value in enumerate(args)
        )
        built_kwargs = {
            name: _build(types.builder_named(name), value, f"argument {name!r}", name)
            for name, value in kwargs.items()
        }
        return built_args, built_kwargs

    def encode_value(self, value: Any, what: str = "the value", function: Any = None) -> bytes:
        """Encode one value; raises as `encode_call`.

        Parameters
        ----------
        what
            The value's name in messages ("the result of foo").
        function
            The function that returned it, if any. Instances of classes are then checked: they
            must be such as a caller can rebuild with its `result_hint`.
        """
        try:
            if is_plain(value, self.payload_bytes_max):
                data = encode(value)
            else:
                data = encode(self._convert(value, what, "", _result_builder(function)))
        except (OverflowError, UnicodeEncodeError, RecursionError):
            data = encode(self._convert(value, what, "", _result_builder(function)))
        except TooManyItemsError:
            raise PayloadTooLargeError(what, None, self.payload_bytes_max) from None
        if len(data) > self.payload_bytes_max:
            raise PayloadTooLargeError(what, len(data), self.payload_bytes_max)
        return data if self._doubting is None else Authentic(data)

    def decode_value(self, data: Buffer | None, hint: Any = None, what: str = "the value") -> Any:
        """Decode one value. Raises `DecodingError`, `SealedValueError` if it could not be opened.

        Parameters
        ----------
        data
            The encoding; None (the value of a timer, which has no data) is decoded as None.
        hint
            An annotation. Classes that it names are rebuilt; without it they become dicts.
        what
            The value's name in messages.
        """
        if data is None:
            return None
        if (doubting := self._reader_of(data, what)) is not None:
            return doubting.decode_value(data, hint, what)
        builder = builder_of(hint)
        try:
            if builder is None:
                return self._decoder.decode(data)
            value = self._tagging_decoder.decode(data)
        except Exception as error:
            raise decoding_error(what, error) from error
        return _build(builder, value, what, "")

    def encode_error(self, error: BaseException) -> bytes:
        """Encode an exception with its traceback as text. Never raises."""
        data = encode_error(error, pickle=self.pickle, payload_bytes_max=self.payload_bytes_max)
        return data if self._doubting is None else Authentic(data)

    def decode_error(self, data: Buffer | None) -> BaseException:
        """Rebuild an exception. Raises as `decode_value`.

        Returns
        -------
        An exception of the original class if this process has the class loaded, else a
        `RemoteError`. Its first cause is a `RemoteTraceback`, so printing it shows where it
        happened.
        """
        if data is not None and (doubting := self._reader_of(data, "the error")) is not None:
            return doubting.decode_error(data)
        return self._decode_error(data)

    def _decode_error(self, data: Buffer | None) -> BaseException:
        """Rebuild an exception, which may be inside another value."""
        return decode_error(data, self._decoder.decode, self._decode_loaded, unpickles=self.pickle)

    def _reader_of(self, data: Buffer, what: str) -> Codec | None:
        """Return the codec that reads `data` if another one has to; raises `SealedValueError`."""
        if is_sealed(data):
            raise SealedValueError(what, problem_of(data, self.sealer))
        return None if type(data) is Authentic else self._doubting

    def _decode_loaded(self, data: Buffer) -> Any:
        """Decode a value without a hint; its classes are rebuilt if they are loaded."""
        return LOADED.build(self._tagging_decoder.decode(data))

    def _encode_converted_call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        names: Sequence[str],
        types: CallTypes | None,
    ) -> bytes:
        types = types or _NO_TYPES
        converted_args = [
            self._convert(
                value, _argument(index, names), _root(index, names), types.builder_at(index)
            )
            for index, value in enumerate(args)
        ]
        converted_kwargs = {
            name: self._convert(value, f"argument {name!r}", name, types.builder_named(name))
            for name, value in kwargs.items()
        }
        return encode((converted_args, converted_kwargs))

    def _convert(self, value: Any, what: str, root: str, builder: Builder | None) -> Any:
        """Convert `value`; an `EncodingError` names it as `what`, with a path from `root`.

        Parameters
        ----------
        builder
            The builder with which the reader will rebuild it, if that is known.
        """
        try:
            converter = Converter(self.pickle, self.payload_bytes_max, self.encode_error)
            converted = converter.convert(value)
            if converter.instances and builder is not None:
                _check_rebuilt(encode(converted), builder)
            return converted
        except MismatchError as error:
            advice = "Annotate the parameter or the result with the class that is sent"
            raise EncodingError(error.place(what, root), error.problem, advice) from error
        except UnencodableError as error:
            place = error.place(what, root)
            if error.advice is None:
                raise EncodingError(place, error.problem) from error.__cause__
            raise EncodingError(place, error.problem, error.advice) from error.__cause__
        except TooManyItemsError:
            raise PayloadTooLargeError(what, None, self.payload_bytes_max) from None
        except RecursionError:
            raise EncodingError(what, "nested too deeply", "Pass flatter data") from None

    def _decode_raw_call(self, data: Buffer, decoder: Decoder) -> tuple[list[Any], dict[str, Any]]:
        try:
            call = decoder.decode(data)
        except Exception as error:
            raise decoding_error("the arguments", error) from error
        if type(call) is list and len(call) == 2:
            args, kwargs = call
            has_shape = type(args) is list and type(kwargs) is dict
            if has_shape and (not kwargs or {str}.issuperset(map(type, kwargs))):
                return args, kwargs
        raise DecodingError("the arguments", "the data is not [positional, by name]")


def _result_builder(function: Any) -> Builder | None:
    return builder_of(getattr(function, "result_hint", None))


def _check_rebuilt(data: bytes, builder: Builder) -> None:
    """Check that `builder` can rebuild what is sent, without unpickling any of it."""
    value = _CHECKING_DECODER.decode(data)
    try:
        builder.build(value)
    except RefusedError as error:
        raise MismatchError(str(error)) from error


def _leave(data: memoryview) -> None:
    del data


_CHECKING_DECODER: Final = Decoder(_leave, _leave, tagged=True)
_NO_TYPES: Final = CallTypes([], {})


def _argument(index: int, names: Sequence[str]) -> str:
    """Return the name of a positional argument in messages, counted from 1."""
    if index < len(names):
        return f"argument {index + 1} ({names[index]!r})"
    return f"argument {index + 1}"


def _root(index: int, names: Sequence[str]) -> str:
    """Return the start of a path inside a positional argument."""
    return names[index] if index < len(names) else "it"


def _build(builder: Builder | None, value: Any, what: str, root: str) -> Any:
    try:
        return (builder or ANY).build(value)
    except MismatchError as error:
        raise DecodingError(error.place(what, root), error.problem) from error.__cause__
    except RefusedError as error:
        raise DecodingError(what, str(error)) from error.__cause__
    except Exception as error:
        raise decoding_error(what, error) from error
