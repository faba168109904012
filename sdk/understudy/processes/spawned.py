"""The child's side of `Runtime.spawn`: a node whose functions arrive on standard input."""

from __future__ import annotations

import pickle
import sys

from understudy.logs import configure
from understudy.processes.script_names import adopt_names
from understudy_actors.processes.fork_server import fork_point, output_encoding, watch_import
from understudy_broker.output import protect_output


def main() -> int:
    """Serve the functions of the shipment (see `spawn`) until a signal."""
    protect_output(output_encoding())
    configure()
    watch = watch_import()
    # The path comes first, because the functions may need modules that are found by it.
    sys.path[:] = pickle.load(sys.stdin.buffer)
    shipment = pickle.load(sys.stdin.buffer)
    runtime = shipment["runtime_class"](
        pickle=shipment["pickle"],
        timeout=shipment["timeout_s"],
        retry=shipment["retry"],
        loop=shipment["loop"],
        concurrency=shipment["concurrency"],
        task_source="",  # They are nodes of a group.
    )
    adopt_names(shipment["names"])
    for function in shipment["functions"]:
        runtime.register(
            function["fn"],
            name=function["name"],
            version=function["version"],
            retry=function["retry"],
            timeout=function["timeout_s"],
            target=function["target"],
            loop=function["loop"],
        )
    for name, value in shipment["dependencies"].items():
        runtime.set_dependency(name, value)
    for hook in shipment["node_start_hooks"]:
        runtime.on_node_start(hook)
    fork_point("understudy.client.connection", watch=watch)
    runtime.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
