"""Tokens and TLS at an edge, from end to end: a broker with keys, an issuer, real clients."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.integration.cli.programs import APP, PATIENCE_S, Forked, run_forked
from tests.support import eventually, free_url
from tests.unit.sdk.edge.tokens.forge import jwk, raw
from understudy.bench.deployment import free_port
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub
from understudy.edge.tokens.bearer import sha256
from understudy_broker.keys.key_files import new_pair, write_pair
from understudy_broker.keys.key_folder import KeyFolder
from understudy_broker.keys.rights import Holder
from understudy_broker.keys.rights_text import lines_of

ROLES = """
[role.shop]
serve = ["web"]
call = ["g"]
ids = ["g/", "a-"]
search = ["a-"]

[role.edge]
edge = ["team-*"]

[identity."team-a/web"]
roles = ["shop"]

[identity."team-b/ci"]
roles = []
"""


class Issuer:
    """An issuer of JWTs, which publishes its keys over HTTP on this machine."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"first": ed25519.Ed25519PrivateKey.generate()}
        self.asked: list[str] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                body = json.dumps(issuer.documents().get(self.path)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def documents(self) -> dict[str, Any]:
        keys = [jwk(key, kid=kid) for kid, key in self.keys.items()]
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url, "jwks_uri": f"{self.url}/keys",
            },
            "/keys": {"keys": keys},
        }  # fmt: skip

    def claims(self, seconds: float = 600, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        found = {"iss": self.url, "aud": "understudy", "sub": "ann", "groups": ["web"]}
        return {**found, "nbf": now - 600, "exp": now + seconds, **more}

    def token(self, kid: str = "first", seconds: float = 600, **more: Any) -> str:
        key = self.keys.get(kid) or self.keys["first"]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "EdDSA"
        return jwt.encode(self.claims(seconds, **more), key, algorithm, {"kid": kid})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class World(NamedTuple):
    """A broker with keys, a node, and an edge with tokens and TLS."""

    folder: Path
    issuer: Issuer
    ca: trustme.CA
    edge: Forked
    port: int
    grpc_port: int
    poll_port: int
    ci: str
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context

    def ask(self, token: str | None, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        with httpx.Client(verify=self.context, trust_env=False, timeout=PATIENCE_S) as http:
            return http.request(method, f"{self.url}{path}", headers=headers, **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("edge")
    folder.chmod(0o755)
    (folder / "app.py").write_text(APP)
    make_keys(folder / "keys")
    issuer, ca = Issuer(), trustme.CA()
    certify(folder, ca)
    ci = "us_the-token-of-team-b"
    (folder / "tokens.toml").write_text(
        f'[token."team-b/ci"]\nsha256 = "{sha256(ci)}"\n'
        f'[issuer."{issuer.url}"]\naudience = "understudy"\n'
        f'[[map]]\nissuer = "{issuer.url}"\nclaim = "groups"\nvalue = "web"\n'
        'identity = "team-a/web"\n'
    )
    url = free_url()
    keys = {
        name: {
            "UNDERSTUDY_KEY": str(folder / f"keys/{name}.key"),
            "UNDERSTUDY_BROKER_KEY": str(folder / "keys/broker.pub"),
        }
        for name in ("node", "edge")
    }
    port, grpc_port, poll_port = free_port(), free_port(), free_port()
    options = (
        "--listen", f"0.0.0.0:{port}", "--grpc", f"0.0.0.0:{grpc_port}", "--legacy",
        "--legacy-poll", f"127.0.0.1:{poll_port}", "--tokens", "tokens.toml",
        "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--url", url,
    )  # fmt: skip
    with (
        Forked(
            "broker", "--listen", url, "--store", "memory", "--keys", "keys", cwd=folder
        ) as broker,
        Forked("edge", *options, cwd=folder, **keys["edge"]) as edge,
        Forked("node", "app:runtime", "--url", url, cwd=folder, **keys["node"]) as node,
    ):
        broker.wait_for("listening on")
        node.wait_for("node ")
        edge.wait_for("understudy edge: grpcs://")
        world = World(folder, issuer, ca, edge, port, grpc_port, poll_port, ci, keys["node"])
        eventually(lambda: world.ask(None, "/ready").status_code == 200)
        yield world
    issuer.close()


def make_keys(folder: Path) -> None:
    """Make the keys of a broker, a node and an edge, and rights of all that the tests are about."""
    keys = KeyFolder(folder)
    keys.create()
    text = keys.rights_path.read_text() + ROLES
    for name, role in (("node", "everything"), ("edge", "edge")):
        pair = new_pair(name)
        write_pair(folder / f"{name}.key", pair)
        text += lines_of([Holder(name, pair.public, None, (role,))])
    keys.rights_path.write_text(text)


def certify(folder: Path, ca: trustme.CA) -> None:
    """Write a new certificate and its key, each in one step."""
    made = ca.issue_cert("localhost", "127.0.0.1")
    made.private_key_pem.write_to_path(str(folder / "key.new"))
    (folder / "key.new").chmod(0o600)
    with (folder / "cert.new").open("wb") as file:
        for pem in made.cert_chain_pems:
            file.write(pem.bytes())
    (folder / "key.new").rename(folder / "key.pem")
    (folder / "cert.new").rename(folder / "cert.pem")


def pending(world: World, token: str, id_: str) -> bool:
    """Make a call that does not begin for an hour; return whether it was made."""
    path = f"/calls/g/greet?id={id_}&delay=1h"
    return world.ask(token, path, "POST", json=["ann"]).status_code == 202


# Tokens ------------------------------------------------------------------------------------------


def test_whose_a_token_is_decides_what_it_may_do(world: World) -> None:
    token = world.issuer.token()
    answer = world.ask(token, "/calls/g/greet?id=a-1&wait=30s", "POST", json=["ann"])
    assert (answer.status_code, answer.json()["value"]["data"]) == (200, "hello ann")
    answer = world.ask(world.ci, "/calls/g/greet?id=a-2", "POST", json=["ann"])
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert "team-b/ci" in answer.text
    assert world.ask(world.ci, "/calls/a-1").status_code == 403
    assert world.ask(token, "/calls/a-1/result").json() == "hello ann"
    groups = {"team-a/web": token, "team-b/ci": world.ci}
    shown = {
        name: [each["name"] for each in world.ask(text, "/groups").json()["groups"]]
        for name, text in groups.items()
    }
    assert shown == {"team-a/web": ["g"], "team-b/ci": []}


def test_an_identity_is_not_told_what_others_are(world: World) -> None:
    """The answers to a wait are shared between requests, but not beyond who asks."""
    token = world.issuer.token()
    assert pending(world, token, "a-secret")
    found: list[httpx.Response] = []
    waits = threading.Thread(
        target=lambda: found.append(world.ask(token, "/calls/a-secret/result?wait=30s"))
    )
    waits.start()
    assert world.ask(world.ci, "/calls/a-secret/result?wait=30s").status_code == 403
    assert world.ask(token, "/calls/a-secret/cancel", "POST").status_code == 200
    waits.join()
    assert found[0].status_code == 409


def test_requests_that_are_refused(world: World) -> None:
    issuer = world.issuer
    stranger = ed25519.Ed25519PrivateKey.generate()
    tokens = {
        None: "is missing",
        "us_wrong": "unknown",
        "a" * 9000: "characters",
        issuer.token(aud="other"): "audience",
        issuer.token(seconds=-61): "expired",
        issuer.token(nbf=int(time.time()) + 90): "not valid yet",
        issuer.token(iss="https://evil.example"): "issuer",
        raw({"alg": "none"}, issuer.claims()): "algorithm",
        jwt.encode(issuer.claims(), "s" * 32, "HS256", {"kid": "first"}): "algorithm",
        jwt.encode(issuer.claims(), stranger, "EdDSA", {"kid": "first"}): "signature",
    }
    for token, text in tokens.items():
        answer = world.ask(token, "/groups")
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert text in answer.json()["detail"]
        assert token is None or token not in answer.text
    assert world.ask(issuer.token(seconds=-50), "/groups").status_code == 200
    assert world.ask(issuer.token(groups=["ops"]), "/groups").status_code == 403
    two = [("authorization", f"Bearer {world.ci}"), ("Authorization", f"Bearer {world.ci}")]
    answer = httpx.get(f"{world.url}/groups", headers=two, verify=world.context, trust_env=False)
    assert (answer.status_code, "more than one" in answer.text) == (401, True)
    assert world.ask("a" * 20_000, "/groups").status_code == 401
    assert not re.search(rf"us_wrong|{world.ci}|eyJ", world.edge.output)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/"), ("GET", "/poll/g/1"), ("POST", "/promises"), ("GET", "/calls/a-1"),
     ("GET", "/calls/a-1/events"), ("GET", "/openapi.json"), ("OPTIONS", "/calls"),
     ("GET", "/nowhere"), ("POST", "/tasks/claim"), ("GET", "/%68ooks/x"), ("GET", "//ready")],
)  # fmt: skip
def test_every_door_asks_for_a_token(world: World, method: str, path: str) -> None:
    assert world.ask(None, path, method).status_code == 401


def test_doors_that_do_not(world: World) -> None:
    assert world.ask(None, "/health").status_code == 200
    assert world.ask(None, "/hooks/x", "POST").status_code == 404
    poll = httpx.get(
        f"https://localhost:{world.poll_port}/g/1", verify=world.context, trust_env=False
    )
    assert poll.status_code == 401


def test_the_published_protocol_with_a_token(world: World) -> None:
    request = {
        "kind": "promise.get", "head": {"corrId": "1", "version": "2026-04-01"},
        "data": {"id": "a-none"},
    }  # fmt: skip
    token = world.issuer.token()
    assert world.ask(token, "/", "POST", json=request).json()["head"]["status"] == 404
    assert world.ask(world.ci, "/", "POST", json=request).json()["head"]["status"] == 403


def test_to_listen_at_a_group_needs_the_right_to_serve_it(world: World) -> None:
    token = world.issuer.token(seconds=-58)
    refused = world.ask(token, "/poll/g/1")
    assert (refused.status_code, "may not listen" in refused.text) == (403, True), refused.text
    taken = world.ask(token, "/poll/web/1")
    assert (taken.status_code, taken.text) == (200, "")  # until its token has expired
    refused = world.ask(world.ci, "/poll/web/1")
    assert refused.status_code == 403


def test_a_new_key_of_the_issuer_is_fetched_once(world: World) -> None:
    issuer = world.issuer
    assert world.ask(issuer.token(), "/groups").status_code == 200
    issuer.keys["second"] = rsa.generate_private_key(65537, 2048)
    before = issuer.asked.count("/keys")
    # Keys may have been fetched a moment ago, and then are not fetched again so soon.
    eventually(lambda: world.ask(issuer.token("second"), "/groups").status_code == 200)
    for _ in range(5):
        assert "kid" in world.ask(issuer.token("third"), "/groups").text
    assert issuer.asked.count("/keys") == before + 1


def test_a_stream_ends_with_its_token(world: World) -> None:
    token = world.issuer.token()
    assert pending(world, token, "a-long")
    short = world.issuer.token(seconds=-57)
    answer = world.ask(short, "/calls/a-long/events")
    assert (answer.status_code, answer.text.count("event: promise")) == (200, 1)
    assert "event: end" not in answer.text
    assert world.ask(short, "/calls/a-long/events").status_code == 401


def test_a_file_that_changes(world: World) -> None:
    path = world.folder / "tokens.toml"
    text = path.read_text()
    try:
        made = run_forked("tokens", "new", "team-a/web", "--file", str(path), cwd=world.folder)
        token = made.stdout.strip()
        assert token not in path.read_text() + made.stderr
        eventually(lambda: world.ask(token, "/groups").status_code == 200)
        again = run_forked("tokens", "new", "team-a/web", cwd=world.folder)
        assert (again.returncode, "is there already" in again.stderr) == (1, True)
        replace(path, "[token")
        world.edge.wait_for("the new tokens are refused")
        assert world.ask(token, "/groups").status_code == 200
        assert run_forked("tokens", "check", cwd=world.folder).returncode == 1
        replace(path, text)
        eventually(lambda: world.ask(token, "/groups").status_code == 401)
        checked = run_forked("tokens", "check", cwd=world.folder)
        assert (checked.returncode, "1 token, 1 issuer, 1 map" in checked.stdout) == (0, True)
    finally:
        replace(path, text)


def replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


# TLS ---------------------------------------------------------------------------------------------


def test_what_tls_is_spoken(world: World) -> None:
    with tls(world, world.context) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() in (None, "http/1.1")
    old = world.context
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with tls(world, old) as connection:
        assert connection.version() == "TLSv1.2"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{world.port}/health", trust_env=False)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{world.url}/health", trust_env=False)


