"""Takes the pictures of the documentation: ``python -m tests.integration.ui.pictures FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser

from tests.integration.ui.deployment import deployment
from tests.services.chromium import chromium
from understudy.ui.query_text import EXAMPLES

PICTURES = {
    "now": "/",
    "calls": "/calls",
    "waterfall": "/call?id=order-7",
    "failed": "/call?id=refund-1",
    "graph": "/call?id=order-7&tab=graph",
    "steps": "/call?id=order-7&tab=steps",
    "attempts": "/call?id=print-1&tab=attempts",
    "logs": "/call?id=order-7&tab=logs",
    "group": "/group?name=shop",
    "builds": "/builds",
    "query": f"/query?{urlencode({'sql': EXAMPLES[0].sql})}",
    "waiting": "/waiting",
    "schedules": "/schedules",
    "brokers": "/brokers",
    "confirmation": "/do/cancel?id=remind-1",
}
DARK = {"now-dark": "/", "failed-dark": "/call?id=refund-1"}
PHONE = {"phone": "/call?id=order-7"}
WIDTH, HEIGHT = 1180, 720


def take(browser: Browser, base: str, folder: Path) -> None:
    """Take all pictures."""
    for names, scheme, width in ((PICTURES, "light", WIDTH), (DARK, "dark", WIDTH)):
        _take(browser, base, folder, names, scheme, width)
    _take(browser, base, folder, PHONE, "light", 390)


def _take(
    browser: Browser, base: str, folder: Path, names: dict[str, str], scheme: str, width: int
) -> None:
    context = browser.new_context(
        base_url=base,
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": HEIGHT},
    )
    page = context.new_page()
    for name, path in names.items():
        page.goto(path)
        page.wait_for_function("document.readyState === 'complete'")
        height = page.evaluate("document.querySelector('main').getBoundingClientRect().bottom")
        page.set_viewport_size({"width": width, "height": min(1000, max(360, int(height) - 20))})
        page.screenshot(path=folder / f"{name}.png", animations="disabled")
    context.close()


def main(folder: Path) -> None:
    """Run a deployment, and take the pictures of its dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        deployment(Path(home), hostile=False) as shop,
        chromium() as browser,
    ):
        take(browser, shop.base, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
