"""`TokenGate`: the tokens that an edge takes now, by a file that it follows, and fetched keys."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import trio

from understudy import extras
from understudy.edge.tokens.bearer import (
    Bearer,
    RefusedError,
    TokenError,
    UnknownKeyError,
    Verified,
    bearer_of,
    presented,
    refused,
)
from understudy.edge.tokens.issuer_keys import Fetch, IssuerKeys, NoKeysError
from understudy.edge.tokens.rules import Issuer, Rules, RulesError, parse_rules
from understudy_broker.keys.key_files import KeyFileError, check_folder, read_text

if TYPE_CHECKING:
    from understudy.edge.tokens.jwts import KeySet

#: how often the file is looked at
LOOK_S: Final = 0.5
#: open streams that are looked at between other work
_AT_ONCE: Final = 64
#: modules of the extra [tokens]
_NEEDED: Final = ("jwt", "cryptography")
#: what tells one state of a file from another
_State: TypeAlias = tuple[int, int, int, int] | None

_LOG: Final = logging.getLogger("understudy.edge")


class Loaded(NamedTuple):
    """The content of a file of tokens, with that of the files that it names.

    Attributes
    ----------
    keys
        Of the issuers whose keys are in files.
    states
        The files that it is from, as they were.
    """

    rules: Rules
    keys: Mapping[str, KeySet]
    states: Mapping[Path, _State]


def load(path: Path) -> Loaded:
    """Read a file of tokens, and the files of keys that it names.

    Raises
    ------
    RulesError
        One of them cannot be read, is wrong, or others can change it; or something is not installed
        that it needs.
    """
    states = {path: _state(path)}
    try:
        rules = parse_rules(_text(path))
    except RulesError as error:
        raise RulesError(f"{path}: {error}") from None
    if rules.issuers and (name := extras.missing(*_NEEDED)):
        raise RulesError(f"{path}: {extras.advice('a table [issuer]', name, 'tokens')}")
    keys = {}
    for issuer in rules.issuers.values():
        if issuer.jwks is not None:
            at = path.parent / issuer.jwks
            states[at] = _state(at)
            keys[issuer.name] = _keys(at)
    return Loaded(rules, keys, states)


class Lease:
    """A permission to go on for as long as a token is taken.

    Attributes
    ----------
    scope
        Is canceled when the token is no longer taken.
    """

    def __init__(
        self,
        authorization: Sequence[bytes | str],
        bearer: Bearer,
        hold: Callable[[Lease], float],
    ) -> None:
        self.scope = trio.CancelScope()
        self.authorization = authorization
        self.bearer = bearer
        self._hold = hold

    def end_with_token(self) -> None:
        """End when the token expires, or is taken out of the file."""
        self.scope.deadline = self._hold(self)


class TokenGate:
    """The tokens that are taken now.

    Parameters
    ----------
    path
        The file that says which; see `understudy.edge.tokens.rules`.
    wall_s
        The time of this machine, epoch seconds; tests replace it.
    fetch
        Fetches the keys of an issuer; tests replace it. None: by OpenID Connect discovery.

    Raises
    ------
    RulesError
        The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        wall_s: Callable[[], float] = time.time,
        fetch: Fetch | None = None,
    ) -> None:
        self._path = path
        self._wall_s = wall_s
        self._fetch = fetch
        self._fetched: dict[str, IssuerKeys] = {}
        self._leases: set[Lease] = set()
        self._refused: Mapping[Path, _State] = {}
        self._loaded = load(path)
        self._take(self._loaded)

    async def bearer(self, authorization: Sequence[bytes | str]) -> Bearer:
        """Return who asks.

        Parameters
        ----------
        authorization
            The values of all headers ``Authorization`` of the request.

        Raises
        ------
        RefusedError
            401 the token is not taken, or there is none; 403 it is nobody's; 503 the keys of its
            issuer cannot be fetched now.
        """
        try:
            token = presented(authorization)
            try:
                return self._bearer_of(token)
            except UnknownKeyError as error:
                source = self._fetched.get(error.issuer)
                if source is None:
                    raise
                await source.refresh()
                return self._bearer_of(token)
        except TokenError as error:
            raise refused(error) from None
        except NoKeysError as error:
            raise RefusedError(503, str(error), {"retry-after": "5"}) from None

    @contextmanager
    def lease(self, authorization: Sequence[bytes | str], bearer: Bearer) -> Iterator[Lease]:
        """Let something go on within the block for as long as its token is taken, once it says so.

        See `Lease.end_with_token`.
        """
        lease = Lease(tuple(authorization), bearer, self._hold)
        try:
            with lease.scope:
                yield lease
        finally:
            self._leases.discard(lease)

    async def run(self) -> None:
        """Follow the file and the issuers' keys, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew_keys)
            while True:
                await trio.sleep(LOOK_S)
                try:
                    loaded = await trio.to_thread.run_sync(self._reread, abandon_on_cancel=True)
                except RulesError as error:
                    _LOG.error(
                        "the new tokens are refused, and those before them stay in force: %s", error
                    )
                    continue
                if loaded is not None:
                    self._take(loaded)
                    _LOG.info("the tokens were read again")
                    await self._end_leases()

    def _hold(self, lease: Lease) -> float:
        """Take note of a lease that is to end with its token; return when, on trio's clock."""
        self._leases.add(lease)
        if lease.bearer.expires_at is None:
            return math.inf
        return trio.current_time() + lease.bearer.expires_at - self._wall_s()

    def _bearer_of(self, token: str) -> Bearer:
        return bearer_of(token, self._loaded.rules, self._verify, self._wall_s())

    def _verify(self, token: str, issuers: Mapping[str, Issuer], now: float) -> Verified:
        if not issuers:
            raise TokenError("it is a JWT, and this edge knows no issuer of any")
        # Imported here, because an edge without issuers needs none of it.
        from understudy.edge.tokens.jwts import verify

        fetched = {name: source.keys for name, source in self._fetched.items()}
        return verify(token, issuers, {**fetched, **self._loaded.keys}, now)

    def _take(self, loaded: Loaded) -> None:
        self._loaded = loaded
        published = [each for each in loaded.rules.issuers.values() if each.jwks is None]
        self._fetched = {
            each.name: self._fetched.get(each.name) or IssuerKeys(each.name, self._fetcher())
            for each in published
        }

    def _fetcher(self) -> Fetch:
        if self._fetch is not None:
            return self._fetch
        from understudy.edge.tokens.discovery import fetch_keys

        return fetch_keys

    def _reread(self) -> Loaded | None:
        """Return what the file says if it has changed; raises `RulesError` once for each state."""
        states = {path: _state(path) for path in self._loaded.states}
        if states in (self._loaded.states, self._refused):
            return None
        self._refused = states
        return load(self._path)

    async def _renew_keys(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            for source in tuple(self._fetched.values()):
                if source.is_stale:
                    try:
                        await source.refresh()
                    except NoKeysError:
                        continue  # the log says so, and the keys before stay
                    await self._end_leases()

    async def _end_leases(self) -> None:
        """End what goes on by tokens that are no longer taken, or are somebody else's now."""
        for number, lease in enumerate(tuple(self._leases)):
            try:
                bearer = self._bearer_of(presented(lease.authorization))
            except TokenError:
                lease.scope.cancel()
            else:
                if bearer.identity != lease.bearer.identity:
                    lease.scope.cancel()
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()


def _text(path: Path) -> str:
    try:
        check_folder(path.parent)
        return read_text(path)
    except KeyFileError as error:
        raise RulesError(str(error)) from None


def _keys(path: Path) -> KeySet:
    from understudy.edge.tokens.jwts import KeysError, parse_keys

    try:
        return parse_keys(json.loads(_text(path)))
    except (KeysError, ValueError, RecursionError) as error:
        if isinstance(error, RulesError):
            raise
        raise RulesError(f"{path}: {error}") from None


def _state(path: Path) -> _State:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
