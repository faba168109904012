"""The commands about an audit, and about keys of a broker that runs: files and real processes."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.programs import Forked, Service, run_forked
from tests.support import free_url
from understudy.cli import main
from understudy_broker.audit.audit_file import AuditFile
from understudy_broker.audit.chain import Record
from understudy_broker.keys.key_files import replace

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def command(*args: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        return code, *capfd.readouterr()

    return command


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    path = tmp_path / "audit.jsonl"
    file = AuditFile(path, bytes_max=400)
    for number in range(10):
        who = {"identity": "ann" if number % 2 else "bob", "name": "n\x1b[31m"}
        file.write([Record(number, "refused" if number == 3 else "joined", who)])
    file.close()
    return path


def test_a_chain_is_verified_over_its_parts(cli: Cli, path: Path) -> None:
    code, out, _ = cli("audit", "verify", path)
    assert code == 0
    assert out.startswith("10 lines fit, 1970-01-01T00:00:00.000Z to ")
    hash_ = out.splitlines()[-1]
    report = json.loads(cli("audit", "verify", path, "--json")[1])
    assert report == {
        "ok": True, "lines": 10, "first": 1, "last": 10, "hash": hash_, "has_expected": True,
        "torn": [], "problem": None,
    }  # fmt: skip
    assert cli("audit", "verify", path, "--expect", hash_)[0] == 0
    code, _, err = cli("audit", "verify", path, "--expect", "0" * 64)
    assert (code, "no line has the hash" in err) == (1, True)
    part = path.with_name("audit.jsonl.000002")
    code, out, _ = cli("audit", "verify", part)
    assert (code, "are in other files" in out) == (0, True)

    with path.open("ab") as file:
        file.write(b'{"number":11,"ti')
    code, out, _ = cli("audit", "verify", path)
    assert (code, "not whole, as a crash leaves it" in out) == (0, True)
    text = part.read_text()
    part.write_text(text.replace("bob", "eve", 1))
    code, _, err = cli("audit", "verify", path)
    assert (code, "audit.jsonl.000002, line 3: it does not follow" in err) == (1, True), err
    assert json.loads(cli("audit", "verify", path, "--json")[1])["problem"]["line"] == 3
    part.unlink()
    assert "audit.jsonl.000003, line 1: it does not follow" in cli("audit", "verify", path)[2]
    assert cli("audit", "verify", path.with_name("none"))[0] == 2


def test_lines_are_shown_and_command_no_terminal(cli: Cli, path: Path) -> None:
    code, out, _ = cli("audit", "show", path)
    assert (code, len(out.splitlines())) == (0, 11)
    assert "\x1b" not in out
    found = json.loads(cli("audit", "show", path, "--identity", "ann", "--json")[1])
    assert [line["number"] for line in found] == [2, 4, 6, 8, 10]
    found = json.loads(cli("audit", "show", path, "--what", "refused", "--json")[1])
    assert [line["number"] for line in found] == [4]
    found = json.loads(cli("audit", "show", path, "--limit", "2", "--json")[1])
    assert [line["number"] for line in found] == [9, 10]
    assert cli("audit", "show", path, "--what", "nothing")[1] == "There are no such lines.\n"


def test_a_broker_as_a_service_is_told_of_its_keys_and_notes_it(tmp_path: Path, cli: Cli) -> None:
    tmp_path.chmod(0o755)
    folder, where, audit = tmp_path / "keys", free_url(), tmp_path / "audit.jsonl"
    cli("keys", "init", "--folder", folder)
    code, _, err = cli("keys", "reload", "--folder", folder)
    assert (code, "no broker on this machine runs with" in err) == (1, True)
    for name in ("ann", "bob"):
        cli("keys", "new", name, "--role", "everything", "--folder", folder)
    keys = {
        "UNDERSTUDY_URL": where,
        "UNDERSTUDY_KEY": str(folder / "ann.key"),
        "UNDERSTUDY_BROKER_KEY": str(folder / "broker.pub"),
    }
    argv = ["--listen", where, "--store", "sqlite:///s.db", "--keys", str(folder)]
    argv += ["--audit", str(audit), "--log-format", "json"]
    with Service("broker", *argv, cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        done = run_forked("promises", "cancel", "none", cwd=tmp_path, **keys)
        assert done.returncode == 1, done.stderr
        code, out, _ = cli("keys", "reload", "--folder", folder)
        assert (code, f"(process {broker.process.pid}) has these rights" in out) == (0, True)
        code, out, _ = cli("keys", "revoke", "bob", "--folder", folder)
        assert (code, "has these rights" in out) == (0, True)

        # Nothing changes, so only the signal makes it read the file.
        broker.process.send_signal(signal.SIGHUP)
        rights = folder / "rights.toml"
        replace(rights, "[identity")
        code, _, err = cli("keys", "reload", "--folder", folder)
        assert (code, "is not valid TOML" in err) == (1, True)
        broker.wait_for("the new rights are refused")
        broker.process.send_signal(signal.SIGHUP)
        broker.wait_for("the new rights are refused", 2)
        assert broker.process.poll() is None
        assert broker.stop() == 0
    assert cli("audit", "verify", audit)[0] == 0
    found = [json.loads(line) for line in audit.read_bytes().splitlines()]
    [command] = [line for line in found if line["what"] == "command"]
    assert (command["identity"], command["command"], command["id"]) == (
        "ann", "promise.cancel", "none",
    )  # fmt: skip
    assert {line["what"] for line in found} >= {"rights read", "rights refused", "stopped"}
    # Whatever the user's mask is, nobody else can read what the broker has made.
    made = [each for each in tmp_path.iterdir() if each.is_file() and each.name != "app.py"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o600}, made


def test_a_broker_whose_audit_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "settings.toml").write_text("# nothing\n")
    (tmp_path / "settings.toml").chmod(0o600)
    argv = ("broker", "--listen", free_url(), "--store", "memory", "--audit", "settings.toml")
    done = run_forked(*argv, cwd=tmp_path)
    assert (done.returncode, "is no audit" in done.stderr) == (1, True), done.stderr
    assert (tmp_path / "settings.toml").read_text() == "# nothing\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="asks what root is told")
def test_root_does_not_listen_to_other_machines_by_accident(tmp_path: Path) -> None:
    everywhere = free_url().replace("127.0.0.1", "0.0.0.0")
    argv = ["broker", "--store", "memory", "--listen", everywhere, "--insecure"]
    done = run_forked(*argv, cwd=tmp_path)
    assert (done.returncode, "--allow-root" in done.stderr) == (1, True), done.stderr


def test_groups_say_that_everybody_may_do_everything(tmp_path: Path) -> None:
    everywhere = free_url().replace("127.0.0.1", "0.0.0.0")
    argv = ["broker", "--store", "memory", "--listen", everywhere, "--insecure", "--allow-root"]
    with Forked(*argv, cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        url = everywhere.replace("0.0.0.0", "127.0.0.1")
        done = run_forked("groups", "--url", url, cwd=tmp_path)
        assert (done.returncode, "asks for no keys" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize(("mode", "found"), [(None, 0o600), ("660", 0o660)])
def test_a_socket_in_the_file_system_has_the_mode_that_is_wanted(
    tmp_path: Path, mode: str | None, found: int
) -> None:
    path = tmp_path / "b.socket"
    argv = ["broker", "--store", "memory", "--listen", f"ipc://{path}"]
    if mode is not None:
        argv += ["--set", f"ipc_mode={mode}"]
    with Forked(*argv, cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        assert path.stat().st_mode & 0o777 & ~0o100 == found


def test_the_key_of_a_broker_is_rotated_in_two_steps(cli: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "keys"
    cli("keys", "init", "--folder", folder)
    before = (folder / "broker.pub").read_text()
    code, out, _ = cli("keys", "rotate-broker", "--folder", folder)
    assert (code, "has both keys now" in out) == (0, True)
    assert (folder / "broker.pub").read_text().startswith(before)
    assert cli("keys", "check", "--folder", folder)[0] == 0
    for args, said in ((["--complete"], "not due yet"), ([], "not completed")):
        code, _, err = cli("keys", "rotate-broker", *args, "--folder", folder)
        assert (code, said in err) == (1, True), err
    (folder / "broker.next.key").unlink()
    assert cli("keys", "rotate-broker", "--overlap", "0s", "--folder", folder)[0] == 0
    assert cli("keys", "rotate-broker", "--complete", "--folder", folder)[0] == 0
    after = (folder / "broker.pub").read_text()
    assert len(after.split()) == 1
    assert after != before
    assert cli("keys", "check", "--folder", folder)[0] == 0
