"""Keys from end to end: real processes, and the commands that make their keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.programs import APP, Forked, run_forked
from tests.support import free_url
from understudy.cli import main
from understudy_broker.keys.key_files import new_pair, read_pair, write_pair

PLAIN = ("UNDERSTUDY_KEY", "UNDERSTUDY_BROKER_KEY", "UNDERSTUDY_BROKER__KEYS")
#: the role that `keys init` makes
ALL = ("--role", "everything")
Keys = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in PLAIN:
        monkeypatch.delenv(name, raising=False)
    tmp_path.chmod(0o755)
    return tmp_path / "keys"


@pytest.fixture
def keys(folder: Path, capfd: pytest.CaptureFixture[str]) -> Keys:
    """Run a command of `understudy keys` on the folder: exit code, output, errors."""

    def command(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["keys", *args, "--folder", str(folder)])
        return code, *capfd.readouterr()

    return command


def test_keys_are_made_listed_changed_and_revoked(keys: Keys, folder: Path) -> None:
    code, out, _ = keys("init")
    assert code == 0
    assert out.splitlines()[-1] == (folder / "broker.pub").read_text().strip()
    assert keys("list")[1].startswith("There are no identities")
    code, out, _ = keys("new", "team-a/node-1", "--expires", "2199-01-01", *ALL)
    file = folder / "team-a.node-1.key"
    assert (code, out) == (0, f"made {file}; team-a/node-1 is in {folder / 'rights.toml'}\n")
    key = read_pair(file).public
    [found] = json.loads(keys("list", "--json")[1])
    assert found == {
        "identity": "team-a/node-1",
        "key": key,
        "state": "valid",
        "expires_at": 7226582400000,
        "roles": ["everything"],
    }
    assert keys("show", "team-a/node-1")[1] == (
        f'[identity."team-a/node-1"]\nkey = "{key}"\nexpires = 2199-01-01\nroles = ["everything"]\n'
    )
    assert keys("rotate", "team-a/node-1", "--out", str(folder / "new.key"))[0] == 0
    states = [(each["key"], each["state"]) for each in json.loads(keys("list", "--json")[1])]
    assert states == [(read_pair(folder / "new.key").public, "valid"), (key, "old")]
    assert keys("check")[:2] == (0, f"{folder / 'rights.toml'} is right: 1 identity\n")
    assert keys("revoke", "team-a/node-1")[0] == 0
    assert json.loads(keys("list", "--json")[1]) == []
    assert "# revoked 20" in (folder / "rights.toml").read_text()


def test_a_peer_makes_its_own_key(keys: Keys, folder: Path) -> None:
    file = folder.parent / "own.key"
    code, out, err = keys("new", "own", "--print", "--out", str(file))
    assert (code, not folder.exists()) == (0, True)
    assert out == f'[identity."own"]\nkey = "{read_pair(file).public}"\n'
    assert str(file) in err
    assert read_pair(file).secret not in out + err


def test_what_is_refused_changes_nothing(keys: Keys, folder: Path) -> None:
    assert keys("list")[0] == 1
    keys("init")
    before = {each: each.read_bytes() for each in folder.iterdir()}
    for args, code, said in [
        (["init"], 1, "is there already"),
        (["new", "a b", *ALL], 1, "a name has letters"),
        (["new", "understudy/brokers", *ALL], 1, "are reserved"),
        (["new", "a", *ALL, "--expires", "soon"], 2, "is no day"),
        (["new", "a"], 2, "rights.toml has the roles everything"),
        (["new", "a", "--role", "team-c"], 1, "there is no table [role.team-c]"),
        (["revoke", "a"], 1, "there is no identity 'a'"),
        (["show", "a"], 1, "there is no identity 'a'"),
        (["rotate", "a"], 1, "there is no identity 'a'"),
        (["rotate", "a", "--overlap", "x"], 2, "is not a time"),
    ]:
        found, _, err = keys(*args)
        assert (found, said in err) == (code, True), (args, found, err)
    assert {each: each.read_bytes() for each in folder.iterdir()} == before
    folder.chmod(0o777)
    for args in (["list"], ["new", "a", *ALL], ["check"], ["revoke", "a"], ["init"]):
        assert "others can write to the folder" in keys(*args)[2]
    folder.chmod(0o755)
    keys("new", "a", *ALL)
    assert keys("new", "a", *ALL, "--out", str(folder / "again.key"))[0] == 1
    assert not (folder / "again.key").exists(), "a key that nobody knows is not left behind"


def test_a_folder_is_checked_as_by_a_broker(keys: Keys, folder: Path) -> None:
    keys("init")
    rights = folder / "rights.toml"
    public = (folder / "broker.pub").read_text().strip()
    rights.write_text(f'[identity.a]\nkey = "{public}"\n')
    code, _, err = keys("check")
    assert (code, "its key is the broker's own" in err) == (1, True)
    rights.write_text(f'[identity.a]\nkey = "{new_pair("a").public}"\nexpires = 2020-01-01\n')
    assert keys("check")[1].splitlines() == [
        "the key of a expired 2020-01-01 00:00:00 UTC",
        "identity a: it has no role, so it may do nothing",
        f"{rights} is right: 1 identity",
    ]
    (folder / "broker.key").chmod(0o644)
    assert "others can read the secret key" in keys("check")[2]


@pytest.fixture
def system(keys: Keys, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A broker with keys and a node, as processes; the address, and the environment of a client."""
    keys("init")
    for name in ("node", "client"):
        keys("new", name, *ALL)
    (folder.parent / "app.py").write_text(APP)
    where = free_url()
    client = {
        "UNDERSTUDY_URL": where,
        "UNDERSTUDY_KEY": str(folder / "client.key"),
        "UNDERSTUDY_BROKER_KEY": str(folder / "broker.pub"),
    }
    node = client | {"UNDERSTUDY_KEY": str(folder / "node.key")}
    argv = ["--listen", where, "--store", "memory", "--keys", str(folder), "--log-format", "json"]
    with (
        Forked("broker", *argv, cwd=folder.parent) as broker,
        Forked("node", "app:runtime", "--id", "g-1", cwd=folder.parent, **node) as serving,
    ):
        broker.wait_for("listening on")
        serving.wait_for("node g-1 of group g serves")
        yield where, client
        assert 'identity": "node"' in broker.output
        for file in ("node.key", "client.key", "broker.key"):
            assert read_pair(folder / file).secret not in broker.output + serving.output


