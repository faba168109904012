"""Faults of sealed values: what is left open, what is opened in a wrong place, what is trusted."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_unit = Area("tests/unit/sdk").mutant
_travel = Area("tests/integration/sdk").mutant
_SEALS: Final = "values/test_seals.py"
_RECORDS: Final = "client/test_sealed_records.py"
_KEYS: Final = "client/test_seal_keys.py"
_TRAVEL: Final = "test_sealed_values.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _unit(
        "seal-any-promise",
        None,
        "a value is opened only in the promise that it was sealed for",
        "understudy.values.seals._associated",
        swap("_encode((place.part, place.id, place.function))", "_encode((place.part,))"),
        _SEALS,
    ),
    _unit(
        "seal-any-form",
        None,
        "what is bound to a promise cannot be made the arguments of a schedule",
        "understudy.values.seals._associated",
        swap("head + _encode", "_encode"),
        _SEALS,
    ),
    _unit(
        "seal-same-nonce",
        None,
        "no two values have one nonce",
        "understudy.values.seals.Sealer.seal",
        swap("os.urandom(_NONCE_BYTES)", "bytes(_NONCE_BYTES)"),
        _SEALS,
    ),
    _unit(
        "unsealed-taken",
        None,
        "where sealed values are required, others are refused",
        "understudy.values.seals.Sealer.opened",
        swap("_REFUSED + data if self.required else data", "data"),
        _SEALS,
    ),
    _unit(
        "no-room-for-seal",
        None,
        "the bound of payloads holds for sealed ones",
        "understudy.values.codec.Codec.bound_payload",
        swap("bytes_max - overhead", "bytes_max"),
        _SEALS,
    ),
    _unit(
        "fence-in-clear",
        None,
        "what a fence holds is sealed",
        "understudy.client.sealed_records.SealedRecords._sealed_own",
        swap("tuple(map(self._sealed_inner, command.commands))", "command.commands"),
        _RECORDS,
    ),
    _unit(
        "cause-in-clear",
        None,
        "the message of a failed attempt is not stored in clear",
        "understudy.client.sealed_records._without_message",
        swap('name, _, _ = error.partition(": ")', "name = error"),
        _RECORDS,
    ),
    _unit(
        "result-as-failure",
        None,
        "a rejection cannot be made a result",
        "understudy.client.sealed_records.SealedRecords.opened",
        swap("Place(record.id, record.state)", "Place(record.id, 'resolved')"),
        _RECORDS,
    ),
    _unit(
        "wide-seal-keys",
        None,
        "a file of seal keys that others can read is refused",
        "understudy_broker.keys.key_files.read_secret_text",
        swap("secret=True", "secret=False"),
        _KEYS,
    ),
    _travel(
        "unsealed-pickle-loaded",
        None,
        "with seal keys, a pickle is loaded from a sealed value only",
        "understudy.values.codec.Codec._reader_of",
        swap("None if type(data) is Authentic else self._doubting", "None"),
        _TRAVEL,
    ),
    _travel(
        "unreadable-is-heard",
        None,
        "a result that a node cannot open is not told to the function",
        "understudy_actors.interpreter.replay.ReplayState.read",
        drop("self.mismatch = unreadable"),
        _TRAVEL,
    ),
    _travel(
        "pickle-among-keys",
        None,
        "among peers with keys, pickles need seal keys",
        "understudy.client.session.ClientSession._connect",
        swap("keys is not None and self.pickle and sealer is None", "keys is None is self.pickle"),
        _TRAVEL,
    ),
)
