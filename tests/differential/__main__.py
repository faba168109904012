"""``python -m tests.differential``: see `run`."""

from tests.differential.run import main

if __name__ == "__main__":
    raise SystemExit(main())
