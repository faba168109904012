"""Entry point of ``python -m tests.fuzz``; see `run`."""

from tests.fuzz.run import main

if __name__ == "__main__":
    raise SystemExit(main())
