"""Rebuilding classes: a plan per annotation that names some.

`plan_of` turns a hint into a plan, or into None where it names no class to be rebuilt. A plan gets
what the decoder made (with enums and records as `Tagged`) and returns the value that was sent.
The class of the hint decides; the name in a `Tagged` only chooses between the members of a union,
and between the subclasses of a class.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from understudy.values import hints
from understudy.values.decoding import Refused, Tagged, hashed
from understudy.values.encoding import SCALARS, is_model, is_named_tuple, key_step

#: how well a value suits a member of a union
NOT, LOOSELY, PLAINLY, EXACTLY = range(4)


class Mismatch(Exception):
    """The data is not what the hint says; each level adds its step to the path on the way up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        return "".join(reversed(self.steps))


def strip(value: Any) -> Any:
    """Replace each `Tagged` in `value` by what it carries, as it is without a hint."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is Tagged:
        return strip(value.value)
    if kind is dict:
        if _all_plain(value) and _all_plain(value.values()):
            return value
        pairs = [(strip(key), strip(item)) for key, item in value.items()]
        return hashed(dict, pairs)
    if kind in (list, tuple, set, frozenset):
        if _all_plain(value):
            return value
        return hashed(kind, [strip(item) for item in value])
    return value


def _all_plain(items: Iterable[Any]) -> bool:
    return SCALARS.issuperset(map(type, items))


class Plan:
    """The base, and the plan of a union's members that need none."""

    def __init__(self, hint: Any = Any) -> None:
        self.hint = hint

    def fits(self, value: Any) -> int:
        """How well `value` suits; only unions ask."""
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
        """The value that was sent; raises `Mismatch`."""
        return strip(value)


class UnionPlan(Plan):
    """Tries the members that fit best first."""

    def __init__(self, members: Iterable[Plan]) -> None:
        super().__init__()
        self.members = tuple(members)

    def fits(self, value: Any) -> int:
        return max(member.fits(value) for member in self.members)

    def build(self, value: Any) -> Any:
        if value is None:
            return None
        failure: Mismatch | None = None
        ranked = [(member.fits(value), member) for member in self.members]
        for fit, member in sorted(ranked, key=lambda pair: -pair[0]):
            if fit == NOT:
                break
            try:
                return member.build(value)
            except Mismatch as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return strip(value)


class ItemsPlan(Plan):
    """Arrays and sets of one kind of item; the container stays what was sent."""

    def __init__(self, hint: Any, item: Plan) -> None:
        super().__init__(hint)
        self.item = item

    def build(self, value: Any) -> Any:
        if type(value) not in (list, tuple, set, frozenset):
            return strip(value)
        items: list[Any] = []
        try:
            items.extend(map(self.item.build, value))
        except Mismatch as error:
            error.steps.append(f"[{len(items)}]")
            raise
        return hashed(type(value), items)


class PlacesPlan(Plan):
    """Arrays with a plan per place: ``tuple[A, B]`` and named tuples."""

    def __init__(
        self, hint: Any, places: list[Plan | None], make: Callable[[list[Any]], Any] | None = None
    ) -> None:
        super().__init__(hint)
        self.places = places
        self.make = make

    def fits(self, value: Any) -> int:
        if self.make is not None:
            return PLAINLY if type(value) in (list, tuple) else NOT
        return super().fits(value)

    def build(self, value: Any) -> Any:
        if type(value) not in (list, tuple):
            return strip(value)
        if len(value) != len(self.places):
            raise Mismatch(f"{len(value)} items where {_name(self.hint)} has {len(self.places)}")
        items: list[Any] = []
        try:
            for plan, item in zip(self.places, value, strict=True):
                items.append((plan or ANY).build(item))
        except Mismatch as error:
            error.steps.append(f"[{len(items)}]")
            raise
        return self.make(items) if self.make is not None else type(value)(items)


class MappingPlan(Plan):
    """``dict[K, V]``."""

    def __init__(self, hint: Any, key: Plan | None, item: Plan | None) -> None:
        super().__init__(hint)
        self.key = key or ANY
        self.item = item or ANY

    def build(self, value: Any) -> Any:
        if type(value) is not dict:
            return strip(value)
        pairs = []
        key: Any = None
        try:
            for key, item in value.items():
                pairs.append((self.key.build(key), self.item.build(item)))
        except Mismatch as error:
            error.steps.append(key_step(strip(key)))
            raise
        return hashed(dict, pairs)


class TypedDictPlan(Plan):
    """A dict with a plan per key."""

    def __init__(self, hint: Any) -> None:
        super().__init__(dict)
        self.plans = _LazyPlans(hint)

    def build(self, value: Any) -> Any:
        if type(value) is not dict:
            return strip(value)
        return self.plans.build(value)


class EnumPlan(Plan):
    """An enum, from its value."""

    def __init__(self, hint: type[enum.Enum]) -> None:
        super().__init__(hint)

    def fits(self, value: Any) -> int:
        if type(value) is Tagged and value.is_enum:
            return EXACTLY if value.name == self.hint.__qualname__ else NOT
        try:
            self.hint(strip(value))
        except (ValueError, TypeError, KeyError):
            return NOT
        return LOOSELY

    def build(self, value: Any) -> Any:
        if value is None and None not in (member.value for member in self.hint):
            return None
        raw = strip(value)
        try:
            return self.hint(raw)
        except (ValueError, TypeError, KeyError) as error:
            raise Mismatch(f"{raw!r} is no value of {_name(self.hint)}") from error