def test_calls_with_keys_and_what_strangers_are_told(
    system: tuple[str, dict[str, str]], folder: Path, keys: Keys
) -> None:
    _, client = system
    cwd = folder.parent
    argv = ("invoke", "hi", "greet", "--arg", "Ann", "--target", "g", "--wait")
    done = run_forked(*argv, cwd=cwd, **client)
    assert (done.returncode, done.stdout) == (0, '"hello Ann"\n')

    write_pair(folder / "stranger.key", new_pair("stranger"))
    (folder / "wide.key").write_bytes((folder / "client.key").read_bytes())
    (folder / "wide.key").chmod(0o644)
    cases: list[tuple[dict[str, str], int | None, str]] = [
        ({"UNDERSTUDY_KEY": str(folder / "stranger.key")}, None, "does not take the key of this"),
        ({"UNDERSTUDY_KEY": str(folder / "wide.key")}, 2, "others can read the secret key"),
        ({"UNDERSTUDY_KEY": ""}, 2, "but not the one of this process"),
        ({"UNDERSTUDY_BROKER_KEY": ""}, 2, "but not the broker's public key"),
    ]
    runs = [Forked("groups", cwd=cwd, **(client | change)) for change, _, _ in cases]
    for program, (change, code, said) in zip(runs, cases, strict=True):
        with program:
            program.wait_for(said)  # a stranger goes on trying for some seconds
            assert code is None or program.wait_for_exit() == code, (change, program.output)

    keys("revoke", "node")
    keys("new", "later", *ALL)
    later = client | {"UNDERSTUDY_KEY": str(folder / "later.key")}
    # The broker reads the rights again by itself: the node is out, and the new one is in.
    done = run_forked("groups", cwd=cwd, **later)
    assert done.returncode == 0, done.stderr
    assert "g-1" not in done.stdout


TEAMS = """
[role.team-a]
serve = ["g"]
call = ["g"]
ids = ["a/"]
cancel = ["a/"]

[role.team-b]
call = ["b-*"]
ids = ["b/"]
"""


