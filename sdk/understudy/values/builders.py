"""Builders: each makes values of the classes that one annotation names.

A builder gets the decoder's result (with enums and records as `Tagged`) and returns the value that
was sent. The class in the annotation decides what is built. The class name inside a `Tagged` only
chooses between the members of a union, and between a class and its subclasses, so data can never
make a reader build a class that its own annotations do not name. (The attributes of exceptions are
the exception, see `structure.LOADED`.) An object gets its fields as they were, and no constructor
runs, unless a field is missing: then the constructor knows the defaults.

A value of another class than the annotation's is an error. Only where no annotation names a class
at all is the raw value read.

Raw data where an annotation names a class comes from other clients and from JSON, and the class is
made of it. Inside an instance that was sent as one it is what the sender's object had there, and
stays that (`Builder.inside_instance`).

`structure` chooses the builder for an annotation.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from understudy.values.attributes import blank
from understudy.values.class_kinds import SCALARS
from understudy.values.class_names import Fit, fit_of, is_full, named_class
from understudy.values.decoding import RefusedError, Tagged, make_dict, make_hashed
from understudy.values.paths import LocatedError, key_step

#: how well a value fits a member of a union
NOT, LOOSELY, PLAINLY, SIMILARLY, EXACTLY = range(5)


class MismatchError(LocatedError):
    """The data does not fit the annotation."""


def untag(value: Any) -> Any:
    """Replace each `Tagged` in `value` by its content: the value that is read without a hint."""
    return replace_tagged(value, _content)


def replace_tagged(value: Any, replacement: Callable[[Tagged], Any]) -> Any:
    """Replace each `Tagged` in `value`."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is Tagged:
        return replacement(value)
    if kind is dict:
        if _are_scalars(value) and _are_scalars(value.values()):
            return value
        keys = [replace_tagged(key, replacement) for key in value]
        return make_dict(keys, [replace_tagged(item, replacement) for item in value.values()])
    if kind in (list, tuple, set, frozenset):
        if _are_scalars(value):
            return value
        return make_hashed(kind, [replace_tagged(item, replacement) for item in value])
    return value


def _content(tagged: Tagged) -> Any:
    content = untag(tagged.value)
    if tagged.state is not None and type(content) is dict and type(tagged.state[1]) is dict:
        content |= untag(tagged.state[1])
    return content


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

    def inside_instance(self) -> Builder:
        """Return the builder for this annotation inside an instance that was sent as one."""
        return self


class PlainBuilder(Builder):
    """The builder for data without classes, where a class would not arrive as what it was.

    Parameters
    ----------
    advice
        What to do if there is one.
    """

    def __init__(self, hint: Any, advice: str = "") -> None:
        super().__init__(hint)
        self.advice = advice

    def build(self, value: Any) -> Any:
        return replace_tagged(value, self._raw)

    def _raw(self, tagged: Tagged) -> Any:
        if is_full(tagged.name):
            raise MismatchError(
                f"a {shown_name(tagged.name)} was sent, where {_name(self.hint)} does not name "
                f"that class{self.advice}"
            )
        return untag(tagged)


class UnionBuilder(Builder):
    """The builder for a union: tries its members, the best fit first."""

    def __init__(self, members: Iterable[Builder]) -> None:
        self.members = tuple(members)
        super().__init__(" | ".join(_name(member.hint) for member in self.members))

    def fit(self, value: Any) -> int:
        return max(member.fit(value) for member in self.members)

    def build(self, value: Any) -> Any:
        if value is None:
            return None
        failure: MismatchError | None = None
        ranked = [(member.fit(value), member) for member in self.members]
        ranked.sort(key=lambda pair: -pair[0])
        fits = [fit for fit, _ in ranked]
        if fits[:2] == [SIMILARLY, SIMILARLY] and is_full(value.name):
            raise MismatchError(
                f"a {shown_name(value.name)} was sent, and {self.hint} has several classes of that "
                "name. Define the class in a module that both sides import"
            )
        for fit, member in ranked:
            if fit == NOT:
                break
            try:
                return member.build(value)
            except MismatchError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return PlainBuilder(self.hint).build(value)

    def inside_instance(self) -> Builder:
        return UnionBuilder(member.inside_instance() for member in self.members)