class _LazyPlans:
    """Plans of a class's fields, made on first use: a class may mention itself."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    @functools.cached_property
    def by_name(self) -> dict[str, Plan | None]:
        return {name: plan_of(hint) for name, hint in hints.resolve(self.owner).items()}

    def build(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        built = {}
        name = ""
        try:
            for name, value in fields.items():
                built[name] = (self.by_name.get(name) or ANY).build(value)
        except Mismatch as error:
            error.steps.append(f".{name}")
            raise
        return built


class RecordPlan(Plan):
    """A class with fields. Fields that the class does not have are left out."""

    def __init__(self, hint: type, names: Iterable[str] = ()) -> None:
        super().__init__(hint)
        self.names = frozenset(names)
        self.plans = _LazyPlans(hint)

    def fits(self, value: Any) -> int:
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
                return _record_plan(named).build(value)
        elif type(value) is not dict:
            return strip(value)
        try:
            return self.make(value)
        except (Mismatch, Refused):
            raise
        except Exception as error:
            raise Mismatch(f"cannot be made a {_name(self.hint)}: {error}") from error

    def make(self, fields: Any) -> Any:
        """An instance from what was sent; may raise any `Exception`."""
        raise NotImplementedError

    def known_fields(self, fields: Any) -> dict[str, Any]:
        """The fields that the class has, built."""
        names = self.names
        if not names.issuperset(fields):
            fields = {name: value for name, value in fields.items() if name in names}
        return self.plans.build(fields)

    def _class_named(self, name: str) -> type | None:
        """The hint's class, or the subclass of it that has this qualified name."""
        classes = [self.hint]
        for candidate in classes:
            if candidate.__qualname__ == name:
                found: type = candidate
                return found
            classes.extend(type.__subclasses__(candidate))
        return None


class DataclassPlan(RecordPlan):
    """Through the constructor, so that defaults and `__post_init__` do their work."""

    def __init__(self, hint: type) -> None:
        fields = dataclasses.fields(hint)
        super().__init__(hint, [field.name for field in fields])
        #: fields that the constructor does not take
        self.late = frozenset(field.name for field in fields if not field.init)

    def make(self, fields: Any) -> Any:
        built = self.known_fields(fields)
        late = self.late
        made = self.hint(**({k: v for k, v in built.items() if k not in late} if late else built))
        for name, value in built.items():
            # what the constructor computes anew may differ from what was sent
            if getattr(made, name, made) is not value:
                object.__setattr__(made, name, value)
        return made


class StructPlan(RecordPlan):
    """A `msgspec.Struct`."""

    def __init__(self, hint: type[msgspec.Struct]) -> None:
        super().__init__(hint, hint.__struct_fields__)

    def make(self, fields: Any) -> Any:
        return self.hint(**self.known_fields(fields))


class ModelPlan(RecordPlan):
    """A pydantic model, which reads and validates its own fields, by name or by alias."""

    def make(self, fields: Any) -> Any:
        return self.hint.model_validate(strip(fields), by_alias=True, by_name=True)


ANY: Final = Plan()


def plan_of(hint: Any) -> Plan | None:
    """The plan for `hint`; None if values need no rebuilding."""
    try:
        return _cached_plan(hint)
    except TypeError:  # not hashable: Annotated with a list, say
        return _plan(hint)


@functools.lru_cache(maxsize=4096)
def _cached_plan(hint: Any) -> Plan | None:
    return _plan(hint)


def _plan(hint: Any) -> Plan | None:
    inner = _unwrapped(hint)
    if inner is not hint:
        return plan_of(inner)
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return _union(arguments)
    if origin is typing.Literal:
        return _union({type(value) for value in arguments if isinstance(value, enum.Enum)}, ANY)
    kind = origin or hint
    if not isinstance(kind, type):
        return None
    return _class_plan(kind) or _container_plan(hint, kind, arguments)


def _container_plan(hint: Any, kind: type, arguments: tuple[Any, ...]) -> Plan | None:
    if issubclass(kind, tuple) and arguments and arguments[-1] is not Ellipsis:
        places = [plan_of(argument) for argument in arguments]
        return PlacesPlan(hint, places) if any(places) else None
    if issubclass(kind, Mapping) and len(arguments) == 2:
        key, item = map(plan_of, arguments)
        return MappingPlan(hint, key, item) if key or item else None
    if issubclass(kind, Iterable) and arguments:
        item = plan_of(arguments[0])
        return ItemsPlan(hint, item) if item else None
    return None


def _unwrapped(hint: Any) -> Any:
    """What `Annotated`, `NewType`, `Required` and the like stand around."""
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


def _union(members: Iterable[Any], *more: Plan) -> Plan | None:
    plans = [(member, plan_of(member)) for member in members]
    if not any(plan for _, plan in plans):
        return None
    return UnionPlan([*(plan or Plan(_unwrapped(member)) for member, plan in plans), *more])


def _class_plan(kind: Any) -> Plan | None:
    if issubclass(kind, enum.Enum):
        return EnumPlan(kind)
    if typing.is_typeddict(kind):
        return TypedDictPlan(kind)
    if is_named_tuple(kind):
        fields = hints.resolve(kind)
        places = [plan_of(fields.get(name)) for name in kind._fields]
        return PlacesPlan(kind, places, kind._make)
    if dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct) or is_model(kind):
        return _record_plan(kind)
    return None


@functools.lru_cache(maxsize=1024)
def _record_plan(kind: type) -> RecordPlan:
    if issubclass(kind, msgspec.Struct):
        return StructPlan(kind)
    if is_model(kind):
        return ModelPlan(kind)
    return DataclassPlan(kind)


def _name(hint: Any) -> str:
    if inspect.isclass(hint):
        return f"{hint.__module__}.{hint.__qualname__}"
    return str(hint)
