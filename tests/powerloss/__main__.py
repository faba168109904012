"""``python -m tests.powerloss``: see `run`."""

from tests.powerloss.run import main

if __name__ == "__main__":
    raise SystemExit(main())
