"""``python -m understudy``: the same as the command ``understudy``."""

import sys

if __name__ == "__main__":
    try:
        from understudy.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        # before `main` has begun
        sys.exit(130)
