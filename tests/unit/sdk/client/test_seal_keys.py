"""Files of seal keys: which are taken, and how one is added."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from understudy.client.seal_keys import (
    add_seal_key,
    process_sealer,
    read_seal_keys,
    seal_variables,
)
from understudy.errors import ConfigurationError
from understudy.values.seals import PARAM, Place, key_id

SECRET = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "seal.keys"


def test_a_new_key_comes_first(path: Path) -> None:
    first = add_seal_key(path)
    second = add_seal_key(path, "2027-01")
    assert [key.id for key in read_seal_keys(path)] == ["2027-01", first]
    assert second == "2027-01"
    assert first.startswith("k-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sealer = process_sealer(str(path), environ={})
    assert sealer is not None
    assert key_id(sealer.seal(b"", Place("p", PARAM))) == "2027-01"


def test_an_id_is_given_once(path: Path) -> None:
    add_seal_key(path, "k1")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        add_seal_key(path, "k1")
    with pytest.raises(ConfigurationError, match="letters, digits"):
        add_seal_key(path, 'k"1')
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    add_seal_key(path, "k1")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="others can read"):
        process_sealer(str(path), environ={})
    with pytest.raises(ConfigurationError, match="others can read"):
        add_seal_key(path, "k2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key = 1",
        "[[key]]",
        "[[key",
        f'[[key]]\nid = "k1"\nsecret = "{SECRET[:-8]}"',
        '[[key]]\nid = "k1"\nsecret = "no base64!"',
        f'[[key]]\nid = "k 1"\nsecret = "{SECRET}"',
        f'[[key]]\nid = "k1"\nsecret = "{SECRET}"\nmore = 1',
        f'other = 1\n[[key]]\nid = "k1"\nsecret = "{SECRET}"',
        f'[[key]]\nid = "k1"\nsecret = "{SECRET}"\n' * 2,
    ],
)
def test_a_file_without_seal_keys_is_refused_and_not_shown(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_seal_keys(path)
    assert SECRET[:-8] not in str(caught.value)
    assert str(path) in str(caught.value)


def test_where_the_keys_are_from(path: Path) -> None:
    add_seal_key(path, "k1")
    assert process_sealer(environ={}) is None
    assert process_sealer("", environ={"UNDERSTUDY_SEAL_KEYS": str(path)}) is None
    assert process_sealer(environ={"UNDERSTUDY_SEAL_KEYS": str(path)}) is not None
    credential = {"UNDERSTUDY_SEAL_KEYS": path.name, "CREDENTIALS_DIRECTORY": str(path.parent)}
    assert process_sealer(environ=credential) is not None
    with pytest.raises(ConfigurationError, match="cannot read"):
        process_sealer(str(path.with_name("absent")), environ={})


def test_sealed_values_are_required_only_with_keys(path: Path) -> None:
    add_seal_key(path, "k1")
    required = {"UNDERSTUDY_SEAL_REQUIRED": "1"}
    with pytest.raises(ConfigurationError, match="no seal keys"):
        process_sealer(environ=required)
    for given, expected in ((None, True), (False, False)):
        sealer = process_sealer(str(path), given, environ=required)
        assert sealer is not None
        assert sealer.required is expected
    with pytest.raises(ConfigurationError, match="must be 1 or 0"):
        process_sealer(str(path), environ={"UNDERSTUDY_SEAL_REQUIRED": "perhaps"})


def test_children_are_told_what_was_given() -> None:
    assert seal_variables(None, None) == {}
    assert seal_variables("a", False) == {
        "UNDERSTUDY_SEAL_KEYS": "a",
        "UNDERSTUDY_SEAL_REQUIRED": "0",
    }
