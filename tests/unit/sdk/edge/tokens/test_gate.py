"""The gate: a file that changes, keys that are fetched, and what goes on only with its token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.unit.sdk.edge.tokens.forge import AUDIENCE, ISSUER, NOW, ed_key, jwk, rsa_key, token
from understudy.edge.tokens import gate as module
from understudy.edge.tokens.bearer import Bearer, RefusedError, sha256
from understudy.edge.tokens.gate import TokenGate, load
from understudy.edge.tokens.issuer_keys import KEPT_S, REFRESH_S, STALE_S
from understudy.edge.tokens.jwts import KeysError, KeySet, parse_keys
from understudy.edge.tokens.rules import RulesError

STATIC = f'[token."team-b/ci"]\nsha256 = "{sha256("us_ci")}"\n'
WITH_ISSUER = (
    f'{STATIC}[issuer."{ISSUER}"]\naudience = "{AUDIENCE}"\n'
    f'[[map]]\nissuer = "{ISSUER}"\nvalue = "ann"\nidentity = "team-a/ann"\n'
)


class Publisher:
    """An issuer that publishes keys, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.keys = [jwk(ed_key(), kid="ed")]
        self.is_down = False

    async def fetch(self, issuer: str) -> KeySet:
        assert issuer == ISSUER
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise KeysError("it is down")
        return parse_keys({"keys": self.keys})


def write(folder: Path, text: str, name: str = "tokens.toml") -> Path:
    path = folder / name
    new = folder / "new"
    new.write_text(text)
    new.rename(path)
    return path


def gate_of(path: Path, publisher: Publisher | None = None) -> TokenGate:
    fetch = None if publisher is None else publisher.fetch
    return TokenGate(path, lambda: NOW, fetch)


async def why(gate: TokenGate, *authorization: str) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        await gate.bearer(authorization)
    return caught.value.status, caught.value.detail


@asynccontextmanager
async def running(gate: TokenGate) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.run)
        yield
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.01)


async def test_who_asks(tmp_path: Path) -> None:
    gate = gate_of(write(tmp_path, STATIC))
    assert await gate.bearer(["Bearer us_ci"]) == Bearer("team-b/ci")
    assert (await why(gate))[0] == 401
    assert (await why(gate, "Bearer us_c"))[1] == "the token is not taken: it is unknown"
    assert "knows no issuer" in (await why(gate, f"Bearer {token()}"))[1]


# Keys --------------------------------------------------------------------------------------------


async def test_keys_from_a_file(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"keys": [jwk(ed_key(), kid="ed")]}), "keys.json")
    text = WITH_ISSUER.replace("[[map]]", 'jwks = "keys.json"\n[[map]]')
    gate = gate_of(write(tmp_path, text))
    assert (await gate.bearer([f"Bearer {token()}"])).identity == "team-a/ann"
    status, detail = await why(gate, f"Bearer {token(headers={'kid': 'new'})}")
    assert (status, detail) == (401, "the token is not taken: its key id (kid) is unknown")
    assert (await why(gate, f"Bearer {token(sub='bob')}"))[0] == 403


