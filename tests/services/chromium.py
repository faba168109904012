"""Chromium, from Debian's packages, driven by Playwright; headless."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.services.debian import libraries, unpacked
from tests.services.fixture import required


def _program() -> tuple[str, dict[str, str]]:
    """Return the browser, and what its environment needs besides."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found, {}
    root = unpacked("chromium", ["chromium", "fonts-inter"])
    paths = [
        libraries(root),
        *map(str, sorted((root / "usr" / "lib").glob("*-linux-*/pulseaudio"))),
    ]
    return str(root / "usr/lib/chromium/chromium"), {"LD_LIBRARY_PATH": os.pathsep.join(paths)}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser; where it cannot be had, the tests are skipped, and in CI they fail."""
    program, env = required(_program)
    with sync_playwright() as playwright:
        # A container may not make the namespaces of the sandbox; the pages are our own.
        browser = playwright.chromium.launch(
            executable_path=Path(program), args=["--no-sandbox"], env={**os.environ, **env}
        )
        try:
            yield browser
        finally:
            browser.close()
