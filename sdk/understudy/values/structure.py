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
from typing import Any, Final

import msgspec

from understudy.values import generics, hints
from understudy.values.builders import (
    ANY,
    Builder,
    ClassBuilder,
    CollectionBuilder,
    DataclassBuilder,
    EnumBuilder,
    FieldBuilders,
    MappingBuilder,
    MismatchError,
    ModelBuilder,
    NamedTupleBuilder,
    PlainBuilder,
    StructBuilder,
    TupleBuilder,
    TypedDictBuilder,
    UnionBuilder,
    WrittenBuilder,
    replace_tagged,
    shown_name,
)
from understudy.values.class_kinds import PLAIN, is_data_class, is_model, is_named_tuple
from understudy.values.class_names import is_full, loaded_class
from understudy.values.decoding import Tagged


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
    if isinstance(hint, hints.Unresolved):
        advice = f": it cannot be evaluated ({hint.reason}). Import what it names"
        return PlainBuilder(f"the annotation {hint.annotation!r}", advice)
    inner = unwrap(hint)
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
    builder = _class_builder(kind, arguments) or _container_builder(hint, kind, arguments)
    if builder is None and getattr(kind, "_is_protocol", False):
        return PlainBuilder(hint, ", because it is a Protocol, which says nothing of classes")
    return builder


def unwrap(hint: Any) -> Any:
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
        if hint.__constraints__:
            return typing.Union[hint.__constraints__]  # noqa: UP007 - it is made of values
        return hint.__bound__
    if isinstance(hint, typing.ForwardRef):
        return hints.Unresolved(hint.__forward_arg__, "it is text, and what it names is unknown")
    if type(hint).__name__ == "TypeAliasType":
        return hint.__value__
    if type(origin).__name__ == "TypeAliasType":
        given = zip(origin.__type_params__, typing.get_args(hint), strict=False)
        return generics.substitute(origin.__value__, dict(given))
    return hint


def _union_builder(members: Iterable[Any], *more: Builder) -> Builder | None:
    builders = [(member, builder_of(member)) for member in members]
    if not any(builder for _, builder in builders):
        return None
    return UnionBuilder(
        [*(builder or _plain_member(member) for member, builder in builders), *more]
    )


def _plain_member(member: Any) -> Builder:
    hint = unwrap(member)
    return Builder(hint) if hint in (Any, object) else PlainBuilder(hint)


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


def _class_builder(kind: Any, arguments: tuple[Any, ...] = ()) -> Builder | None:
    """Return the builder for a class with these type arguments; None if it is plain data."""

    def builder_of_subclass(subclass: type) -> Builder | None:
        return _class_builder(subclass, generics.arguments_for(subclass, kind, arguments))

    if typing.is_typeddict(kind):
        return TypedDictBuilder(kind, _field_builders(kind, arguments), kind.__required_keys__)
    if issubclass(kind, enum.Enum):
        values = _union_builder({type(member.value) for member in kind}, ANY)
        return EnumBuilder(kind, values, builder_of_subclass)
    fields = _field_builders(kind, arguments)
    if is_named_tuple(kind):
        return NamedTupleBuilder(kind, fields, builder_of_subclass)
    if issubclass(kind, msgspec.Struct):
        return StructBuilder(kind, kind.__struct_fields__, fields, builder_of_subclass)
    if is_model(kind):
        names = getattr(kind, "model_fields", ())
        return ModelBuilder(kind, names, fields, builder_of_subclass)
    if dataclasses.is_dataclass(kind):
        # Those of `InitVar` are no attributes, but the constructor takes them.
        names = kind.__dataclass_fields__
        return DataclassBuilder(kind, names, fields, builder_of_subclass)
    return None if _is_plain(kind) else WrittenBuilder(kind, builder_of_subclass)


def _is_plain(kind: type) -> bool:
    """Return whether a class is plain data, or says nothing about the class of its values."""
    return (
        kind in PLAIN
        or kind is object
        or issubclass(kind, BaseException | type)
        or getattr(kind, "_is_protocol", False)
        or kind.__module__ in ("typing", "collections.abc", "numbers", "abc")
    )


def _field_builders(kind: Any, arguments: tuple[Any, ...]) -> FieldBuilders:
    return FieldBuilders(
        lambda: {
            name: builder_of(hint) or _field_without_class(name, hint)
            for name, hint in field_hints(kind, arguments).items()
        }
    )


def _field_without_class(name: str, hint: Any) -> Builder:
    return PlainBuilder(hint, f". Annotate {name!r} with the class")


def field_hints(kind: Any, arguments: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Return the annotations of a class's fields, with its type arguments in them."""
    if is_model(kind) and getattr(kind, "__pydantic_complete__", False):
        # pydantic has evaluated them where the class was defined.
        known = {name: field.annotation for name, field in kind.model_fields.items()}
        return hints.resolve(kind) | known
    bindings = generics.bindings_of(kind, arguments)
    return {
        name: generics.substitute(
            hint,
            {typing.Self: kind, **bindings.get(generics.declaring_class(kind, name), {})},
        )
        for name, hint in hints.resolve(kind).items()
    }


@functools.lru_cache(maxsize=1024)
def name_classes(kind: Any) -> Mapping[str, bool]:
    """Return whether the annotation of each annotated field of a class names classes.

    A type parameter may stand for one.
    """
    return {
        name: _names_class(builder_of(hint)) or _has_parameter(hint)
        for name, hint in field_hints(kind).items()
    }


def _names_class(builder: Builder | None) -> bool:
    """Return whether an annotation names a class, by the builder for it."""
    match builder:
        case UnionBuilder():
            return any(map(_names_class, builder.members))
        case CollectionBuilder():
            return _names_class(builder.item)
        case TupleBuilder():
            return any(map(_names_class, builder.places))
        case MappingBuilder():
            return _names_class(builder.key) or _names_class(builder.item)
    return isinstance(builder, ClassBuilder | TypedDictBuilder)


def _has_parameter(hint: Any) -> bool:
    return isinstance(hint, typing.TypeVar) or any(map(_has_parameter, typing.get_args(hint)))


class LoadedBuilder(Builder):
    """The builder for what an exception holds, which no annotation describes.

    It builds data classes that this process has loaded, without running their constructors (but for
    Structs, which have no other way).
    """

    def build(self, value: Any) -> Any:
        return replace_tagged(value, self._rebuilt)

    def _rebuilt(self, tagged: Tagged) -> Any:
        module, _, qualname = tagged.name.rpartition(":")
        kind = loaded_class(module, qualname)
        builder = builder_of(kind) if kind is not None and is_data_class(kind) else None
        if not is_full(tagged.name) or not isinstance(builder, ClassBuilder):
            raise MismatchError(f"{shown_name(tagged.name)} is not loaded in this process")
        return builder.build(tagged)


LOADED: Final = LoadedBuilder()
