"""Builders: each makes values of the classes that one annotation names.

A builder gets the decoder's result (with enums and records as `Tagged`) and returns the value that
was sent. The class in the annotation decides what is built. The class name inside a `Tagged` only
chooses between the members of a union, and between a class and its subclasses, so data can never
make a reader build a class that its own annotations do not name.

`structure` chooses the builder for an annotation.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from understudy.values.class_kinds import SCALARS
from understudy.values.decoding import RefusedError, Tagged, make_hashed
from understudy.values.paths import LocatedError, key_step

#: how well a value fits a member of a union
NOT, LOOSELY, PLAINLY, EXACTLY = range(4)


class MismatchError(LocatedError):
    """The data does not fit the annotation."""


def untag(value: Any) -> Any:
    """Replace each `Tagged` in `value` by its content: the value that is read without a hint."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is Tagged:
        return untag(value.value)
    if kind is dict:
        if _are_scalars(value) and _are_scalars(value.values()):
            return value
        pairs = [(untag(key), untag(item)) for key, item in value.items()]
        return make_hashed(dict, pairs)
    if kind in (list, tuple, set, frozenset):
        if _are_scalars(value):
            return value
        return make_hashed(kind, [untag(item) for item in value])
    return value


def _are_scalars(items: Iterable[Any]) -> bool:
    return SCALARS.issuperset(map(type, items))


class Builder:
    """The base class; by itself the builder for an annotation that names no class to rebuild.

    Parameters
    ----------
    hint
        The annotation.
    """

    def __init__(self, hint: Any = Any) -> None:
        self.hint = hint

    def fit(self, value: Any) -> int:
        """Return how well `value` fits the annotation, from `NOT` to `EXACTLY`."""
        if type(value) is Tagged:
            return LOOSELY if self.hint is Any else NOT
        kind = typing.get_origin(self.hint) or self.hint
        if not isinstance(kind, type):
            return LOOSELY
        if kind is float and type(value) is int:
            return PLAINLY
        try:
            return PLAINLY if isinstance(value, kind) else NOT
        except TypeError:
            return LOOSELY

    def build(self, value: Any) -> Any:
        """Return the value that was sent; raises `MismatchError` or `RefusedError`."""
        return untag(value)


class UnionBuilder(Builder):
    """The builder for a union: tries its members, the best fit first."""

    def __init__(self, members: Iterable[Builder]) -> None:
        super().__init__()
        self.members = tuple(members)

    def fit(self, value: Any) -> int:
        return max(member.fit(value) for member in self.members)

    def build(self, value: Any) -> Any:
        if value is None:
            return None
        failure: MismatchError | None = None
        ranked = [(member.fit(value), member) for member in self.members]
        for fit, member in sorted(ranked, key=lambda pair: -pair[0]):
            if fit == NOT:
                break
            try:
                return member.build(value)
            except MismatchError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return untag(value)


class CollectionBuilder(Builder):
    """The builder for lists, sets and tuples of one kind of item.

    The kind of collection is the sender's, whatever the annotation says.
    """

    def __init__(self, hint: Any, item: Builder) -> None:
        super().__init__(hint)
        self.item = item

    def build(self, value: Any) -> Any:
        if type(value) not in (list, tuple, set, frozenset):
            return untag(value)
        items: list[Any] = []
        try:
            items.extend(map(self.item.build, value))
        except MismatchError as error:
            error.steps.append(f"[{len(items)}]")
            raise
        return make_hashed(type(value), items)


