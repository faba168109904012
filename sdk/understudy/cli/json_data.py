"""JSON data on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

from understudy.cli.printing import printable_json
from understudy.views.long_integers import unlimited_digits


def print_json(value: Any) -> None:
    """Print JSON data, indented; with escapes if the output has no encoding for all characters."""
    encoding = str(getattr(sys.stdout, "encoding", None) or "")
    with unlimited_digits():
        text = json.dumps(value, indent=2, ensure_ascii=not encoding.lower().startswith("utf"))
    print(printable_json(text))
