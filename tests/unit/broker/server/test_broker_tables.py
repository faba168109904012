"""Settings of several brokers in one file: which table is whose, the map, and wrong tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import shared_out
from understudy_broker.server.settings import BrokerSettings, SettingsError, load_settings

TWO = """
[[broker]]
name = "a"
listen = "tcp://127.0.0.1:5577"
lease_ttl_s = 4

[[broker]]
name = "b"
listen = "tcp://*:5578"
address = "tcp://10.0.0.6:5578"
store = "sqlite:////var/lib/b.db"
keys = "/etc/understudy/keys"
cwd = "elsewhere"
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and none of our variables in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDERSTUDY_URL", raising=False)
    for name in BrokerSettings.model_fields:
        monkeypatch.delenv(f"UNDERSTUDY_BROKER__{name.upper()}", raising=False)
    return tmp_path


def load(text: str, **flags: object) -> BrokerSettings:
    Path("brokers.toml").write_text(text)
    return load_settings("brokers.toml", flags)


def error(text: str, **flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(text, **flags)
    return str(caught.value)


def table(**changes: str) -> str:
    keys = {"name": '"a"', "listen": '"tcp://127.0.0.1:5577"'} | changes
    return "[[broker]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)


def second(**changes: str) -> str:
    return table(**({"name": '"b"', "listen": '"tcp://127.0.0.1:5578"'} | changes))


def test_a_name_picks_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    a = load(TWO, name="a")
    assert (a.name, a.listen, a.address) == ("a", "tcp://127.0.0.1:5577", "tcp://127.0.0.1:5577")
    assert (a.store, a.lease_ttl_s) == ("sqlite:///understudy-a.db", 4)
    monkeypatch.setenv("UNDERSTUDY_BROKER__NAME", "b")
    b = load(TWO)
    assert (b.name, b.listen, b.address) == ("b", "tcp://*:5578", "tcp://10.0.0.6:5578")
    assert (b.store, b.lease_ttl_s) == ("sqlite:////var/lib/b.db", 10)
    assert load(TWO, name="a").name == "a", "the flag overrides the environment"


def test_all_brokers_find_the_same_map() -> None:
    configs = [load(TWO, name=name).broker_config() for name in "ab"]
    assert [config.name for config in configs] == ["a", "b"]
    assert {config.deployment for config in configs} == {"a,b"}
    expected = shared_out([("a", "tcp://127.0.0.1:5577"), ("b", "tcp://10.0.0.6:5578")])
    assert [config.slots for config in configs] == [expected, expected]


def test_a_deployment_may_have_a_name() -> None:
    text = table(deployment='"shop"') + second(deployment='"shop"')
    assert load(text, name="b").broker_config().deployment == "shop"


def test_one_table_alone_is_a_broker_with_a_name() -> None:
    config = load(table()).broker_config()
    assert (config.name, config.deployment, config.slots) == ("a", "", None)
    assert load(table(), name="a").store == "sqlite:///understudy-a.db"
    assert load(table(store='"postgresql://db/calls"')).store == "postgresql://db/calls"


def test_a_single_broker_is_as_before() -> None:
    config = load('[broker]\nlisten = "tcp://127.0.0.1:5579"').broker_config()
    assert config.name.startswith("broker-")
    assert (config.deployment, config.slots) == ("", None)
    named = load('[broker]\nname = "solo"', name="solo")
    assert (named.broker_config().name, named.store) == ("solo", "sqlite:///understudy.db")


def test_stores_in_memory_and_stores_in_different_folders_are_not_the_same() -> None:
    text = table(store='"memory"') + second(store='"memory"')
    assert load(text, name="b").store == "memory"
    text = table(store='"x.db"', cwd='"one"') + second(store='"x.db"', cwd='"two"')
    assert load(text, name="a").store == "x.db"


def test_other_settings_may_come_from_the_environment_and_from_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNDERSTUDY_BROKER__STORE", "sqlite:////data/calls.db")
    settings = load(TWO, name="a", lease_ttl_s=2)
    assert (settings.store, settings.lease_ttl_s) == ("sqlite:////data/calls.db", 2)
    # Its peers reach it at `address`, so it may listen anywhere.
    assert load(TWO, name="b", listen="tcp://*:6000").listen == "tcp://*:6000"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("broker = 1", "broker: must be a table, written [broker], or several, each written"),
        ("broker = [1]", "broker: must be a table, written [broker], or several, each written"),
        ("broker = []", "broker: there are 0 tables; a deployment has 1 to 256 brokers"),
        (table(name=""), "broker[1].name: it is missing; each [[broker]] has a name of its own"),
        (table(name="1"), "broker[1].name: 1 is not valid: use 1 to 64 characters"),
        (table(name='"a b"'), "broker[1].name: 'a b' is not valid"),
        (table(name=f'"{"a" * 65}"'), "is not valid: use 1 to 64 characters of A-Z, a-z, 0-9 and"),
        (table() + second(name='"a"'), "broker: the name 'a' is used twice; each broker needs"),
        (table(listen=""), "broker[1] 'a'.listen: it is missing; each [[broker]] says where it"),
        (table(listen="5577"), "broker[1] 'a'.listen: 5577 is no address of a broker: an address"),
        (table(listen='"tcp://x:0"'), "broker[1] 'a'.listen: 'tcp://x:0' is no address of a"),
        (table(listen='"tcp://*:1"'), "broker[1] 'a'.address: it is missing; the broker listens"),
        (table(listen='"tcp://0.0.0.0:1"'), "interfaces (tcp://0.0.0.0:1), so say where the"),
        (table(listen='"tcp://[::]:1"'), 'as in address = "tcp://10.0.0.5:5577"'),
        (table(address='"tcp://*:1"'), "broker[1] 'a'.address: 'tcp://*:1' is not the address of"),
        (table(address='"ipc:///a,b"'), "'ipc:///a,b' is not the address of one machine"),
        (table(address="[]"), "broker[1] 'a'.address: [] is no address of a broker"),
        (
            table() + second(address='"tcp://127.0.0.1:5577"'),
            "broker: 'a' and 'b' have the same address, tcp://127.0.0.1:5577; each broker needs",
        ),
        (table(cwd="1"), "broker[1] 'a'.cwd: must be a string, the path of a folder"),
        (table(deployment="1"), "broker[1] 'a'.deployment: must be a string, and is 1"),
        (
            table(deployment='"x"') + second(deployment='"y"'),
            "broker[2] 'b'.deployment: it is 'y', and that of broker 'a' is 'x'; all brokers of",
        ),
        (table() + second(deployment='"y"'), "it is 'y', and that of broker 'a' is 'a,b'"),
        (
            table(store='"sqlite:///x.db"') + second(store='"x.db"'),
            "broker: 'a' and 'b' have the same store, x.db; each broker needs its own. Without",
        ),
        (
            table(store='"x.db"', cwd='"one"') + second(store='"../one/x.db"', cwd='"two"'),
            "broker: 'a' and 'b' have the same store",
        ),
        (
            table(store='"sqlite:////x.db"', cwd='"one"') + second(store='"/x.db"', cwd='"two"'),
            "broker: 'a' and 'b' have the same store",
        ),
        (
            table() + second(store='"postgresql://ann:secret@db/calls"'),
            "broker[2] 'b'.store: either all brokers of a file share one PostgreSQL database, or",
        ),
        (
            table(store='"postgresql://db/calls"')
            + second(store='"postgresql://ann:secret@db/calls?schema=two"'),
            "broker[2] 'b'.store: it is another database, or another schema, than that of broker",
        ),
    ],
)
def test_wrong_tables_are_named(text: str, said: str) -> None:
    message = error(text, name="a")
    assert message.startswith("brokers.toml: ")
    assert said in message
    assert "secret" not in message


