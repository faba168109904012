"""Seal keys from end to end: the commands that make and count them, edges, and the codec."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.commands import Cli, call
from tests.integration.cli.programs import Forked
from understudy import Context, Never, Runtime
from understudy.cli import main
from understudy.client.seal_keys import add_seal_key

Seal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "seal.keys"


def _http(program: Forked) -> httpx.Client:
    program.wait_for("http://")
    place = re.search(r"http://[0-9.]+:[0-9]+", program.output)
    assert place is not None
    return httpx.Client(base_url=place[0], trust_env=False, timeout=20)


def test_keys_are_made_and_values_counted(
    file: Path, cli: Cli, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["seal", "new"]) == 2
    assert "UNDERSTUDY_SEAL_KEYS" in capfd.readouterr().err
    assert main(["seal", "new", "--file", str(file), "--id", "k1"]) == 0
    said = capfd.readouterr()
    assert said.out == f"k1 seals now, first in {file}\n"
    assert "keep a copy" in said.err
    with Runtime("plain", url=url) as plain:
        plain.promises.create("plain", value="clear")
    with Runtime("sealing", url=url, seal_keys=file) as sealing:
        sealing.promises.create("a", value=1)
        sealing.promises.resolve("a", 2)
    assert main(["seal", "new", "--file", str(file), "--id", "k2"]) == 0
    with Runtime("sealing", url=url, seal_keys=file) as sealing:
        sealing.schedules.create("s", "0 3 * * *", "report", 1)
    assert call(cli, "seal", "status", "--file", str(file)) == {
        "keys": {"k2": 1, "k1": 2},
        "unsealed": 1,
        "file": ["k2", "k1"],
    }
    assert call(cli, "seal", "status") == {"keys": {"k1": 2, "k2": 1}, "unsealed": 1, "file": []}
    _, out, _ = cli("seal", "status", "--file", str(file))
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["k2", "1", "seals"],
        ["k1", "2", "opens"],
        ["(not", "sealed)", "1", "-"],
    ]
    file.chmod(0o644)
    code, _, err = cli("seal", "status", "--file", str(file))
    assert code == 2
    assert "others can read" in err


def test_an_edge_with_keys_opens_and_one_without_shows_what_it_is(
    file: Path, url: str, tmp_path: Path
) -> None:
    add_seal_key(file, "k1")
    listen = ("--listen", "127.0.0.1:0", "--url", url)
    keys = {"UNDERSTUDY_SEAL_KEYS": str(file)}
    with (
        Runtime("g", url=url, seal_keys=file) as runtime,
        Forked("edge", *listen, cwd=tmp_path, **keys) as with_keys,
        Forked("edge", *listen, cwd=tmp_path) as without,
        Forked("codec", "--listen", "127.0.0.1:0", cwd=tmp_path, **keys) as codec,
    ):

        @runtime.register(retry=Never())
        def echo(ctx: Context, value: object) -> object:
            if value == "fail":
                raise ValueError("no such card")
            return value

        with _http(with_keys) as http:
            done = http.post("/calls/g/echo?wait=20s&id=pay-1", json=["4711"])
            assert done.json()["value"]["data"] == "4711"
            assert http.get("/promises/pay-1/result").json() == "4711"
            again = http.post("/calls/g/echo?wait=20s&id=pay-1", json=["4711"])
            assert again.status_code == 200
            failed = http.post("/calls/g/echo?wait=20s&id=pay-2", json=["fail"])
            assert failed.json()["error"]["message"] == "no such card"
        with _http(without) as http:
            shown = http.get("/promises/pay-1").json()
            assert shown["value"]["data"]["sealed"] == "k1"
            assert "4711" not in json.dumps(shown)
            result = http.get("/promises/pay-1/result")
            assert result.status_code == 422
            assert "sealed with the key 'k1'" in result.json()["detail"]
            other = http.post("/calls/g/echo?id=pay-1", json=["4711"])
            assert other.status_code == 409
            assert "cannot be told" in other.json()["detail"]
            assert http.get("/promises/pay-2/result").json()["error"]["type"] == "SealedValueError"
            # A node with keys reads what an edge without sends, and answers sealed.
            plain = http.post("/calls/g/echo?wait=20s&id=pay-3", json=["5"])
            assert plain.json()["value"]["data"]["sealed"] == "k1"
        with _http(codec) as http:
            asked = {"id": "pay-1", "part": "resolved", "data": shown["value"]["data"]["data"]}
            assert http.post("/open", json={"values": [asked]}).json() == {
                "values": [{"value": "4711"}]
            }
        assert codec.stop() == 0


def test_a_codec_needs_keys(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["codec"]) == 2
    assert "no seal keys" in capfd.readouterr().err
