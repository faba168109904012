"""Add some orders to the stream, and something that is no order."""

from __future__ import annotations

import json
import os

import redis


def main() -> None:
    """Send five messages."""
    server = os.environ.get("UNDERSTUDY_SOURCE_SERVER", "redis://127.0.0.1:6379/0")
    with redis.Redis.from_url(server) as queue:
        for order in range(4):
            queue.xadd("orders", {"body": json.dumps({"order": order, "customer": "ann"})})
        queue.xadd("orders", {"body": "order 4, please"})
    print("5 messages are in the stream")


if __name__ == "__main__":
    main()