def test_a_name_is_needed_and_must_exist() -> None:
    assert error(TWO) == (
        "brokers.toml: there are several brokers: a, b. Say which one to run, with --name or "
        "UNDERSTUDY_BROKER__NAME"
    )
    assert error(TWO, name="c") == "brokers.toml: there is no broker 'c'; there are: a, b"
    assert error(table(), name="c") == "brokers.toml: there is no broker 'c'; there are: a"


def test_a_name_without_tables_starts_no_broker_that_owns_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert error("[broker]", name="a") == (
        "there is no broker 'a': brokers.toml has no [[broker]] tables. Name the file that has "
        "them with --config, start the broker without a name, or name a PostgreSQL store that it "
        "shares"
    )
    monkeypatch.setenv("UNDERSTUDY_BROKER__NAME", "b")
    with pytest.raises(SettingsError, match=r"no broker 'b': understudy\.toml is missing"):
        load_settings()


def test_wrong_settings_of_a_table_name_the_file() -> None:
    message = error(table(lease_ttl_s='"soon"') + second(), name="a")
    assert message.startswith("setting 'lease_ttl_s' (brokers.toml): Input should be a valid")
    message = error(table(color='"red"') + second(), name="a")
    assert message.startswith("setting 'color' (brokers.toml) does not exist; there are:")
    assert "'color'" not in str(load(table(color='"red"') + second(), name="b"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "tcp://127.0.0.1:6000"),
        ("address", "tcp://10.0.0.9:5577"),
        ("deployment", "mine"),
    ],
)
def test_nothing_overrides_what_the_brokers_agree_on(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error(TWO, name="a", **{name: value}) == (
        f"setting '{name}' (flag --{name}): the brokers of a deployment agree on it by the tables "
        "of their file, so remove it there and change brokers.toml"
    )
    monkeypatch.setenv(f"UNDERSTUDY_BROKER__{name.upper()}", value)
    assert f"setting '{name}' (environment UNDERSTUDY_BROKER__{name.upper()}): the brokers" in (
        error(TWO, name="a")
    )


class TestSharedDatabase:
    STORE = "postgresql://db/calls"

    def test_brokers_of_one_database_are_told_the_slots_by_it(self) -> None:
        text = table(store=f'"{self.STORE}"') + second(store=f'"{self.STORE}"')
        config = load(text, name="b").broker_config()
        assert (config.name, config.deployment) == ("b", "")
        assert config.slots == SlotMap(0, (("b", "tcp://127.0.0.1:5578"),), ())

    def test_a_name_is_enough_without_tables(self) -> None:
        settings = load(
            "[broker]", name="b", store=self.STORE, listen="tcp://10.0.0.7:5577", keys="k"
        )
        assert settings.shares_database
        assert settings.broker_config().slots == SlotMap(0, (("b", "tcp://10.0.0.7:5577"),), ())

    def test_without_a_name_a_broker_has_the_database_for_itself(self) -> None:
        settings = load("[broker]", store=self.STORE)
        assert not settings.shares_database
        assert settings.broker_config().slots is None

    @pytest.mark.parametrize("listen", ["tcp://*:5577", "tcp://127.0.0.1:0"])
    def test_the_others_must_be_told_where_it_is(self, listen: str) -> None:
        flags = {"name": "b", "store": self.STORE, "listen": listen}
        assert "so say where the other brokers and all peers reach" in error("[broker]", **flags)
        settings = load("[broker]", address="tcp://10.0.0.7:5577", insecure=True, **flags)
        assert settings.broker_config().slots == SlotMap(0, (("b", "tcp://10.0.0.7:5577"),), ())

    def test_the_name_is_one(self) -> None:
        assert error("[broker]", name="a b", store=self.STORE) == (
            "setting 'name' (flag --name): the name 'a b' is not valid: use 1 to 64 characters of "
            "A-Z, a-z, 0-9 and . _ : ~ + -, starting with a letter or a digit"
        )

    def test_the_name_is_no_longer_than_that_of_a_table(self) -> None:
        longest = "a" * 64
        assert load("[broker]", name=longest, store=self.STORE).name == longest
        rule = "is not valid: use 1 to 64 characters of A-Z"
        assert rule in error("[broker]", name=f"{longest}a", store=self.STORE)
        assert rule in error(table(name=f'"{longest}a"'))
        assert rule in error(f'[broker]\nname = "{longest}a"', store="memory")


def test_the_store_of_one_of_several_is_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_BROKER__STORE", "postgres://ann:secret@db/calls")
    assert error(TWO, name="a") == (
        "setting 'store' (environment UNDERSTUDY_BROKER__STORE): either all brokers of a file "
        "share one PostgreSQL database, or each has a SQLite store of its own"
    )


def test_the_url_of_the_environment_does_not_say_where_one_of_several_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNDERSTUDY_URL", "tcp://127.0.0.1:5577,tcp://10.0.0.6:5578")
    assert load(TWO, name="b").listen == "tcp://*:5578"
