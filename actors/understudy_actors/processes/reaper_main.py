"""Run as a program: ends process groups that would outlive their pool.

A child that watches its lifeline ends by itself when its pool is killed. Any other program knows
nothing of lifelines and would keep its port. So the pool starts this program beside such children
and lists their process groups on its standard input: ``+PID`` and ``-PID``, one per line. Only the
pool holds the other end of that pipe, so end-of-file means that the pool is gone: every group that
is still listed then gets SIGTERM, some time to end, and SIGKILL.

It uses little of the standard library and nothing else, so that it starts fast.
"""

import os
import signal
import sys
import time

_POLL_S = 0.05


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return False if the group does not exist."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Read the list until end-of-file, then end the groups on it."""
    # A signal to all processes of a service is not for this one: it ends when its pool has ended.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
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
