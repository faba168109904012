"""The certificate of an edge: read from files, and again when they change."""

from __future__ import annotations

import logging
import ssl
import stat
from pathlib import Path
from typing import Final, TypeAlias

import trio

from understudy.errors import ConfigurationError

#: how often the files are looked at
LOOK_S: Final = 2.0
#: the only protocol that is spoken
_ALPN: Final = ["http/1.1"]
#: what tells one state of the files from another
_State: TypeAlias = tuple[tuple[int, int, int], ...] | None

_LOG: Final = logging.getLogger("understudy.edge")


class Certificate:
    """A certificate with its key, for TLS 1.2 and newer.

    Parameters
    ----------
    cert, key
        Paths of the certificate, with those between it and the root behind it, and of its secret
        key, which has no password; both are PEM.

    Attributes
    ----------
    context
        For servers; connections that it begins after a change have the new certificate.
    pair
        The content of the files, first that of the key, as gRPC takes them.

    Raises
    ------
    ConfigurationError
        A file cannot be read, is none of the two, they do not belong together, or anyone can read
        the key.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._paths = cert, key
        self._state = self._look()
        self.context = self._context()
        self.pair = self._read()

    async def watch(self) -> None:
        """Take a new certificate when there is one, for ever. A wrong one changes nothing."""
        while True:
            await trio.sleep(LOOK_S)
            state = self._look()
            if state == self._state:
                continue
            self._state = state
            try:
                self._context()
                pair = self._read()
                self.context.load_cert_chain(*self._paths, password=_no_password)
            except (ConfigurationError, OSError) as error:
                _LOG.error(
                    "the new certificate is refused, and the one before stays in use: %s", error
                )
            else:
                self.pair = pair
                _LOG.info("a new certificate is in use")

    def _look(self) -> _State:
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)

    def _read(self) -> tuple[bytes, bytes]:
        cert, key = self._paths
        return key.read_bytes(), cert.read_bytes()

    def _context(self) -> ssl.SSLContext:
        cert, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(_ALPN)
        _check_secret(key)
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"the certificate {cert} and the key {key} cannot be used: "
                f"{error.reason or 'one of them is no PEM, or the key has a password'}"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"cannot read {cert}: {error.strerror}") from None
        return context


def _check_secret(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"cannot read {key}: {error.strerror}") from None
    if mode & stat.S_IRWXO:
        raise ConfigurationError(
            f"anyone on this machine can read the key {key} (mode {stat.S_IMODE(mode):04o}), so it "
            f"is not used: chmod o-rwx {key}, and if anyone may have read it, get another one"
        )


def _no_password() -> bytes:
    """Return no password, so that nobody is asked for one at the terminal."""
    return b""
