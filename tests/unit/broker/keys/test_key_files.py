"""Files of keys: who may read them, and what is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq

from understudy_broker.keys import key_files
from understudy_broker.keys.key_files import (
    KeyFileError,
    NextPair,
    check_folder,
    find,
    new_pair,
    read_next_pair,
    read_pair,
    read_public,
    read_text,
    replace,
    replace_pair,
    write_new,
    write_next_pair,
    write_pair,
)
from understudy_broker.keys.peer_keys import PeerKeys, read_peer_keys


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_read_as_it_was_written(folder: Path) -> None:
    pair = new_pair("team-a/node-1")
    write_pair(folder / "node.key", pair)
    assert read_pair(folder / "node.key") == pair
    assert mode(folder / "node.key") == 0o600
    assert zmq.curve_public(pair.secret.encode()).decode() == pair.public


def test_a_secret_is_shown_nowhere() -> None:
    pair = new_pair("n")
    assert pair.secret not in f"{pair} {pair!r} {[pair]}"
    assert pair.public in repr(pair)


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o644, 0o660])
def test_a_secret_that_others_may_read_is_not_used(folder: Path, wide: int) -> None:
    path = folder / "node.key"
    write_pair(path, new_pair("n"))
    path.chmod(wide)
    with pytest.raises(KeyFileError, match="others can read the secret key"):
        read_pair(path)
    path.chmod(0o400)
    read_pair(path)


def test_a_credential_may_show_an_access_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    path = folder / "node.key"
    write_pair(path, new_pair("n"))
    path.chmod(0o440)
    assert read_pair(find("node.key")).name == "n"
    path.chmod(0o444)
    with pytest.raises(KeyFileError, match="others can read"):
        read_pair(path)


def test_a_bare_name_is_a_credential_if_there_is_one(folder: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert find("node.key", environ) == Path("node.key")
    (folder / "node.key").touch()
    assert find("node.key", environ) == folder / "node.key"
    assert find("./node.key", environ) == Path("node.key")
    assert find("node.key", {}) == Path("node.key")


@pytest.mark.parametrize("text", ["", "secret = 1", "secret = 'abc'", "[[", "x" * 40])
def test_what_is_no_secret_key(folder: Path, text: str) -> None:
    path = folder / "node.key"
    write_new(path, text, mode=0o600)
    with pytest.raises(KeyFileError, match="has no secret key"):
        read_pair(path)


def test_what_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        read_pair(folder / "absent")
    with pytest.raises(KeyFileError, match="is no file"):
        read_pair(folder)
    path = folder / "binary"
    path.write_bytes(b"\xff")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is no text"):
        read_pair(path)
    monkeypatch.setattr(key_files, "_FILE_BYTES_MAX", 2)
    path.write_bytes(b"abc")
    with pytest.raises(KeyFileError, match="is larger than"):
        read_text(path)


def test_a_file_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "node.key"
    write_pair(path, new_pair("n"))
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    if owner == 0:  # what root gives is taken
        read_pair(path)
        return
    with pytest.raises(KeyFileError, match="another user's"):
        read_pair(path)


def test_a_public_key_is_given_as_such_or_by_its_file(folder: Path) -> None:
    public = new_pair("n").public
    assert read_public(public) == (public,)
    path = folder / "broker.pub"
    write_new(path, f"{public}\n", mode=0o644)
    assert read_public(str(path)) == (public,)
    write_new(folder / "wrong", "x\n", mode=0o644)
    with pytest.raises(KeyFileError, match="has no public key"):
        read_public(str(folder / "wrong"))
    path.chmod(0o666)
    with pytest.raises(KeyFileError, match="others can change"):
        read_public(str(path))


def test_a_file_is_never_written_over_nor_through_a_link(folder: Path) -> None:
    path = folder / "node.key"
    write_pair(path, new_pair("first"))
    with pytest.raises(KeyFileError, match="is there already"):
        write_pair(path, new_pair("second"))
    assert read_pair(path).name == "first"
    (folder / "link").symlink_to(folder / "elsewhere")
    with pytest.raises(KeyFileError, match="is there already"):
        write_pair(folder / "link", new_pair("n"))
    assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize("wide", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_can_write_to_is_not_used(folder: Path, wide: int) -> None:
    folder.chmod(wide)
    with pytest.raises(KeyFileError, match="chmod go-w"):
        check_folder(folder)
    with pytest.raises(KeyFileError, match="chmod go-w"):
        write_pair(folder / "node.key", new_pair("n"))
    assert list(folder.iterdir()) == []


def test_a_folder_is_one(folder: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        check_folder(folder / "absent")
    (folder / "file").touch()
    with pytest.raises(KeyFileError, match="is no folder"):
        check_folder(folder / "file")


def test_a_file_is_replaced_whole_and_keeps_its_mode(folder: Path) -> None:
    path = folder / "rights.toml"
    write_new(path, "old", mode=0o640)
    before = path.stat().st_ino
    replace(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o640)
    assert path.stat().st_ino != before
    assert [each.name for each in folder.iterdir()] == ["rights.toml"]


def test_the_keys_of_a_peer_are_given_both_or_none(folder: Path) -> None:
    pair, broker = new_pair("n"), new_pair("b").public
    path = folder / "node.key"
    write_pair(path, pair)
    assert read_peer_keys(environ={}) is None
    assert read_peer_keys("", "", {"UNDERSTUDY_KEY": str(path)}) is None
    environ = {"UNDERSTUDY_KEY": str(path), "UNDERSTUDY_BROKER_KEY": broker}
    assert read_peer_keys(environ=environ) == PeerKeys(pair, broker, (), path)
    assert read_peer_keys(str(path), broker, {}) == PeerKeys(pair, broker, (), path)
    with pytest.raises(KeyFileError, match="not the one of this process"):
        read_peer_keys(broker_key=broker, environ={})
    with pytest.raises(KeyFileError, match="not the broker's public key"):
        read_peer_keys(key=str(path), environ={})


def test_a_refused_peer_tries_what_its_files_have_now(folder: Path) -> None:
    pair, fresh = new_pair("n"), new_pair("n")
    old, new, third = (new_pair("b").public for _ in range(3))
    path, public = folder / "node.key", folder / "broker.pub"
    write_pair(path, pair)
    write_new(public, f"{old}\n", mode=0o644)
    keys = read_peer_keys(str(path), str(public), {})
    assert keys is not None
    assert keys.after_refusal(knows_broker=False) == keys
    replace(public, f"{old}\n{new}\n")
    # The broker knows the key that was tried: it is the peer's own that it refused.
    keys = keys.after_refusal(knows_broker=True)
    assert (keys.broker, keys.others) == (old, (new,))
    keys = keys.after_refusal(knows_broker=False)
    assert (keys.broker, keys.others) == (new, (old,))
    replace_pair(path, fresh)
    keys = keys.after_refusal(knows_broker=True)
    assert (keys.pair, keys.broker) == (fresh, new)
    assert keys.after_refusal(knows_broker=False).broker == old
    replace(public, f"{third}\n")
    keys = keys.after_refusal(knows_broker=False)
    assert (keys.broker, keys.others) == (third, ())
    # What cannot be read now is as before.
    path.unlink()
    replace(public, "half a key")
    assert keys.after_refusal(knows_broker=False) == keys


def test_the_next_key_of_a_broker_says_since_when(folder: Path) -> None:
    path = folder / "broker.next.key"
    assert read_next_pair(path) is None
    after = NextPair(new_pair("b"), 1_893_456_000_000)
    write_next_pair(path, after)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_next_pair(path) == after
    assert "since = 2030-01-01T00:00:00Z\n" in path.read_text()
    path.write_text(path.read_text().replace("since = 2030-01-01T00:00:00Z", ""))
    with pytest.raises(KeyFileError, match="does not say since when"):
        read_next_pair(path)


@pytest.mark.parametrize("count", [0, 3])
def test_a_file_has_one_public_key_or_two(folder: Path, count: int) -> None:
    path = folder / "broker.pub"
    keys = [new_pair("b").public for _ in range(3)]
    write_new(path, "\n".join(keys[:count]), mode=0o644)
    with pytest.raises(KeyFileError, match="has no public key"):
        read_public(str(path))
    replace(path, "\n".join(keys[:2]))
    assert read_public(str(path)) == tuple(keys[:2])
