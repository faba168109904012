"""Faults of tokens at the edge: which are taken, whose they are, and what needs one."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_unit = Area("tests/unit/sdk/edge").mutant
_JWTS: Final = "tokens/test_jwts.py"
_BEARER: Final = "tokens/test_bearer.py"
_RULES: Final = "tokens/test_rules.py"
_GATE: Final = "tokens/test_gate.py"
_ASGI: Final = "tokens/test_asgi.py"

_OF_JWTS: Final = (
    _unit(
        "token-any-algorithm",
        None,
        "a key serves for its own algorithm only",
        "understudy.edge.tokens.jwts._chosen",
        swap("key.algorithm == algorithm", "algorithm"),
        _JWTS,
    ),
    _unit(
        "token-key-of-other-end",
        None,
        "a key for another algorithm is left out",
        "understudy.edge.tokens.jwts._key",
        swap('algorithm is None or data.get("alg", algorithm) != algorithm', "algorithm is None"),
        _JWTS,
    ),
    _unit(
        "token-short-rsa",
        None,
        "a short RSA key is not taken",
        "understudy.edge.tokens.jwts._key",
        swap('algorithm == "RS256" and key.key_size < RSA_BITS_MIN', "False"),
        _JWTS,
    ),
    _unit(
        "token-never-expires",
        None,
        "an expired token is not taken",
        "understudy.edge.tokens.jwts.verify",
        swap("now >= expires_at", "now >= expires_at + LEEWAY_S"),
        _JWTS,
    ),
    _unit(
        "token-before-its-time",
        None,
        "a token is not taken before its time",
        "understudy.edge.tokens.jwts.verify",
        swap('now < _time(claims, "nbf") - LEEWAY_S', "False"),
        _JWTS,
    ),
    _unit(
        "token-infinite",
        None,
        "a time that is no number is no time",
        "understudy.edge.tokens.jwts._time",
        swap("not is_number or not -_TIME_MAX < value < _TIME_MAX", "not is_number"),
        _JWTS,
    ),
    _unit(
        "token-of-other-audience",
        None,
        "a token for another audience is not taken",
        "understudy.edge.tokens.jwts._claims",
        swap("audience=issuer.audience,", 'audience=[issuer.audience, "other"],'),
        _JWTS,
    ),
)

_OF_BEARERS: Final = (
    _unit(
        "token-second-header",
        None,
        "two headers are refused",
        "understudy.edge.tokens.bearer.presented",
        swap("len(authorization) > 1", "len(authorization) > 2"),
        _BEARER,
    ),
    _unit(
        "token-huge",
        None,
        "a token has a bound",
        "understudy.edge.tokens.bearer.presented",
        swap("len(text) > TOKEN_CHARS_MAX", "False"),
        _BEARER,
    ),
    _unit(
        "static-token-never-expires",
        None,
        "an expired token of the file is not taken",
        "understudy.edge.tokens.bearer._static",
        swap("now >= found.expires_at", "now > found.expires_at"),
        _BEARER,
    ),
    _unit(
        "map-of-any-issuer",
        None,
        "a map is for its own issuer",
        "understudy.edge.tokens.rules.Map.fits",
        swap("issuer == self.issuer and self.value in values", "self.value in values"),
        _RULES,
    ),
    _unit(
        "map-of-part-of-a-text",
        None,
        "a claim must be the value, not have it in it",
        "understudy.edge.tokens.rules.Map.fits",
        swap("found if isinstance(found, list) else [found]", "found or ()"),
        _RULES,
    ),
    _unit(
        "keys-in-clear",
        None,
        "keys are not fetched in clear from elsewhere",
        "understudy.edge.tokens.rules.is_safe_url",
        swap('parts.scheme == "http" and _is_here(host)', 'parts.scheme == "http"'),
        _RULES,
    ),
)

_OF_GATES: Final = (
    _unit(
        "keys-fetched-each-time",
        None,
        "made-up key ids do not have the keys fetched each time",
        "understudy.edge.tokens.issuer_keys.IssuerKeys.refresh",
        swap("trio.current_time() - self._tried_at >= REFRESH_S", "True"),
        _GATE,
    ),
    _unit(
        "withdrawn-keys-stay",
        None,
        "a key that is withdrawn does not stay",
        "understudy.edge.tokens.issuer_keys.IssuerKeys.is_stale",
        swap("is_known and", "not is_known and"),
        _GATE,
    ),
    _unit(
        "removed-token-goes-on",
        None,
        "a stream ends when its token is taken out of the file",
        "understudy.edge.tokens.gate.TokenGate.run",
        drop("await self._end_leases()"),
        _GATE,
    ),
    _unit(
        "token-of-others-goes-on",
        None,
        "a stream ends when its token is somebody else's now",
        "understudy.edge.tokens.gate.TokenGate._end_leases",
        swap("bearer.identity != lease.bearer.identity", "False"),
        _GATE,
    ),
    _unit(
        "stream-outlives-token",
        None,
        "a stream ends with its token",
        "understudy.edge.tokens.asgi.WithTokens.__call__",
        drop("answer.on_stream = lease.end_with_token"),
        _ASGI,
    ),
    _unit(
        "event-cut-in-two",
        None,
        "a stream ends between two events",
        "understudy.edge.tokens.asgi._Answer.send",
        swap("trio.CancelScope(shield=True)", "trio.CancelScope()"),
        _ASGI,
    ),
    _unit(
        "tunnel-around-tokens",
        None,
        "without keys no tunnel leads around the tokens",
        "understudy.edge.tokens.asgi.WithTokens.__call__",
        swap("if self._has_keys:", "if True:"),
        _ASGI,
    ),
    _unit(
        "header-in-other-letters",
        None,
        "names of headers may be in any letters",
        "understudy.edge.tokens.asgi.WithTokens.__call__",
        swap('name.lower() == b"authorization"', 'name == b"authorization"'),
        _ASGI,
    ),
    _unit(
        "asks-for-itself",
        None,
        "the edge asks for the bearer of the token",
        "understudy.edge.tokens.asgi.WithTokens.__call__",
        drop("ASKER.set(bearer.identity)"),
        _ASGI,
    ),
    _unit(
        "more-doors-open",
        None,
        "only probes and webhooks need no token",
        "understudy.edge.tokens.asgi._is_open",
        swap("raw_path in _PROBES", "raw_path.startswith(_PROBES)"),
        _ASGI,
    ),
    _unit(
        "exposed-without-tls",
        None,
        "an edge that others reach does not start in clear",
        "understudy.edge.exposure.check_exposure",
        swap("not has_tls and not is_behind_proxy", "False"),
        "test_exposure.py",
    ),
    _unit(
        "exposed-by-a-name",
        None,
        "a name that begins like an address of this machine is none",
        "understudy.edge.address.is_own",
        swap("ip_address(host).is_loopback", 'host[:4] == "127." or ip_address(host).is_loopback'),
        "test_exposure.py",
    ),
    _unit(
        "listener-of-another-identity",
        None,
        "the name of a listener is one identity's alone",
        "understudy.edge.resonate.streams.Streams.is_taken",
        swap("streams[0].identity != listener.identity", "not streams"),
        "resonate/test_streams.py",
    ),
    _unit(
        "watch-of-another",
        None,
        "a watch that is refused to one is not refused to others",
        "understudy.edge.watches.Watches._refuse",
        swap("self._take(id_, asker)", "self._take(id_, None)"),
        "test_watches.py",
    ),
    _unit(
        "settlements-told-unasked",
        None,
        "a settlement is told to nobody to whom the watch may yet be refused",
        "understudy.edge.watches.Watches.resolve",
        swap("if watch.is_permitted:", "if watch:"),
        "test_watches.py",
    ),
    _unit(
        "early-settlement-lost",
        None,
        "a settlement that comes before the permission is told with it",
        "understudy.edge.watches.Watches._permit",
        swap("if watch.arrived is not None:", "if not ids:"),
        "test_watches.py",
    ),
    _unit(
        "renewed-for-nobody",
        None,
        "a new session watches for whom it was watched",
        "understudy.edge.watches.Watches.renew",
        swap("self._ask(tuple(its[start : start + RENEWED_MAX]), asker)",
             "self._ask(tuple(its[start : start + RENEWED_MAX]), None)"),
        "test_watches.py",
    ),
)  # fmt: skip

MUTANTS: Final[tuple[Mutant, ...]] = (*_OF_JWTS, *_OF_BEARERS, *_OF_GATES)
