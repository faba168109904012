"""The commands of a page, run as the page has them, in a fresh folder.

They are the page's own words, but for the ports of this machine: other ones are free, and what
stands at a port in one command stands there in all.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.acceptance.system import PATIENCE_S, Program, until
from tests.acceptance.test_docs import blocks, session
from tests.support import free_url
from understudy import Runtime
from understudy.bench.deployment import free_port

_HERE: Final = re.compile(r"127\.0\.0\.1:(8\d\d\d)\b")
#: where a broker keeps an edge unless told otherwise
EDGE_PORT: Final = "8001"
_VARIABLE: Final = re.compile(r"[A-Z_]+=")


class PageRun:
    """A folder in which the commands of a page run; see `open_page`."""

    def __init__(self, page: str, folder: Path) -> None:
        self.folder = folder
        self.url = free_url()
        console = [block for block in blocks(page) if block.language == "console"]
        #: the commands of the page in their order, each with what it prints
        self.session = [pair for block in console for pair in session(block.text)]
        self.commands = dict(self.session)
        self._ports: dict[str, int] = {}
        self._programs: list[Program] = []
        # What `understudy broker` listens at without options, and where others look for it.
        self.environment = {
            "UNDERSTUDY_BROKER__LISTEN": self.url,
            "UNDERSTUDY_URL": self.url,
            "UNDERSTUDY_BROKER__HTTP": self.place(EDGE_PORT),
            "UNDERSTUDY_EDGE__LISTEN": self.place(EDGE_PORT),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.runtime = Runtime("test", url=self.url, connect_timeout=PATIENCE_S)

    def place(self, port: str) -> str:
        """Return what stands for a port of the page."""
        if port not in self._ports:
            self._ports[port] = free_port()
        return f"127.0.0.1:{self._ports[port]}"

    def placed(self, text: str) -> str:
        """Return a text of the page with the ports of this run."""
        return _HERE.sub(lambda found: self.place(found[1]), text)

    def write(self, name: str, text: str) -> None:
        """Write a program of the page into the folder."""
        (self.folder / name).write_text(self.placed(text), encoding="utf-8")

    def one(self, beginning: str) -> str:
        """Return the only command of the page that begins so."""
        [found] = [each for each in self.commands if each.startswith(beginning)]
        return found

    def start(self, command: str, ready: str = "") -> Program:
        """Start a command of the page; return once it has printed `ready`."""
        assert command in self.commands, command
        words = shlex.split(self.placed(command))
        variables = dict[str, str]()
        while _VARIABLE.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        log = self.folder / f"command.{len(self._programs)}.log"
        if words[0] == "understudy":
            words[:1] = [sys.executable, "-m", "understudy"]
        program = Program(words, log, {**self.environment, **variables}, self.folder)
        self._programs.append(program)
        until(
            f"{command!r} says {ready!r}",
            lambda: ready in program.output or not program.is_running(),
        )
        assert ready in program.output, program.output
        return program

    def run(self, command: str) -> str:
        """Run a command of the page to its end, in a shell; return what it prints."""
        assert command in self.commands, command
        done = subprocess.run(
            ["/bin/sh", "-c", self.placed(command)],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def export(self) -> None:
        """Run the lines of the page that set variables, for the commands that come after them."""
        for command in self.commands:
            if command.startswith("export "):
                name = command.removeprefix("export ").partition("=")[0]
                line = f'{self.placed(command)}; printf %s "${name}"'
                shown = subprocess.check_output(["/bin/sh", "-c", line], cwd=self.folder, text=True)
                self.environment[name] = shown

    def nodes(self, group: str) -> bool:
        """Return whether a group has nodes."""
        return any(each.name == group and each.nodes for each in self.runtime.groups().groups)

    def close(self) -> None:
        """End all that was started."""
        self.runtime.stop()
        for program in reversed(self._programs):
            program.kill_group()

    def report(self) -> str:
        """Return the output of all programs."""
        return "\n".join(f"--- {each.log.name}\n{each.output}" for each in self._programs)


@contextmanager
def open_page(page: str, folder: Path) -> Iterator[PageRun]:
    """Open a run of a page's commands; a failure prints the output of its programs."""
    run = PageRun(page, folder)
    try:
        yield run
    except BaseException:
        print(run.report())
        raise
    finally:
        run.close()
