"""Run as a program: ends process groups that would outlive their pool.

A child that watches its lifeline leaves by itself when the pool is killed; any other program knows
nothing of it, and would go on holding its port. So the pool starts this helper beside such
programs and writes to its standard input which groups there are: ``+PID`` and ``-PID``, a line
each. Only the pool holds the other end, so end-of-file means that the pool is gone, and what is
still listed then gets SIGTERM, a while to leave, and SIGKILL. Standard library only, and little of
it, so that it starts fast.
"""

import os
import signal
import sys
import time

_POLL_S = 0.05


def _signal_group(group: int, number: int) -> bool:
    """Whether the group was there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Read the list until end-of-file, then end what is on it."""
    grace_s = float(sys.argv[1])
    groups: set[int] = set()
    for line in sys.stdin:
        change, group = line[:1], int(line[1:])
        (groups.add if change == "+" else groups.discard)(group)
    groups = {group for group in groups if _signal_group(group, signal.SIGTERM)}
    deadline_s = time.monotonic() + grace_s
    while groups and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
        groups = {group for group in groups if _signal_group(group, 0)}
    for group in groups:
        _signal_group(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
