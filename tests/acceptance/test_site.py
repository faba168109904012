"""The site is built strictly: pages, links, anchors, and the reference made of docstrings."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MKDOCS = ROOT / "build" / "site-venv" / "bin" / "mkdocs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built; it fails where a link or an anchor leads nowhere, or a page is left out."""
    if not MKDOCS.exists():
        assert not os.environ.get("CI"), "make test makes what the site is built with"
        pytest.skip("what the site is built with is not here: make site")
    folder = tmp_path_factory.mktemp("site")
    command = [str(MKDOCS), "build", "--quiet", "--strict", "--site-dir", str(folder)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"?(https?://[^\"> ]+)", html)
        assert not loaded, page


def test_the_reference_has_what_a_program_uses(site: Path) -> None:
    html = (site / "reference" / "runtime.html").read_text(encoding="utf-8")
    for name in ("Runtime.rpc", "Runtime.register", "Runtime.local", "CallOptions"):
        assert f'id="understudy.{name}"' in html, name
    assert 'id="understudy.Context.sleep"' in (site / "reference" / "context.html").read_text()


def test_programs_that_read_find_all_pages(site: Path) -> None:
    listed = re.findall(r"\]\((.*)\)", (site / "llms.txt").read_text(encoding="utf-8"))
    assert "tutorial.html" in listed
    assert all((site / name).is_file() for name in listed)
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")
    assert "# Semantics" in whole
    assert "## Your first durable function" in whole


def test_links_out_of_the_folder_are_rewritten(site: Path) -> None:
    deploying = (site / "deploying.html").read_text(encoding="utf-8")
    assert "<code>deploy/helm/understudy</code>" in deploying
    assert 'href="../' not in deploying
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="start.html"' in start
    assert 'href="changelog.html"' in start