async def test_unknown_keys_are_fetched_and_not_too_often(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    publisher = Publisher()
    gate = gate_of(write(tmp_path, WITH_ISSUER), publisher)
    assert publisher.asked == 0
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(gate.bearer, [f"Bearer {token()}"])
    assert publisher.asked == 1
    for _ in range(20):
        assert (await why(gate, f"Bearer {token(headers={'kid': 'rsa'})}"))[0] == 401
    assert publisher.asked == 1
    publisher.keys.append(jwk(rsa_key(), kid="rsa"))
    await trio.sleep(REFRESH_S)
    found = await gate.bearer([f"Bearer {token(rsa_key(), 'RS256', {'kid': 'rsa'})}"])
    assert (found.identity, publisher.asked) == ("team-a/ann", 2)


async def test_nothing_is_said_of_a_token_whose_issuer_is_down(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    publisher = Publisher()
    publisher.is_down = True
    gate = gate_of(write(tmp_path, WITH_ISSUER), publisher)
    for _ in range(2):
        status, detail = await why(gate, f"Bearer {token()}")
        assert (status, publisher.asked) == (503, 1)
        assert detail.endswith("cannot be fetched now: it is down")
    assert await gate.bearer(["Bearer us_ci"]) == Bearer("team-b/ci")
    publisher.is_down = False
    await trio.sleep(REFRESH_S)
    assert (await gate.bearer([f"Bearer {token()}"])).identity == "team-a/ann"


async def test_keys_that_are_withdrawn_do_not_stay(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 20)
    monkeypatch.setattr(TokenGate, "_reread", lambda self: None)  # no thread with such a clock
    publisher = Publisher()
    gate = gate_of(write(tmp_path, WITH_ISSUER), publisher)
    good = f"Bearer {token()}"
    await gate.bearer([good])
    async with running(gate):
        publisher.is_down = True
        await trio.sleep(STALE_S + 60)
        assert publisher.asked == 2
        await gate.bearer([good])  # the issuer is down, and its keys are taken for a day
        await trio.sleep(KEPT_S)
        assert (await why(gate, good))[0] == 503
        publisher.is_down = False
        publisher.keys = [jwk(rsa_key(), kid="rsa")]
        await trio.sleep(STALE_S + 60)
        assert (await why(gate, good))[0] == 401


# The file ----------------------------------------------------------------------------------------


async def test_a_new_file_is_taken_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    path = write(tmp_path, STATIC)
    gate = gate_of(path)
    async with running(gate):
        write(tmp_path, STATIC.replace("team-b/ci", "team-b/other"))
        await until(lambda: gate._loaded.rules.tokens[0].identity == "team-b/other")
        assert await gate.bearer(["Bearer us_ci"]) == Bearer("team-b/other")
        write(tmp_path, '[token."team-c/x"]\nsha256 = "short"')
        await until(lambda: "the new tokens are refused" in caplog.text)
        assert await gate.bearer(["Bearer us_ci"]) == Bearer("team-b/other")
        path.unlink()
        await until(lambda: "cannot read" in caplog.text)
        assert await gate.bearer(["Bearer us_ci"]) == Bearer("team-b/other")
        write(tmp_path, "")
        await until(lambda: not gate._loaded.rules.tokens)
        assert (await why(gate, "Bearer us_ci"))[0] == 401
    assert caplog.text.count("are refused") == 2


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("[", None, "not valid TOML"),
        (WITH_ISSUER.replace("[[map]]", 'jwks = "k"\n[[map]]'), None, "cannot read the key"),
        (WITH_ISSUER.replace("[[map]]", 'jwks = "k"\n[[map]]'), "{", "k: "),
        (WITH_ISSUER.replace("[[map]]", 'jwks = "k"\n[[map]]'), "{}", "k: it is no JWKS"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, text: str, keys: str | None, message: str
) -> None:
    if keys is not None:
        (tmp_path / "k").write_text(keys)
    with pytest.raises(RulesError, match=message):
        load(write(tmp_path, text))


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, STATIC)
    path.chmod(0o666)
    with pytest.raises(RulesError, match="others can change"):
        load(path)
    path.chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(RulesError, match="others can write to the folder"):
        load(path)


def test_issuers_need_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NEEDED", ("no_such_module",))
    with pytest.raises(RulesError, match=r"\[tokens\]"):
        load(write(tmp_path, WITH_ISSUER))
    assert load(write(tmp_path, STATIC)).rules.tokens


# Leases ------------------------------------------------------------------------------------------


async def test_a_stream_ends_with_its_token(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    gate = gate_of(write(tmp_path, WITH_ISSUER), Publisher())
    authorization = [f"Bearer {token(exp=NOW - 50)}"]
    bearer = await gate.bearer(authorization)
    began = trio.current_time()
    with gate.lease(authorization, bearer) as lease:
        lease.end_with_token()
        await trio.Event().wait()
    assert lease.scope.cancelled_caught
    assert trio.current_time() - began == pytest.approx(10)
    with trio.move_on_after(1e6), gate.lease(authorization, bearer):
        await trio.sleep(1e5)  # what is no stream goes on


async def test_a_stream_ends_when_its_token_is_taken_out_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    stays = f'[token."team-b/web"]\nsha256 = "{sha256("us_web")}"\n'
    gate = gate_of(write(tmp_path, STATIC + stays))
    ended: list[str] = []

    async def follow(name: str) -> None:
        authorization = [f"Bearer {name}"]
        bearer = await gate.bearer(authorization)
        with gate.lease(authorization, bearer) as lease:
            lease.end_with_token()
            await trio.Event().wait()
        ended.append(name)

    async with running(gate), trio.open_nursery() as nursery:
        nursery.start_soon(follow, "us_ci")
        nursery.start_soon(follow, "us_web")
        await trio.testing.wait_all_tasks_blocked()
        write(tmp_path, stays)
        await until(lambda: ended)
        assert ended == ["us_ci"]
        write(tmp_path, stays.replace("team-b/web", "team-b/other"))
        await until(lambda: len(ended) == 2)
