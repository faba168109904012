"""An ephemeral client: calls, prints that the call is stored, waits, and prints the result."""

from __future__ import annotations

from tests.integration.recovery.app import note
from understudy import Runtime


def main(argv: list[str]) -> int:
    """Make one call in the group g; the arguments are ``URL ID FUNCTION``."""
    url, id, function = argv
    with Runtime(group="clients", url=url) as runtime:
        handle = runtime.options(target="g").rpc(id, function)
        note("stored", id)
        handle.result(60)
        note("result", id)
    return 0
