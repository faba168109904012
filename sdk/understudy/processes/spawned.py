"""The child's side of `Runtime.spawn`: a node whose functions arrive on standard input."""

from __future__ import annotations

import logging
import pickle
import sys

from understudy_actors.processes.fork_server import fork_point


def main() -> int:
    """Serve the functions of the shipment (see `spawn`) until a signal."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # The path comes first, because the functions may need modules that are found by it.
    sys.path[:] = pickle.load(sys.stdin.buffer)
    shipment = pickle.load(sys.stdin.buffer)
    runtime = shipment["runtime_class"](
        pickle=shipment["pickle"],
        timeout=shipment["timeout_s"],
        concurrency=shipment["concurrency"],
    )
    for function in shipment["functions"]:
        runtime.register(
            function["fn"],
            name=function["name"],
            version=function["version"],
            retry=function["retry"],
            timeout=function["timeout_s"],
        )
    for name, value in shipment["dependencies"].items():
        runtime.set_dependency(name, value)
    fork_point("understudy.client.connection")
    runtime.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
