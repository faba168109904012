"""Run all tests in two halves at the same time: those that wait for processes, and the others.

``python -m tests.halves`` is what `make test` runs. The output of the first half is shown as it
comes, that of the second when both are done. The exit code is 0 if both halves passed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Final

#: The tests in these folders start processes and spend most of their time waiting for them.
WAITING: Final = (
    "tests/integration",
    "tests/acceptance",
    "tests/benchmarks",
    "tests/chaos",
    "tests/fuzz",
)
_PYTEST: Final = (sys.executable, "-m", "pytest")


def main() -> int:
    """Run both halves and return the exit code."""
    elsewhere = [f"--ignore={folder}" for folder in WAITING]
    with tempfile.TemporaryFile("w+") as log:
        computing = subprocess.Popen(
            (*_PYTEST, "-q", "-o", "cache_dir=.pytest_cache/computing", *elsewhere, "tests"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            waiting = subprocess.run((*_PYTEST, *WAITING), check=False).returncode
            print("· the other half, which ran at the same time", flush=True)
            computed = computing.wait()
        except BaseException:
            computing.kill()
            computing.wait()
            raise
        log.seek(0)
        print(log.read(), flush=True)
    return waiting or computed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
