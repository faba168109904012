"""Settings: which source wins, and what wrong ones are answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.settings import BrokerSettings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and none of our variables in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in BrokerSettings.model_fields:
        monkeypatch.delenv(f"UNDERSTUDY_BROKER__{name.upper()}", raising=False)
    return tmp_path


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.listen, settings.store) == (
        "tcp://127.0.0.1:5577",
        "sqlite:///understudy.db",
    )
    config = settings.broker_config()
    assert (config.lease_ttl_ms, config.beat_ms) == (10_000, 2_500)
    # a broker of its own looks before it sleeps; one that shares its process does not
    assert (config.busy_poll_us, BrokerConfig().busy_poll_us) == (500, 0)


def test_metrics_are_shown_on_this_machine_unless_told_otherwise() -> None:
    settings = load_settings()
    assert (str(settings.metrics_place), settings.metrics) == ("127.0.0.1:9090", None)
    assert str(load_settings(flags={"metrics": "*:9100"}).metrics_place) == "0.0.0.0:9100"
    with pytest.raises(SettingsError, match=r"'metrics' \(flag --metrics\): 'x' is no address"):
        load_settings(flags={"metrics": "x"})


def test_flags_override_environment_override_file_override_defaults(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean / "understudy.toml").write_text(
        '[broker]\nstore = "file"\nlisten = "tcp://127.0.0.1:1"\nlog_level = "error"\n'
    )
    monkeypatch.setenv("UNDERSTUDY_BROKER__LISTEN", "tcp://127.0.0.1:2")
    monkeypatch.setenv("UNDERSTUDY_BROKER__LOG_LEVEL", "warning")
    settings = load_settings(flags={"log_level": "debug", "listen": None})
    assert settings.store == "file"
    assert settings.listen == "tcp://127.0.0.1:2"
    assert settings.log_level == "debug"
    assert settings.lease_ttl_s == 10


def test_a_named_file_is_used_instead(clean: Path) -> None:
    (clean / "understudy.toml").write_text('[broker]\nstore = "here"\n')
    (clean / "other.toml").write_text("[broker]\nlease_ttl_s = 4\n[node]\ngroup = 'g'\n")
    settings = load_settings(clean / "other.toml")
    assert settings.store != "here"
    assert settings.broker_config().beat_ms == 1_000


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"listen": "5577"}, "'listen' (flag --listen): an address looks like"),
        ({"listen": "tcp://*:x"}, "ends with a port"),
        ({"lease_ttl_s": "soon"}, "'lease_ttl_s' (flag --lease-ttl-s)"),
        ({"lease_ttl_s": 2, "beat_s": 1.5}, "beat_s must be at most half"),
        ({"color": "red"}, "'color' (flag --color) does not exist; there are: accept_clock"),
        ({"payload_bytes_max": 20 << 20}, "frame_bytes_max must exceed"),
    ],
)
def test_wrong_settings_are_named(flags: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags=flags)
    assert said in str(caught.value)


def test_no_secret_of_a_wrong_setting_is_shown(clean: Path) -> None:
    with pytest.raises(SettingsError, match="setting 'listen'") as raised:
        load_settings(flags={"listen": "tcp://me:hunter2@host:5577"})
    assert "hunter2" not in str(raised.value)


def test_the_source_of_a_wrong_setting_is_named(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clean / "understudy.toml"
    path.write_text("[broker]\nlog_level = 'loud'\n")
    with pytest.raises(SettingsError, match=r"understudy\.toml"):
        load_settings()
    monkeypatch.setenv("UNDERSTUDY_BROKER__LOG_LEVEL", "louder")
    with pytest.raises(SettingsError, match="environment UNDERSTUDY_BROKER__LOG_LEVEL"):
        load_settings()
    path.write_text("[broker\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings()
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(clean / "absent.toml")


@pytest.mark.parametrize(
    ("listen", "open_to_others"),
    [
        ("tcp://127.0.0.1:5577", False),
        ("tcp://localhost:5577", False),
        ("tcp://[::1]:5577", False),
        ("ipc:///tmp/understudy", False),
        ("tcp://*:5577", True),
        ("tcp://0.0.0.0:5577", True),
        ("tcp://eth0:5577", True),
    ],
)
def test_an_address_tells_whether_other_machines_can_connect(
    listen: str, open_to_others: bool
) -> None:
    settings = load_settings(flags={"listen": listen, "insecure": True})
    assert settings.open_to_others is open_to_others


@pytest.mark.parametrize("listen", ["tcp://*:5577", "tcp://10.0.0.5:5577", "tcp://eth0:5577"])
def test_a_broker_without_keys_does_not_listen_to_other_machines(
    listen: str, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"'listen' \(flag --listen\).*keys init.*--insecure"):
        load_settings(flags={"listen": listen})
    assert load_settings(flags={"listen": listen, "keys": "/k"}).keys == Path("/k")
    monkeypatch.setenv("UNDERSTUDY_BROKER__KEYS", "/etc/keys")
    assert load_settings(flags={"listen": listen}).keys == Path("/etc/keys")
    monkeypatch.delenv("UNDERSTUDY_BROKER__KEYS")
    (clean / "understudy.toml").write_text("[broker]\ninsecure = true\n")
    assert load_settings(flags={"listen": listen}).insecure


def test_a_broker_listens_where_clients_look_for_it(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_URL", "tcp://127.0.0.1:6001")
    assert load_settings().listen == "tcp://127.0.0.1:6001"
    (clean / "understudy.toml").write_text('[broker]\nlisten = "tcp://127.0.0.1:6002"\n')
    assert load_settings().listen == "tcp://127.0.0.1:6002", "the file is about this broker"
    monkeypatch.setenv("UNDERSTUDY_BROKER__LISTEN", "tcp://127.0.0.1:6003")
    assert load_settings().listen == "tcp://127.0.0.1:6003"
    assert load_settings(flags={"listen": "tcp://127.0.0.1:6004"}).listen == "tcp://127.0.0.1:6004"


def test_a_wrong_url_of_the_environment_is_named(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_URL", "nowhere")
    with pytest.raises(SettingsError, match=r"'listen' \(environment UNDERSTUDY_URL\)"):
        load_settings()


def test_the_table_of_retention(clean: Path) -> None:
    day = 86_400_000
    rules = load_settings().broker_config().retention
    assert (rules.default, rules.values, rules.idempotency) == (30 * day, None, 90 * day)
    (clean / "understudy.toml").write_text(
        '[retention]\ndefault = "never"\nvalues = "7d"\ngroups.shop = "1h"\n'
        'functions."shop/checkout" = "90d"\narchive = "file:///tmp/a.jsonl"\n'
        '[broker]\nlisten = "tcp://127.0.0.1:5599"\n'
    )
    settings = load_settings()
    rules = settings.broker_config().retention
    assert (rules.default, rules.values) == (None, 7 * day)
    assert (rules.groups, rules.functions) == (
        {"shop": 3_600_000},
        {"shop/checkout": 90 * day},
    )
    assert settings.retention.archive_path == "/tmp/a.jsonl"
    (clean / "understudy.toml").write_text('[retention]\nmax_rows = 7\nmax_bytes = "2 GiB"\n')
    rules = load_settings().broker_config().retention
    assert (rules.max_rows, rules.max_bytes) == (7, 2**31)
    with pytest.raises(SettingsError, match="max_bytes is for SQLite stores"):
        load_settings(flags={"store": "postgresql:///calls"})
    for line, said in (
        ("max_rows = 0", "max_rows is a number of promises, at least 1, not 0"),
        ("max_rows = true", "not True"),
        ('max_bytes = "1GB"', "not '1GB'"),
        ("max_bytes = 1000", "at least 1 MiB, not 1000"),
    ):
        (clean / "understudy.toml").write_text(f"[retention]\n{line}\n")
        with pytest.raises(SettingsError, match=said):
            load_settings()
    (clean / "understudy.toml").write_text('[retention]\ndefault = "30"\n')
    with pytest.raises(SettingsError, match=r"retention.default.*is no duration"):
        load_settings()
    (clean / "understudy.toml").write_text('[retention]\narchive = "s3://x"\n')
    with pytest.raises(SettingsError, match=r"retention.archive.*file:///"):
        load_settings()