def test_two_teams_share_a_broker_and_nothing_else(
    system: tuple[str, dict[str, str]], folder: Path, keys: Keys
) -> None:
    _, client = system
    rights = folder / "rights.toml"
    rights.write_text(rights.read_text() + TEAMS)
    for team in ("a", "b"):
        assert keys("new", f"{team}/cli", "--role", f"team-{team}")[0] == 0
    of = {team: client | {"UNDERSTUDY_KEY": str(folder / f"{team}.cli.key")} for team in ("a", "b")}

    def tried(team: str, *argv: str) -> tuple[int, str]:
        done = run_forked(*argv, cwd=folder.parent, **of[team])
        return done.returncode, done.stdout + done.stderr

    call = ("greet", "--arg", "Ann", "--target", "g", "--wait")
    assert tried("a", "invoke", "a/1", *call) == (0, '"hello Ann"\n')
    for argv, lacks in (
        (("invoke", "b/1", *call), "call = ['g']"),
        (("invoke", "a/2", *call), "ids = ['a/2']"),
        (("promises", "get", "a/1"), "ids = ['a/1']"),
        (("promises", "cancel", "a/1"), "cancel = ['a/1']"),
        (("promises", "search"), "search = ['']"),
    ):
        code, output = tried("b", *argv)
        assert (code != 0, lacks in output) == (True, True), (argv, output)
    code, output = tried("b", "groups")
    assert (code, "g-1" in output) == (0, False), output
    assert "g-1" in tried("a", "groups")[1]
    node = of["b"] | {"UNDERSTUDY_GROUP": "g"}
    with Forked("node", "app:runtime", "--id", "b-1", cwd=folder.parent, **node) as refused:
        refused.wait_for("serve = ['g']")
        assert refused.wait_for_exit() != 0


def test_a_tunnel_carries_keys_from_end_to_end(
    system: tuple[str, dict[str, str]], folder: Path, keys: Keys
) -> None:
    url, client = system
    keys("new", "edge", *ALL)
    place = free_url().removeprefix("tcp://")
    of_edge = client | {"UNDERSTUDY_KEY": str(folder / "edge.key")}
    with Forked("edge", "--listen", place, "--url", url, cwd=folder.parent, **of_edge) as edge:
        edge.wait_for("understudy edge: http://")
        through = client | {"UNDERSTUDY_URL": f"http://{place}"}
        argv = ("invoke", "hi", "greet", "--arg", "Ann", "--target", "g", "--wait")
        done = run_forked(*argv, cwd=folder.parent, **through)
        assert (done.returncode, done.stdout) == (0, '"hello Ann"\n'), done.stderr


def test_brokers_with_keys_find_each_other(keys: Keys, folder: Path) -> None:
    """A deployment that begins, where each must hear from the other; and a call between both."""
    keys("init")
    keys("new", "all", *ALL)
    (folder.parent / "app.py").write_text(APP)
    urls = [free_url(), free_url()]
    tables = (
        f'[[broker]]\nname = "{name}"\nlisten = "{url}"\nkeys = "{folder}"\n'
        for name, url in zip("ab", urls, strict=True)
    )
    (folder.parent / "brokers.toml").write_text("\n".join(tables))
    ours = {
        "UNDERSTUDY_URL": ",".join(urls),
        "UNDERSTUDY_KEY": str(folder / "all.key"),
        "UNDERSTUDY_BROKER_KEY": str(folder / "broker.pub"),
    }
    argv = ("broker", "--config", "brokers.toml", "--log-format", "json", "--name")
    cwd = folder.parent
    with (
        Forked(*argv, "a", cwd=cwd) as a,
        Forked(*argv, "b", cwd=cwd) as b,
        Forked("node", "app:runtime", "--id", "g-1", cwd=cwd, **ours) as node,
    ):
        for broker in (a, b):
            broker.wait_for("listening on")
            broker.wait_for("linked with a broker")
        node.wait_for("node g-1 of group g serves")
        done = run_forked("brokers", cwd=cwd, **ours)
        assert done.returncode == 0, done.stdout + done.stderr
        # Its calls are in slots of both.
        call = ("invoke", "o", "order", "--kwarg", "items=9", "--target", "g", "--wait")
        done = run_forked(*call, cwd=cwd, **ours)
        assert (done.returncode, done.stdout) == (0, "360\n"), done.stderr


def test_nobody_listens_to_other_machines_without_keys_by_accident(folder: Path) -> None:
    everywhere = free_url().replace("127.0.0.1", "0.0.0.0")
    (folder.parent / "app.py").write_text(APP)
    for args in (["broker", "--store", "memory"], ["dev", "app", "--no-http"]):
        done = run_forked(*args, "--listen", everywhere, cwd=folder.parent)
        assert (done.returncode, "--insecure" in done.stderr) == (2, True), done
    argv = ["broker", "--store", "memory", "--listen", everywhere, "--insecure", "--allow-root"]
    with Forked(*argv, cwd=folder.parent) as broker:
        broker.wait_for("there is no authentication")
        broker.wait_for("listening on")
