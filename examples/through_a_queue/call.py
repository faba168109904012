"""Call the service, and print the results."""

from __future__ import annotations

import os

from understudy import Runtime

#: where the service takes its calls from, without user and password
TARGET = os.environ.get("TARGET", "amqp://127.0.0.1/service-baz")


def main() -> None:
    """Make twenty calls at a time."""
    runtime = Runtime("callers")
    calls = runtime.options(target=TARGET)
    amounts = [[n, 10 * n] for n in range(1, 21)]
    print([handle.result() for handle in calls.map("total", "total", amounts)])
    runtime.stop()


if __name__ == "__main__":
    main()
