"""Hooks of MkDocs: pages that are not in the folder `docs`, and links that lead out of it.

The pages are written to be read where the source is, so they link to files of it. The site has the
README and the changelog as pages; of other files it shows the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: files beside the folder, and the pages that they become
PAGES = {"README.md": "start.md", "CHANGELOG.md": "changelog.md"}
#: pages of the API: a title, and the names on it
REFERENCE = {
    "runtime": ("Runtime", ["Runtime", "CallOptions", "Function", "poll"]),
    "context": ("Context", ["Context", "Info", "Promise", "current"]),
    "handles": ("Handles", ["Handle", "Handles"]),
    "store": (
        "The store's contents",
        [
            *("Promises", "StoredPromise", "Calls", "StoredCall", "Attempt"),
            *("Schedules", "Schedule", "Groups", "Group", "Node"),
        ],
    ),
    "retries": ("Retries", ["Retry", "Exponential", "Linear", "Constant", "Never"]),
    "errors": ("Errors", ["errors"]),
    "testing": ("Testing", ["testing"]),
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in the folder."""
    for name, page in PAGES.items():
        text = _rewritten((ROOT / name).read_text(encoding="utf-8"), "")
        files.append(File.generated(config, page, content=text))
    for name, (title, names) in REFERENCE.items():
        parts = "\n\n".join(f"::: understudy.{each}" for each in names)
        files.append(
            File.generated(config, f"reference/{name}.md", content=f"# {title}\n\n{parts}\n")
        )
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Rewrite the links that lead out of the folder."""
    is_own = page.file.src_uri in PAGES.values()
    return markdown if is_own else _rewritten(markdown, "docs")


def on_post_build(config: MkDocsConfig) -> None:
    """Write `llms.txt`, a list of the pages for programs that read, and all of them as one file."""
    site = Path(config.site_dir)
    pages = list(_pages(config.nav or []))
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    texts = []
    for title, name in pages:
        lines.append(f"- [{title}]({name.removesuffix('.md')}.html)")
        source = ROOT / "docs" / name
        for beside, page in PAGES.items():
            source = ROOT / beside if page == name else source
        if source.exists():
            texts.append(source.read_text(encoding="utf-8"))
    lines += ["", "## Optional", "", "- [All pages as one text](llms-full.txt)"]
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(texts), encoding="utf-8")


def _pages(nav: Iterable[Any]) -> Iterable[tuple[str, str]]:
    for item in nav:
        for title, found in item.items():
            if isinstance(found, str):
                yield title, found
            else:
                yield from _pages(found)


def _rewritten(text: str, folder: str) -> str:
    """Return a page of `folder`, a folder of the source, as the site has it."""
    parts, last = [], 0
    for code in _CODE.finditer(text):
        parts += [_links(text[last : code.start()], folder), code[0]]
        last = code.end()
    return "".join([*parts, _links(text[last:], folder)])


def _links(text: str, folder: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        sign, shown, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        name = str((ROOT / folder / path).resolve().relative_to(ROOT))
        if name in PAGES:
            return f"{sign}[{shown}]({PAGES[name]}{hash_}{anchor})"
        if name.startswith("docs/"):
            return f"{sign}[{shown}]({name.removeprefix('docs/')}{hash_}{anchor})"
        plain = shown.strip("`")
        return f"`{name}`" if plain in (name, path) else f"{shown} (`{name}`)"

    return _LINK.sub(replaced, text)
