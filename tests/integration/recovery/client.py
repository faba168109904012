"""An ephemeral client: calls, says that the call is stored, waits, says what came."""

from __future__ import annotations

from tests.integration.recovery.app import note
from understudy import Runtime


def main(argv: list[str]) -> int:
    """``URL ID FUNCTION``: one call of the group g."""
    url, id, function = argv
    with Runtime(group="clients", url=url) as runtime:
        handle = runtime.options(target="g").rpc(id, function)
        note("stored", id)
        handle.result(60)
        note("result", id)
    return 0