class CollectionBuilder(Builder):
    """The builder for lists, sets and tuples of one kind of item.

    The kind of collection is the sender's, whatever the annotation says.
    """

    def __init__(self, hint: Any, item: Builder) -> None:
        super().__init__(hint)
        self.item = item

    def build(self, value: Any) -> Any:
        if type(value) not in (list, tuple, set, frozenset):
            return PlainBuilder(self.hint).build(value)
        items: list[Any] = []
        try:
            items.extend(map(self.item.build, value))
        except MismatchError as error:
            error.steps.append(f"[{len(items)}]")
            raise
        return make_hashed(type(value), items)

    def inside_instance(self) -> Builder:
        return CollectionBuilder(self.hint, self.item.inside_instance())


class TupleBuilder(Builder):
    """The builder for ``tuple[A, B]``, with a builder for each place.

    Parameters
    ----------
    places
        The builders, in order; None for a place that names no class.
    """

    def __init__(self, hint: Any, places: list[Builder | None]) -> None:
        super().__init__(hint)
        self.places = places

    def build(self, value: Any) -> Any:
        if type(value) not in (list, tuple):
            return PlainBuilder(self.hint).build(value)
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
        return type(value)(items)

    def inside_instance(self) -> Builder:
        places = [builder and builder.inside_instance() for builder in self.places]
        return TupleBuilder(self.hint, places)


class MappingBuilder(Builder):
    """The builder for ``dict[K, V]``."""

    def __init__(self, hint: Any, key: Builder | None, item: Builder | None) -> None:
        super().__init__(hint)
        self.key = key or ANY
        self.item = item or ANY

    def build(self, value: Any) -> Any:
        if type(value) is not dict:
            return PlainBuilder(self.hint).build(value)
        keys: list[Any] = []
        items: list[Any] = []
        key: Any = None
        try:
            for key, item in value.items():
                keys.append(self.key.build(key))
                items.append(self.item.build(item))
        except MismatchError as error:
            error.steps.append(key_step(untag(key)))
            raise
        return make_dict(keys, items)

    def inside_instance(self) -> Builder:
        return MappingBuilder(self.hint, self.key.inside_instance(), self.item.inside_instance())


