"""Models of pydantic and SQLModel arrive as they were, with all that no validator has seen."""

# Fields hold values here that their annotations do not allow.
# mypy: disable-error-code="arg-type"

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
import sqlalchemy.orm
import sqlmodel

from tests.unit.sdk.values.arrival import arrive, check, refuse
from tests.unit.sdk.values.classes import Cash, Gift, Page, Valued, Voucher
from tests.unit.sdk.values.samples import CODEC, Color, Item


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    color: Color
    item: Item
    numbers: tuple[int, ...]


class Payment(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    means: Cash | Voucher = Cash(cents=0)
    others: list[Voucher] = []
    stripped: str = ""
    site: pydantic.HttpUrl | None = None
    path: Path | None = None
    network: IPv4Network | None = None
    anything: Any = None
    hidden: int = pydantic.Field(default=1, exclude=True)
    _count: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("stripped")
    @classmethod
    def twice(cls, value: str) -> str:
        return value * 2


class TestModels:
    @pytest.mark.parametrize(
        "value",
        [
            Payment(means=Voucher(cents=5)),
            Payment(means=Gift(cents=5, giver="Ann"), others=[Gift(cents=1, giver="Bo")]),
            Payment(stripped="ab", hidden=7),
            Payment(site=pydantic.HttpUrl("https://a.b/c"), path=Path("/x")),
            Payment.model_validate({"means": Cash(cents=1), "an extra": (1, 2)}),
            Payment(network=IPv4Network("10.0.0.0/8")),
            Strict(color=Color.RED, item=Item("a"), numbers=(1, 2)),
        ],
        ids=repr,
    )
    def test_they_arrive_as_they_were(self, value: Any) -> None:
        check(value, type(value))
        got = arrive(value, type(value))
        assert got.model_fields_set == value.model_fields_set
        assert got.model_dump() == value.model_dump()

    def test_private_attributes(self) -> None:
        value = Payment()
        value._count = 5
        assert arrive(value, Payment)._count == 5

    def test_values_of_enums(self) -> None:
        value = Valued(color=Color.RED, colors=[Color.BLUE])
        assert vars(value) == {"color": "red", "colors": ["blue"]}
        check(value, Valued)
        check(Page(value), Page[Valued])

    def test_what_no_validator_has_seen(self) -> None:
        check(Strict.model_construct(color="red", item={"sku": "a"}, numbers=["1"]), Strict)

    def test_a_root(self) -> None:
        value = _ROOT({"a": Item("a")})
        check(value, _ROOT)
        assert vars(arrive(value, _ROOT)) == vars(value) == {"root": {"a": Item("a")}}
        noted = Noted([1])
        noted._note = "seen"
        assert arrive(noted, Noted)._note == "seen"

    def test_a_class_in_a_field_that_does_not_name_it(self) -> None:
        refuse(Payment(anything=Item("a")), Payment, r"^it at \.anything: ")

    def test_models_of_old_stores(self) -> None:
        # RECORD with what the model dumps, and the name without its module
        inner = msgspec.msgpack.encode(["Payment", {"means": {"cents": 5}, "stripped": "ab"}])
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(13, inner))
        assert CODEC.decode_value(data, Payment) == Payment(means=Cash(cents=5), stripped="ab")


class Noted(pydantic.RootModel[list[int]]):
    _note: str = pydantic.PrivateAttr(default="")


_ROOT = pydantic.RootModel[dict[str, Item]]


class Mapped(sqlmodel.SQLModel, registry=sqlalchemy.orm.registry()):
    """The base of tables that no other test sees."""


class Sale(Mapped, table=True):
    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    color: Color
    means: Cash = sqlmodel.Field(sa_column=sqlmodel.Column(sqlmodel.JSON))
    at: datetime | None = None


class Draft(sqlmodel.SQLModel):
    color: Color
    means: Cash


class TestSQLModel:
    @pytest.mark.parametrize(
        "value",
        [
            Sale(color=Color.RED, means=Cash(cents=1), at=datetime(2024, 1, 1, tzinfo=UTC)),
            Sale(id=3, color="red", means={"cents": 1}),
            Draft(color=Color.RED, means=Cash(cents=1)),
            Draft.model_construct(color="red", means={"cents": 1}),
        ],
        ids=repr,
    )
    def test_fields_arrive_as_they_were(self, value: Any) -> None:
        got = arrive(value, type(value))
        assert type(got) is type(value)
        for name in type(value).model_fields:
            assert getattr(got, name) == getattr(value, name)
            assert type(getattr(got, name)) is type(getattr(value, name))

    @pytest.mark.parametrize("kind", [Sale, Draft])
    def test_data_of_other_clients(self, kind: Any) -> None:
        got = CODEC.decode_value(CODEC.encode_value({"color": "red", "means": {"cents": 1}}), kind)
        assert (type(got), got.color, got.means) == (kind, Color.RED, Cash(cents=1))

    def test_what_is_not_loaded_is_loaded_or_refused(self) -> None:
        engine = sqlmodel.create_engine("sqlite://")
        Mapped.metadata.create_all(engine)
        with sqlmodel.Session(engine) as session:
            made = Sale(color=Color.RED, means={"cents": 1})
            session.add(made)
            session.commit()
            got = arrive(made, Sale)
            assert (got.id, got.color, got.means) == (1, Color.RED, {"cents": 1})
            session.commit()
        refuse(made, Sale, r"attribute 'id' cannot be loaded: .*Refresh the object while")
        engine.dispose()
