"""The keys of a process: from where they are read, and what its children are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy import Runtime
from understudy.client.keys import NO_KEYS, key_variables, process_keys
from understudy.errors import ConfigurationError
from understudy_broker.keys.key_files import new_pair, write_pair

OTHER = new_pair("broker").public


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("UNDERSTUDY_KEY", "UNDERSTUDY_BROKER_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    tmp_path.chmod(0o755)
    write_pair(tmp_path / "node.key", new_pair("node"))
    return tmp_path / "node.key"


def test_arguments_come_before_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_keys() is None
    monkeypatch.setenv("UNDERSTUDY_KEY", str(file))
    monkeypatch.setenv("UNDERSTUDY_BROKER_KEY", OTHER)
    keys = process_keys()
    assert keys is not None
    assert (keys.pair.name, keys.broker) == ("node", OTHER)
    another = file.with_name("another.key")
    write_pair(another, new_pair("another"))
    keys = process_keys(str(another))
    assert keys is not None
    assert keys.pair.name == "another"
    assert process_keys("", "") is None, "a child may be told that it has none"


def test_a_key_that_cannot_be_used_is_a_wrong_configuration(file: Path) -> None:
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others can read the secret key"):
        process_keys(str(file), OTHER)
    runtime = Runtime("g", key=file, broker_key=OTHER)
    with pytest.raises(ConfigurationError, match="others can read the secret key"):
        runtime.start()


def test_children_are_told_of_other_keys_than_those_of_the_environment() -> None:
    assert key_variables(None, None, has_none=False) == {}
    assert key_variables("a", "b", has_none=False) == {
        "UNDERSTUDY_KEY": "a",
        "UNDERSTUDY_BROKER_KEY": "b",
    }
    assert key_variables("a", "b", has_none=True) == NO_KEYS


@pytest.mark.parametrize("name", ["key", "broker_key"])
def test_a_key_is_a_path(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.* a string"):
        Runtime("g", **{name: 5})  # type: ignore[arg-type]