class FieldBuilders:
    """The builders of a class's fields.

    Parameters
    ----------
    find
        Returns field name to builder. It is called on first use and not before, because the fields
        of a class may have that very class as their type.
    """

    def __init__(self, find: Callable[[], dict[str, Builder]]) -> None:
        self._find = find

    @functools.cached_property
    def by_name(self) -> dict[str, Builder]:
        """The builders by name of their field."""
        return self._find()

    @functools.cached_property
    def inside_instance(self) -> FieldBuilders:
        """The builders of the fields of an instance that was sent as one."""
        return FieldBuilders(
            lambda: {name: builder.inside_instance() for name, builder in self.by_name.items()}
        )

    def build(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Build the value of each field; raises as `Builder.build`."""
        built = {}
        name = ""
        by_name = self.by_name
        try:
            for name, value in fields.items():
                built[name] = (by_name.get(name) or _UNANNOTATED).build(value)
        except MismatchError as error:
            error.steps.append(f".{name}")
            raise
        return built


class TypedDictBuilder(Builder):
    """The builder for a typed dict.

    Parameters
    ----------
    required
        The keys that must be there.
    """

    def __init__(self, hint: Any, fields: FieldBuilders, required: Iterable[str]) -> None:
        super().__init__(hint)
        self.fields = fields
        self.required = frozenset(required)

    def fit(self, value: Any) -> int:
        if type(value) is not dict:
            return NOT
        by_name = self.fields.by_name
        if not self.required.issubset(value) or any(key not in by_name for key in value):
            return LOOSELY
        return PLAINLY

    def build(self, value: Any) -> Any:
        if type(value) is not dict:
            return PlainBuilder(self.hint).build(value)
        return self.fields.build(value)

    def inside_instance(self) -> Builder:
        return TypedDictBuilder(self.hint, self.fields.inside_instance, self.required)


class ClassBuilder(Builder):
    """The base of builders for a class: chooses between it and its subclasses.

    Parameters
    ----------
    hint
        The class.
    builder_of
        Returns the builder for a subclass of `hint`.
    """

    def __init__(self, hint: Any, builder_of: Callable[[type], Builder | None]) -> None:
        super().__init__(hint)
        self._builder_of = builder_of

    def fit(self, value: Any) -> int:
        if type(value) is not Tagged:
            return self.fit_raw(value)
        fit = self._class_named(value.name)[1]
        if fit is Fit.NOT:
            return NOT if is_full(value.name) or value.is_enum else LOOSELY
        return EXACTLY if fit is Fit.EXACT else SIMILARLY

    def fit_raw(self, value: Any) -> int:
        """Return how well data that is no `Tagged` fits."""
        return LOOSELY if type(value) is dict else NOT

    def build(self, value: Any) -> Any:
        if type(value) is Tagged:
            named = self._class_named(value.name)[0]
            if named is None and is_full(value.name):
                raise MismatchError(
                    f"a {shown_name(value.name)} was sent, which is not {_name(self.hint)}, nor a "
                    "subclass of it that this process has imported"
                )
            if named is not None and named is not self.hint:
                return (self._builder_of(named) or ANY).build(value)
        try:
            return self.make(value)
        except (MismatchError, RefusedError):
            raise
        except Exception as error:
            raise MismatchError(f"cannot be made a {_name(self.hint)}: {error}") from error

    def inside_instance(self) -> Builder:
        return InstanceBuilder(self)

    def make(self, value: Any) -> Any:
        """Make an instance from a `Tagged` of this class, or from raw data."""
        raise NotImplementedError

    def _class_named(self, name: str) -> tuple[type | None, Fit]:
        return named_class(self.hint, name)


class InstanceBuilder(Builder):
    """The builder for a class of which instances alone are rebuilt, while raw data stays raw.

    Parameters
    ----------
    of_class
        The builder for the class.
    """

    def __init__(self, of_class: ClassBuilder) -> None:
        super().__init__(of_class.hint)
        self.of_class = of_class

    def fit(self, value: Any) -> int:
        return self.of_class.fit(value) if type(value) is Tagged else NOT

    def build(self, value: Any) -> Any:
        if type(value) is Tagged:
            return self.of_class.build(value)
        return PlainBuilder(self.hint).build(value)


class EnumBuilder(ClassBuilder):
    """The builder for an enum, from its value.

    Parameters
    ----------
    value
        The builder for the values of its members.
    """

    hint: type[enum.Enum]

    def __init__(
        self, hint: Any, value: Builder | None, builder_of: Callable[[type], Builder | None]
    ) -> None:
        super().__init__(hint, builder_of)
        self.value = value or ANY

    def fit_raw(self, value: Any) -> int:
        try:
            self.hint(value)
        except (ValueError, TypeError, KeyError):
            return NOT
        return LOOSELY

    def make(self, value: Any) -> Any:
        if type(value) is Tagged and value.is_enum:
            if value.member is not None:
                return self._member(value.member)
            value = value.value
        if value is None and None not in (member.value for member in self.hint):
            return None
        raw = self.value.build(value)
        try:
            return self.hint(raw)
        except (ValueError, TypeError, KeyError) as error:
            raise MismatchError(f"{raw!r} is no value of {_name(self.hint)}") from error

    def _member(self, name: str) -> enum.Enum:
        member = self.hint.__members__.get(name)
        if member is None:
            raise MismatchError(f"{name!r} is no member of {_name(self.hint)}")
        return member


class NamedTupleBuilder(ClassBuilder):
    """The builder for a named tuple.

    Parameters
    ----------
    fields
        The builders of its items, by name.
    """

    def __init__(
        self, hint: Any, fields: FieldBuilders, builder_of: Callable[[type], Builder | None]
    ) -> None:
        super().__init__(hint, builder_of)
        self.fields = fields

    def fit_raw(self, value: Any) -> int:
        # Stores of early versions have named tuples as plain ones.
        return PLAINLY if type(value) in (list, tuple) else NOT

    def make(self, value: Any) -> Any:
        items, fields = value, self.fields
        if type(value) is Tagged:
            items = value.value
            if is_full(value.name):
                fields = fields.inside_instance
        if type(items) not in (list, tuple):
            return PlainBuilder(self.hint).build(items)
        names: tuple[str, ...] = self.hint._fields
        missing = names[len(items) :]
        defaults = self.hint._field_defaults
        if len(items) > len(names) or not defaults.keys() >= set(missing):
            raise MismatchError(f"{len(items)} items where {_name(self.hint)} has {len(names)}")
        built = fields.build(dict(zip(names, items, strict=False)))
        return tuple.__new__(self.hint, [*built.values(), *(defaults[name] for name in missing)])


class RecordBuilder(ClassBuilder):
    """The base of builders for classes with fields. Fields that a class lacks are left out.

    Parameters
    ----------
    names
        The names of its fields.
    fields
        Their builders.
    """

    def __init__(
        self,
        hint: Any,
        names: Iterable[str],
        fields: FieldBuilders,
        builder_of: Callable[[type], Builder | None],
    ) -> None:
        super().__init__(hint, builder_of)
        self.names = frozenset(names)
        self.fields = fields

    def make(self, value: Any) -> Any:
        if type(value) is Tagged and not value.is_enum:
            if is_full(value.name):
                return self.restore(value)
            value = value.value
        if type(value) is not dict:
            return PlainBuilder(self.hint).build(value)
        return self.construct(value, self.fields)

    def restore(self, tagged: Tagged) -> Any:
        """Make an instance that has the fields which were sent."""
        return self.construct(tagged.value, self.fields.inside_instance)

    def construct(self, fields: dict[str, Any], builders: FieldBuilders) -> Any:
        """Make an instance by its constructor, which knows the defaults."""
        raise NotImplementedError

    def known_fields(self, fields: dict[str, Any], builders: FieldBuilders) -> dict[str, Any]:
        """Build the fields that the class has."""
        names = self.names
        if not names.issuperset(fields):
            fields = {name: value for name, value in fields.items() if name in names}
        return builders.build(fields)


class DataclassBuilder(RecordBuilder):
    """The builder for a dataclass. Its attributes that are not fields travel too."""

    def restore(self, tagged: Tagged) -> Any:
        fields = tagged.value
        builders = self.fields.inside_instance
        if not self._stored.issubset(fields) or is_instrumented(self.hint):
            return self.construct(fields, builders)
        made = blank(self.hint)
        for name, value in builders.build(fields).items():
            try:
                object.__setattr__(made, name, value)
            except AttributeError:  # the class has lost a field, and is made of slots
                if name in self._stored:
                    raise
        return made

    def construct(self, fields: dict[str, Any], builders: FieldBuilders) -> Any:
        built = self.known_fields(fields, builders)
        late = self._names_outside_init
        made = self.hint(**({k: v for k, v in built.items() if k not in late} if late else built))
        for name in self._stored.intersection(built):
            # `__post_init__` may have computed a field anew; the value that was sent counts.
            if getattr(made, name, made) is not built[name]:
                object.__setattr__(made, name, built[name])
        return made

    @functools.cached_property
    def _stored(self) -> frozenset[str]:
        """The fields that an instance has."""
        return frozenset(field.name for field in dataclasses.fields(self.hint))

    @functools.cached_property
    def _names_outside_init(self) -> frozenset[str]:
        """The fields that the constructor does not take."""
        return frozenset(field.name for field in dataclasses.fields(self.hint) if not field.init)


class StructBuilder(RecordBuilder):
    """The builder for a `msgspec.Struct`, which only its constructor can make."""

    hint: type[msgspec.Struct]

    def restore(self, tagged: Tagged) -> Any:
        fields = tagged.value
        builders = self.fields.inside_instance
        if hasattr(self.hint, "__post_init__"):
            # It may change what it is given, so it gets a copy, and the fields are set again.
            made = self.construct(copy.deepcopy(fields), builders)
            for name, value in self.known_fields(fields, builders).items():
                msgspec.structs.force_setattr(made, name, value)
        else:
            made = self.construct(fields, builders)
        others = {name: item for name, item in fields.items() if name not in self.names}
        if others and hasattr(made, "__dict__"):
            made.__dict__.update(builders.build(others))
        return made

    def construct(self, fields: dict[str, Any], builders: FieldBuilders) -> Any:
        return self.hint(**self.known_fields(fields, builders))


class ModelBuilder(RecordBuilder):
    """The builder for a pydantic model. Validators run only on what was not sent as a model."""

    def fit_raw(self, value: Any) -> int:
        return LOOSELY if type(value) is dict or self._is_root else NOT

    def make(self, value: Any) -> Any:
        if type(value) is Tagged and value.state is not None:
            return self.restore(value)
        if type(value) is Tagged and not value.is_enum:
            if is_full(value.name) and is_instrumented(self.hint):
                return self.hint(**self.known_fields(value.value, self.fields.inside_instance))
            value = value.value
        elif type(value) is not dict and not self._is_root:
            return PlainBuilder(self.hint).build(value)
        return self.construct(value, self.fields)

    def construct(self, fields: Any, builders: FieldBuilders) -> Any:
        del builders  # pydantic has its own
        # A model of an early version's store is read as what it has dumped.
        validate = self.hint.model_validate
        pydantic = sys.modules["pydantic.main"]
        if getattr(validate, "__func__", None) is not pydantic.BaseModel.model_validate.__func__:
            # That of SQLModel does not take the options.
            return validate(untag(fields))
        return validate(untag(fields), by_alias=True, by_name=True)

    def restore(self, tagged: Tagged) -> Any:
        assert tagged.state is not None
        names_set, extra, private = tagged.state
        declared = self.hint.model_fields
        sent = {"root": tagged.value} if self._is_root else tagged.value
        builders = self.fields.inside_instance
        fields = self.known_fields(sent, builders)
        for name, field in declared.items():
            if name not in fields:
                if field.is_required():
                    raise MismatchError(f"it has no field {name!r}, and {_name(self.hint)} has")
                fields[name] = field.get_default(call_default_factory=True, validated_data=fields)
        made = blank(self._sent_class(tagged.name))
        object.__setattr__(made, "__dict__", {name: fields[name] for name in declared})
        object.__setattr__(
            made, "__pydantic_fields_set__", set(names_set) & (declared.keys() | (extra or {}))
        )
        allows = self.hint.model_config.get("extra") == "allow"
        rest = {
            "__pydantic_extra__": builders.build(extra or {}) if allows else None,
            "__pydantic_private__": self._private(private),
        }
        for name, item in rest.items():
            # The class of root models has these itself, and they would go into `__dict__`.
            if item is not None or not self._is_root:
                object.__setattr__(made, name, item)
        return made

    def _private(self, sent: Any) -> dict[str, Any] | None:
        declared = self.hint.__private_attributes__
        if not declared and not sent:
            return None
        built = self.fields.inside_instance.build(sent or {})
        for name, attribute in declared.items():
            if name not in built and (sent is None or name not in sent):
                default = attribute.get_default()
                if default is not sys.modules["pydantic_core"].PydanticUndefined:
                    built[name] = default
        return built

    def _class_named(self, name: str) -> tuple[type | None, Fit]:
        found = super()._class_named(name)
        if found[0] is None and self._sent_class(name) is not self.hint:
            return self.hint, Fit.SIMILAR
        return found

    def _sent_class(self, name: str) -> Any:
        """Return the generic class if that was sent: `Page(...)` for an annotation `Page[int]`."""
        generic = self.hint.__pydantic_generic_metadata__["origin"]
        return generic if generic is not None and fit_of(generic, name) else self.hint

    @functools.cached_property
    def _is_root(self) -> bool:
        return bool(self.hint.__pydantic_root_model__)


class WrittenBuilder(ClassBuilder):
    """The builder for any other class: its subclasses, and what pydantic writes as plain data.

    The latter are URLs, paths and the like in the fields of models.
    """

    def fit_raw(self, value: Any) -> int:
        return LOOSELY if isinstance(value, self.hint) else NOT

    def make(self, value: Any) -> Any:
        if type(value) is not Tagged:
            return PlainBuilder(self.hint).build(value)
        adapter = written_by_pydantic(self.hint)
        if adapter is None:
            raise MismatchError(f"{_name(self.hint)} is not plain data")
        return adapter.validate_python(untag(value))


@functools.lru_cache(maxsize=256)
def written_by_pydantic(kind: type) -> Any:
    """Return pydantic's reader of a class that is no model; None if it has none."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return None
    try:
        return pydantic.TypeAdapter(kind)
    except Exception:
        return None


def is_instrumented(kind: type) -> bool:
    """Return whether SQLAlchemy maps the class, so that only its constructor makes instances."""
    return hasattr(kind, "_sa_class_manager")


ANY: Final = Builder()

#: for attributes that a class does not annotate
_UNANNOTATED: Final = PlainBuilder("a missing annotation", ". Annotate the attribute")


def shown_name(name: str) -> str:
    """Return the name of a class on the wire as messages show it."""
    return name.replace(":", ".", 1)


def _name(hint: Any) -> str:
    if inspect.isclass(hint):
        return f"{hint.__module__}.{hint.__qualname__}"
    return str(hint)
