"""``python -m tests.takeovers``: see `run`."""

from tests.takeovers.run import main

if __name__ == "__main__":
    raise SystemExit(main())
