"""The structure of an annotation: which builder makes its values.

`builder_of` returns None for an annotation that names no class to rebuild, so that ordinary
arguments cost nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from understudy.values import hints
from understudy.values.builders import (
    ANY,
    Builder,
    CollectionBuilder,
    DataclassBuilder,
    EnumBuilder,
    FieldBuilders,
    MappingBuilder,
    ModelBuilder,
    RecordBuilder,
    StructBuilder,
    TupleBuilder,
    TypedDictBuilder,
    UnionBuilder,
)
from understudy.values.class_kinds import is_model, is_named_tuple


def builder_of(hint: Any) -> Builder | None:
    """Return the builder for `hint`; None if its values need no rebuilding."""
    try:
        return _cached_builder_of(hint)
    except TypeError:  # not hashable, such as an Annotated with a list
        return _new_builder_of(hint)


@functools.lru_cache(maxsize=4096)
def _cached_builder_of(hint: Any) -> Builder | None:
    return _new_builder_of(hint)


def _new_builder_of(hint: Any) -> Builder | None:
    inner = _unwrap(hint)
    if inner is not hint:
        return builder_of(inner)
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return _union_builder(arguments)
    if origin is typing.Literal:
        enums = {type(value) for value in arguments if isinstance(value, enum.Enum)}
        return _union_builder(enums, ANY)
    kind = origin or hint
    if not isinstance(kind, type):
        return None
    return _class_builder(kind) or _container_builder(hint, kind, arguments)


def _unwrap(hint: Any) -> Any:
    """Return the type inside `Annotated`, `NewType`, `Required` and the like, else `hint`."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return typing.get_args(hint)[0]
    if origin in (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired):
        return typing.get_args(hint)[0]
    if isinstance(hint, typing.NewType):
        return hint.__supertype__
    if isinstance(hint, dataclasses.InitVar):
        return hint.type
    if isinstance(hint, typing.TypeVar):
        return hint.__bound__
    if type(hint).__name__ == "TypeAliasType":
        return hint.__value__
    return hint


def _union_builder(members: Iterable[Any], *more: Builder) -> Builder | None:
    builders = [(member, builder_of(member)) for member in members]
    if not any(builder for _, builder in builders):
        return None
    return UnionBuilder(
        [*(builder or Builder(_unwrap(member)) for member, builder in builders), *more]
    )


def _container_builder(hint: Any, kind: type, arguments: tuple[Any, ...]) -> Builder | None:
    if issubclass(kind, tuple) and arguments and arguments[-1] is not Ellipsis:
        places = [builder_of(argument) for argument in arguments]
        return TupleBuilder(hint, places) if any(places) else None
    if issubclass(kind, Mapping) and len(arguments) == 2:
        key, item = map(builder_of, arguments)
        return MappingBuilder(hint, key, item) if key or item else None
    if issubclass(kind, Iterable) and arguments:
        item = builder_of(arguments[0])
        return CollectionBuilder(hint, item) if item else None
    return None


def _class_builder(kind: Any) -> Builder | None:
    if issubclass(kind, enum.Enum):
        return EnumBuilder(kind)
    if typing.is_typeddict(kind):
        return TypedDictBuilder(_field_builders(kind))
    if is_named_tuple(kind):
        types_of_fields = hints.resolve(kind)
        places = [builder_of(types_of_fields.get(name)) for name in kind._fields]
        return TupleBuilder(kind, places, kind._make)
    if dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct) or is_model(kind):
        return _record_builder(kind)
    return None


@functools.lru_cache(maxsize=1024)
def _record_builder(kind: Any) -> RecordBuilder:
    fields = _field_builders(kind)
    if issubclass(kind, msgspec.Struct):
        return StructBuilder(kind, kind.__struct_fields__, fields, _record_builder)
    if is_model(kind):
        # A model knows its fields itself.
        return ModelBuilder(kind, (), fields, _record_builder)
    names = [field.name for field in dataclasses.fields(kind)]
    return DataclassBuilder(kind, names, fields, _record_builder)


def _field_builders(kind: Any) -> FieldBuilders:
    return FieldBuilders(
        lambda: {name: builder_of(hint) for name, hint in hints.resolve(kind).items()}
    )
