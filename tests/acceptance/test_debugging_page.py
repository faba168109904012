"""docs/debugging.md: its sessions print what the page says, and change nothing."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.acceptance.page_run import PageRun, open_page
from tests.acceptance.system import PATIENCE_S, until
from tests.acceptance.test_docs import programs

PAGE = "docs/debugging.md"
_PROMPT = re.compile(r"^\(Pdb\) (.*)\n", re.MULTILINE)
_SINCE = re.compile(r"since [\d-]+ [\d:]+ UTC")


def outcome(run: PageRun, command: str, typed: str = "") -> tuple[int, str]:
    """Run a command of the page with `typed` as its input; exit code, and output as on the page."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=run.folder,
        env={**run.environment, "UNDERSTUDY_BROKER__HTTP": "off"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    shown = done.stdout.replace(f"{run.folder}/", "/app/").replace(f"{run.folder.name}/", "app/")
    return done.returncode, _SINCE.sub("since THEN", shown) or done.stderr


def debugged(run: PageRun, command: str) -> None:
    """Type what the page has after its prompts; check what the debugger prints."""
    page = run.commands[command]
    typed = "".join(f"{line}\n" for line in _PROMPT.findall(page))
    expected = _SINCE.sub("since THEN", _PROMPT.sub("(Pdb) ", page))
    assert outcome(run, command, typed) == (0, expected)


def test_the_sessions_of_the_page(tmp_path: Path) -> None:
    with open_page(PAGE, tmp_path) as run:
        for name in ("shop.py", "changed.py"):
            run.write(name, programs()[PAGE, name])
        run.start(run.one("understudy broker"), "listening on")
        run.start(run.one("understudy node"), "serves checkout")
        calls, promises = run.runtime.options(target="shop"), run.runtime.promises
        for number, cents in ((7, 4200), (8, 100)):
            given = f"order-{number} checkout --target shop --arg {number} --arg {cents}"
            assert f"understudy invoke {given}" in run.commands
            calls.rpc(f"order-{number}", "checkout", number, cents)
        until("both ask", lambda: len([*promises.search(prefix="approval-")]) == 2)
        promises.resolve("approval-8", False)
        until("order-8 has failed", lambda: promises.get("order-8").state == "rejected")
        before = [*promises.search()]

        sessions = [each for each in run.commands if each.startswith("understudy debug")]
        for command in sessions:
            if run.commands[command]:
                debugged(run, command)
        rehearse = "understudy rehearse changed:runtime"
        assert outcome(run, rehearse) == (1, run.commands[rehearse])

        assert [*promises.search()] == before, "nothing was stored"
        promises.resolve("approval-7", True)
        assert run.runtime.get("order-7").result() == ["4200 cents charged", "parcel 7"]