class TupleBuilder(Builder):
    """The builder for ``tuple[A, B]`` and named tuples, with a builder for each place.

    Parameters
    ----------
    places
        The builders, in order; None for a place that names no class.
    make
        Makes a named tuple from its items; None for a plain tuple.
    """

    def __init__(
        self,
        hint: Any,
        places: list[Builder | None],
        make: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        super().__init__(hint)
        self.places = places
        self.make = make

    def fit(self, value: Any) -> int:
        if self.make is not None:
            return PLAINLY if type(value) in (list, tuple) else NOT
        return super().fit(value)

    def build(self, value: Any) -> Any:
        if type(value) not in (list, tuple):
            return untag(value)
        if len(value) != len(self.places):
            problem = f"{len(value)} items where {_name(self.hint)} has {len(self.places)}"
            raise MismatchError(problem)
        items: list[Any] = []
        try:
            for builder, item in zip(self.places, value, strict=True):
                items.append((builder or ANY).build(item))
        except MismatchError as error:
            error.steps.append(f"[{len(items)}]")
            raise
        return self.make(items) if self.make is not None else type(value)(items)


class MappingBuilder(Builder):
    """The builder for ``dict[K, V]``."""

    def __init__(self, hint: Any, key: Builder | None, item: Builder | None) -> None:
        super().__init__(hint)
        self.key = key or ANY
        self.item = item or ANY

    def build(self, value: Any) -> Any:
        if type(value) is not dict:
            return untag(value)
        pairs = []
        key: Any = None
        try:
            for key, item in value.items():
                pairs.append((self.key.build(key), self.item.build(item)))
        except MismatchError as error:
            error.steps.append(key_step(untag(key)))
            raise
        return make_hashed(dict, pairs)


class EnumBuilder(Builder):
    """The builder for an enum, from its value."""

    def __init__(self, hint: type[enum.Enum]) -> None:
        super().__init__(hint)

    def fit(self, value: Any) -> int:
        if type(value) is Tagged and value.is_enum:
            return EXACTLY if value.name == self.hint.__qualname__ else NOT
        try:
            self.hint(untag(value))
        except (ValueError, TypeError, KeyError):
            return NOT
        return LOOSELY

    def build(self, value: Any) -> Any:
        if value is None and None not in (member.value for member in self.hint):
            return None
        raw = untag(value)
        try:
            return self.hint(raw)
        except (ValueError, TypeError, KeyError) as error:
            raise MismatchError(f"{raw!r} is no value of {_name(self.hint)}") from error


class FieldBuilders:
    """The builders of a class's fields.

    Parameters
    ----------
    find
        Returns field name to builder. It is called on first use and not before, because the fields
        of a class may have that very class as their type.
    """

    def __init__(self, find: Callable[[], dict[str, Builder | None]]) -> None:
        self._find = find

    @functools.cached_property
    def _by_name(self) -> dict[str, Builder | None]:
        return self._find()

    def build(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Build the value of each field; raises as `Builder.build`."""
        built = {}
        name = ""
        try:
            for name, value in fields.items():
                built[name] = (self._by_name.get(name) or ANY).build(value)
        except MismatchError as error:
            error.steps.append(f".{name}")
            raise
        return built


class TypedDictBuilder(Builder):
    """The builder for a typed dict."""

    def __init__(self, fields: FieldBuilders) -> None:
        super().__init__(dict)
        self.fields = fields

    def build(self, value: Any) -> Any:
        if type(value) is not dict:
            return untag(value)
        return self.fields.build(value)


class RecordBuilder(Builder):
    """The base of builders for classes with fields. Fields that a class lacks are left out.

    Parameters
    ----------
    hint
        The class.
    names
        The names of its fields.
    fields
        Their builders.
    builder_of
        Returns the builder for a subclass of `hint`.
    """

    def __init__(
        self,
        hint: type,
        names: Iterable[str],
        fields: FieldBuilders,
        builder_of: Callable[[type], RecordBuilder],
    ) -> None:
        super().__init__(hint)
        self.names = frozenset(names)
        self.fields = fields
        self.builder_of = builder_of

    def fit(self, value: Any) -> int:
        if type(value) is Tagged:
            if value.is_enum:
                return NOT
            return EXACTLY if self._class_named(value.name) is not None else LOOSELY
        return LOOSELY if type(value) is dict else NOT

    def build(self, value: Any) -> Any:
        if type(value) is Tagged and not value.is_enum:
            named = self._class_named(value.name)
            value = value.value
            if named is not None and named is not self.hint:
                return self.builder_of(named).build(value)
        elif type(value) is not dict:
            return untag(value)
        try:
            return self.make(value)
        except (MismatchError, RefusedError):
            raise
        except Exception as error:
            raise MismatchError(f"cannot be made a {_name(self.hint)}: {error}") from error

    def make(self, fields: Any) -> Any:
        """Make an instance from the fields that were sent; may raise any `Exception`."""
        raise NotImplementedError

    def known_fields(self, fields: Any) -> dict[str, Any]:
        """Build the fields that the class has."""
        names = self.names
        if not names.issuperset(fields):
            fields = {name: value for name, value in fields.items() if name in names}
        return self.fields.build(fields)

    def _class_named(self, name: str) -> type | None:
        """Return the annotation's class or its subclass with this qualified name."""
        classes = [self.hint]
        for candidate in classes:
            if candidate.__qualname__ == name:
                found: type = candidate
                return found
            classes.extend(type.__subclasses__(candidate))
        return None


class DataclassBuilder(RecordBuilder):
    """The builder for a dataclass. Calls its constructor, so defaults and `__post_init__` work."""

    def make(self, fields: Any) -> Any:
        built = self.known_fields(fields)
        late = self._names_outside_init
        made = self.hint(**({k: v for k, v in built.items() if k not in late} if late else built))
        for name, value in built.items():
            # `__post_init__` may have computed a field anew; the value that was sent counts.
            if getattr(made, name, made) is not value:
                object.__setattr__(made, name, value)
        return made

    @functools.cached_property
    def _names_outside_init(self) -> frozenset[str]:
        """The fields that the constructor does not take."""
        return frozenset(field.name for field in dataclasses.fields(self.hint) if not field.init)


class StructBuilder(RecordBuilder):
    """The builder for a `msgspec.Struct`."""

    hint: type[msgspec.Struct]

    def make(self, fields: Any) -> Any:
        return self.hint(**self.known_fields(fields))


class ModelBuilder(RecordBuilder):
    """The builder for a pydantic model, which itself reads its fields by name or by alias."""

    def make(self, fields: Any) -> Any:
        return self.hint.model_validate(untag(fields), by_alias=True, by_name=True)


ANY: Final = Builder()


def _name(hint: Any) -> str:
    if inspect.isclass(hint):
        return f"{hint.__module__}.{hint.__qualname__}"
    return str(hint)