@contextmanager
def tls(world: World, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", world.port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def test_a_large_body_and_answer_travel_whole(world: World) -> None:
    text = "x" * 2_000_000
    token = world.issuer.token()
    answer = world.ask(token, "/calls/g/greet?id=a-large&wait=30s", "POST", json=[text])
    assert answer.json()["value"]["data"] == f"hello {text}"


def test_a_certificate_that_is_replaced(world: World) -> None:
    def serial() -> Any:
        with tls(world, world.context) as connection:
            return (connection.getpeercert() or {})["serialNumber"]

    before = serial()
    certify(world.folder, world.ca)
    eventually(lambda: serial() != before)
    assert world.ask(None, "/health").status_code == 200
    token = world.issuer.token()
    assert call(
        world, token, lambda stub, **more: stub.Get(v1.GetRequest(id="a-none"), **more)
    ) is (grpc.StatusCode.NOT_FOUND)


def test_a_tunnel_needs_no_token_because_it_has_a_key(world: World) -> None:
    ca = world.folder / "ca.pem"
    world.ca.cert_pem.write_to_path(str(ca))
    more = {"SSL_CERT_FILE": str(ca)}
    ran = run_forked("groups", "--url", world.url, cwd=world.folder, **world.keys, **more)
    assert (ran.returncode, "g" in ran.stdout) == (0, True), ran.stderr
    ran = run_forked("groups", "--url", world.url, "--timeout", "2", cwd=world.folder, **more)
    assert ran.returncode != 0


# gRPC --------------------------------------------------------------------------------------------


def call(world: World, token: str | None, method: Any) -> grpc.StatusCode:
    credentials = grpc.ssl_channel_credentials(world.ca.cert_pem.bytes())
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.secure_channel(f"localhost:{world.grpc_port}", credentials) as channel:
        try:
            method(UnderstudyStub(channel), metadata=metadata, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            found: Any = error  # a call, too
            code: grpc.StatusCode = found.code()
            return code
        return grpc.StatusCode.OK


def test_grpc_asks_for_a_token_too(world: World) -> None:
    token = world.issuer.token()

    def start(stub: Any, **more: Any) -> None:
        request = v1.StartRequest(id="a-grpc", group="g", function="greet", json='["ann"]')
        stub.Start(request, **more)

    assert call(world, None, start) is grpc.StatusCode.UNAUTHENTICATED
    assert call(world, "us_wrong", start) is grpc.StatusCode.UNAUTHENTICATED
    assert call(world, world.ci, start) is grpc.StatusCode.PERMISSION_DENIED
    assert call(world, token, start) is grpc.StatusCode.OK


def test_a_grpc_stream_ends_with_its_token(world: World) -> None:
    assert pending(world, world.issuer.token(), "a-watched")
    events: list[v1.WatchEvent] = []

    def watch(stub: Any, **more: Any) -> None:
        events.extend(stub.Watch(v1.WatchRequest(id="a-watched"), **more))

    short = world.issuer.token(seconds=-58)
    assert call(world, short, watch) is grpc.StatusCode.UNAUTHENTICATED
    assert call(world, None, watch) is grpc.StatusCode.UNAUTHENTICATED


# What does not start -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--listen", "0.0.0.0:0"), "--insecure if only trusted machines"),
        (("--grpc", "0.0.0.0:0", "--behind-proxy"), "--tokens"),
        (("--listen", "0.0.0.0:0", "--tokens", "tokens.toml"), "--tls-cert"),
        (("--tls-cert", "cert.pem"), "belong together"),
        (("--tls-cert", "cert.pem", "--tls-key", "cert.pem"), "anyone on this machine"),
        (("--tls-cert", "key.pem", "--tls-key", "key.pem"), "cannot be used"),
        (("--tls-cert", "cert.pem", "--tls-key", "none.pem"), "cannot read none.pem"),
        (("--tls-cert", "cert.pem", "--tls-key", "key.pem", "--behind-proxy"), "no --tls-cert"),
        (("--tokens", "none.toml"), "none.toml"),
    ],
)
def test_an_edge_that_does_not_start(world: World, args: tuple[str, ...], text: str) -> None:
    ran = run_forked("edge", *args, cwd=world.folder)
    assert (ran.returncode, text in ran.stderr) == (2, True), ran.stderr


def test_a_broker_whose_edge_would_not_start(world: World) -> None:
    args = ("broker", "--listen", free_url(), "--store", "memory", "--http", "0.0.0.0:0")
    ran = run_forked(*args, cwd=world.folder)
    assert (ran.returncode, "--insecure" in ran.stderr) == (2, True), ran.stderr
