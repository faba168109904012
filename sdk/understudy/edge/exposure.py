"""The rule of where an edge may listen: beyond this machine only with tokens and TLS.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from understudy.edge.address import is_own, place
from understudy.errors import ConfigurationError


class ExposedError(ConfigurationError):
    """An edge would serve other machines without asking who they are, or in clear."""


def check_exposure(
    places: Mapping[str, tuple[str, int] | None],
    *,
    has_tokens: bool,
    has_tls: bool,
    is_behind_proxy: bool,
) -> None:
    """Check that an edge which other machines can reach asks them for tokens, over TLS.

    Parameters
    ----------
    places
        Host and port at which it listens, by option; None: it does not.
    is_behind_proxy
        TLS ends at a proxy in front, and only that reaches the edge.

    Raises
    ------
    ExposedError
        It does not.
    """
    exposed = [
        f"{option} {place(*each)}"
        for option, each in places.items()
        if each is not None and not is_own(each[0])
    ]
    if not exposed:
        return
    wanting = []
    if not has_tokens:
        wanting.append(
            "without tokens anyone there can call, read and cancel everything. Make some "
            "(understudy tokens new NAME) and name their file with --tokens"
        )
    if not has_tls and not is_behind_proxy:
        wanting.append(
            "without TLS everybody on the way can read all of it, tokens included. Give --tls-cert "
            "and --tls-key, or say --behind-proxy if TLS ends at a proxy in front of it"
        )
    if wanting:
        raise ExposedError(
            f"{' and '.join(exposed)}: other machines can reach it, and {'; and '.join(wanting)}. "
            "Or say --insecure if only trusted machines can reach it"
        )
