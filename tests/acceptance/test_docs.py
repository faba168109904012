"""The README and the pages in docs/: programs run, links resolve, commands and names exist.

A Python block whose first line is ``# file: NAME.py`` is a whole program. Where a console block
after it says ``$ python NAME.py``, what follows there is what it must print.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import runpy
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from pydantic import BaseModel, TypeAdapter
from pydantic_settings import BaseSettings

from tests.acceptance.system import Program, open_system, until
from understudy import Context, Handle, Runtime
from understudy.cli.app import COMMANDS, run
from understudy.cli.app import app as command_line
from understudy.edge.options import ENV_PREFIX as EDGE_PREFIX
from understudy.edge.options import EdgeOptions, load_options
from understudy.edge.tokens.rules import parse_rules
from understudy.promises import Promises
from understudy.schedules import Schedules
from understudy_actors.interpreter.requests import Call
from understudy_actors.processes.topology import load_topology
from understudy_broker.server.settings import ENV_PREFIX, BrokerSettings, load_settings
from understudy_broker.server.sharing import LEAVE_S

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
}

#: tests of their own kill it in the middle
CRASHED = "shop.py"
#: what makes programs quick enough for a test
QUICKER = {
    "ctx.sleep(1)": "ctx.sleep(0.1)",
    "ctx.sleep(3)": "ctx.sleep(0.1)",
    "pause_s=1,": "pause_s=0.05,",
}


class Block(NamedTuple):
    """A fenced block."""

    page: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [Block(page, fence[1], fence[2]) for fence in fences]


def every(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def file_name(block: Block) -> str | None:
    found = re.match(r"# file: (\w+\.py)\n", block.text)
    return found[1] if found else None


def programs() -> dict[tuple[str, str], str]:
    """(page, file name) to source."""
    return {(b.page, name): b.text for b in every("python") if (name := file_name(b))}


def session(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def expected(page: str, name: str) -> str | None:
    for block in blocks(page):
        for command, output in session(block.text if block.language == "console" else ""):
            if command == f"python {name}":
                return output
    return None


def quicker(source: str) -> str:
    for slow, quick in QUICKER.items():
        source = source.replace(slow, quick)
    return source


def without_numbers(text: str) -> str:
    return re.sub(r"process \d+", "process N", text)


class Terminal:
    """Runs what the pages run, in this process: quicker than to start Python each time."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def python(self, name: str) -> str:
        """``python NAME``: what it prints."""
        self._capsys.readouterr()
        program = self._folder / name
        if "set_tracer_provider" in program.read_text():
            # A process has one tracer provider for as long as it lives.
            argv = [sys.executable, str(program)]
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        runpy.run_path(str(program), run_name="__main__")
        return self._capsys.readouterr().out

    def understudy(self, text: str, url: str) -> tuple[int, str]:
        """An ``understudy`` command: exit code, and what it prints."""
        self._capsys.readouterr()
        code = run([*shlex.split(text)[1:], "--url", url])
        captured = self._capsys.readouterr()
        return code, captured.out + captured.err


@pytest.fixture
def terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path, capsys)


# Programs ----------------------------------------------------------------------------------------

EMBEDDED = [key for key, text in programs().items() if "Runtime.local(" in text]


@pytest.mark.parametrize(("page", "name"), [key for key in EMBEDDED if key[1] != CRASHED])
def test_programs_print_what_the_page_says(
    page: str, name: str, tmp_path: Path, terminal: Terminal
) -> None:
    (tmp_path / name).write_text(quicker(programs()[page, name]))
    says = expected(page, name)
    assert says, f"no output of {name} in {page}"
    assert without_numbers(terminal.python(name)) == without_numbers(says)


def test_the_tutorials_shop_is_killed_and_charges_once(tmp_path: Path, terminal: Terminal) -> None:
    page = "docs/tutorial.md"
    # the file, which is looked into below, may be a second behind
    (tmp_path / CRASHED).write_text(quicker(programs()[page, CRASHED]).replace("0.1", "2.5"))
    first = Program([sys.executable, CRASHED], tmp_path / "log", {}, tmp_path)
    until("it sleeps and holds nothing", lambda: task_state(tmp_path / "shop.db") == "suspended")
    first.kill()
    assert first.output == "charging 1999 cents for order 7\n"
    says = expected(page, CRASHED)
    assert says is not None
    assert terminal.python(CRASHED) == says
    assert terminal.python(CRASHED) == says.splitlines(keepends=True)[1]


def task_state(store: Path) -> str | None:
    """Of the call, as the store has it now."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            query = "SELECT task_state FROM promise WHERE id = 'checkout-7'"
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:  # not made yet
        return None
    return row[0] if row else None


def test_the_readmes_app_on_two_nodes_survives_a_kill(tmp_path: Path, terminal: Terminal) -> None:
    page = "README.md"
    source = programs()[page, "app.py"]
    lines = [pair for b in blocks(page) if b.language == "console" for pair in session(b.text)]
    [spawn] = [text for text, _ in lines if text.startswith("understudy spawn")]
    [start, wait] = [pair for pair in lines if pair[0].startswith("understudy invoke")]
    (tmp_path / "app.py").write_text(quicker(source))
    with open_system(tmp_path) as system:
        nodes = system.command(*shlex.split(spawn)[1:])
        until("both nodes are there", lambda: "up: greeters 2 nodes" in nodes.output)
        assert terminal.understudy(start[0], system.url) == (0, start[1])
        until("two steps are said", lambda: "step 2 of 20" in nodes.output)
        said = re.search(r"step 2 of 20, in process (\d+)", nodes.output)
        assert said is not None
        os.kill(int(said[1]), signal.SIGKILL)
        assert terminal.understudy(wait[0], system.url) == (0, wait[1])
        until("the last is shown", lambda: "step 20 of 20" in nodes.output)
        steps = re.findall(r"step (\d+) of 20, in process (\d+)", nodes.output)
        assert [number for number, _ in dict.fromkeys((n, "") for n, _ in steps)] == [
            str(number) for number in range(1, 21)
        ]
        # the one under way when the process died may be said again, and no other
        assert len(steps) <= 21
        assert steps[-1][1] != said[1]
        assert terminal.understudy("understudy tree greet-1", system.url)[0] == 0
        assert terminal.understudy("understudy groups", system.url)[0] == 0


def test_the_tutorials_two_services(tmp_path: Path, terminal: Terminal) -> None:
    page = "docs/tutorial.md"
    for name in ("payments.py", "orders.py"):
        (tmp_path / name).write_text(quicker(programs()[page, name]))
    with open_system(tmp_path) as system:
        [topology] = [b.text for b in blocks(page) if b.language == "toml"]
        # the system has a broker already, at an address that is nobody else's
        (tmp_path / "topology.toml").write_text(topology[topology.index("[[group]]") :])
        up = system.command("up")
        until("all is up", lambda: "up: payments 2 nodes, orders 2 nodes" in up.output)
        console = "".join(b.text for b in blocks(page) if b.language == "console")
        for text, output in session(console[console.index("$ understudy invoke") :]):
            if text.startswith("kill -9"):
                for pid in system.nodes("orders").values():
                    os.kill(pid, signal.SIGKILL)
                continue
            if " resolve " in text:
                _wait_for_line(up, f"promise {text.split()[3]}\n")
            code, printed = terminal.understudy(text, system.url)
            assert code == (1 if "failed" in output else 0), printed
            if output:
                assert printed == output


def _wait_for_line(program: Program, line: str) -> None:
    until(f"it says {line!r}", lambda: line in program.output)


# Commands ----------------------------------------------------------------------------------------


def command_lines() -> list[str]:
    """Commands in console blocks, and in the text; without pipes, comments and continuations."""
    found = [text for b in every("console") for text, _ in session(b.text)]
    for page in PAGES.values():
        text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
        found += re.findall(
            r"`(understudy [^`]+)`",
            re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL),
        )
    lines = (re.split(r"\s[|&#]\s|;", line.replace("\n", " "))[0] for line in found)
    return sorted({line for line in lines if line.startswith("understudy ")})


@pytest.mark.parametrize("line", command_lines())
def test_commands_exist_with_their_options(line: str) -> None:
    words = shlex.split(line)[1:]
    if words[0] == "COMMAND":
        return
    found: Any = typer.main.get_command(command_line)
    rest = words
    while hasattr(found, "get_command") and rest and not rest[0].startswith("-"):
        context = found.make_context("understudy", [], resilient_parsing=True)
        found, rest = found.get_command(context, rest[0]), rest[1:]
        assert found is not None, f"there is no command in: {line}"
    known = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    named = [word.partition("=")[0] for word in rest if word.startswith("--")]
    assert set(named) <= known, line
    if rest and "--help" not in rest and not hasattr(found, "get_command"):
        found.make_context("understudy", rest)  # raises if it does not parse


def test_every_command_is_described() -> None:
    headings = re.findall(r"^### `understudy (\w+)`$", PAGES["docs/cli.md"], re.MULTILINE)
    assert sorted(headings) == sorted(COMMANDS)


# Units of systemd --------------------------------------------------------------------------------


@pytest.mark.parametrize("block", every("ini"), ids=lambda block: block.text.splitlines()[0])
def test_units_of_systemd_are_right(block: Block, tmp_path: Path) -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.read_string(block.text)
    service = unit["Service"]
    program, _, arguments = service["ExecStart"].partition("/understudy ")
    assert program == "/opt/app/.venv/bin"
    test_commands_exist_with_their_options(f"understudy {arguments}")
    # A broker may take fifteen seconds to end, and is to be started again for ever.
    assert int(service["TimeoutStopSec"]) > LEAVE_S + 5
    assert service["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    if shutil.which("systemd-analyze") is not None:
        here = block.text.replace("/opt/app/.venv/bin/understudy", sys.executable)
        name = block.text.splitlines()[0].rpartition("/")[2].replace("@", "@a")
        (tmp_path / name).write_text(here)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", tmp_path / name],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert name not in checked.stderr, checked.stderr


@pytest.mark.parametrize("block", every("sh"), ids=lambda block: block.text.splitlines()[0])
def test_environment_files_are_settings(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for line in block.text.splitlines() if not line.startswith("#")]
    for line in lines:
        monkeypatch.setenv(*line.split("=", 1))
    settings = load_settings(None, {"name": "a"})
    for line in lines:
        variable, value = line.split("=", 1)
        assert str(getattr(settings, variable.removeprefix(ENV_PREFIX).lower())) == value
    assert settings.shares_database


# Names -------------------------------------------------------------------------------------------

#: what a name stands for in the snippets
THINGS: dict[str, Any] = {
    "ctx": Context,
    "runtime": Runtime,
    "handle": Handle,
    "runtime.promises": Promises,
    "runtime.schedules": Schedules,
}


@pytest.mark.parametrize("block", every("python"), ids=lambda block: block.page)
def test_snippets_use_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Attribute):
            thing = THINGS.get(ast.unparse(node.value))
            assert thing is None or node.attr in _names_of(thing), ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            _check_keywords(node, node.func)


def _names_of(thing: Any) -> set[str]:
    names = {*dir(thing), *getattr(thing, "__slots__", ())}
    # A runtime gets some of its attributes when it is made, which connects nothing.
    return names | vars(Runtime()).keys() if thing is Runtime else names


def _check_keywords(node: ast.Call, called: ast.Attribute) -> None:
    owner = THINGS.get(ast.unparse(called.value))
    if called.attr == "options":
        owner = owner or Call
    if owner is None:
        return
    parameters = inspect.signature(getattr(owner, called.attr)).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        assert {k.arg for k in node.keywords} <= set(parameters), ast.unparse(node)


# Tables and links --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [(BrokerSettings, ENV_PREFIX), (EdgeOptions, EDGE_PREFIX)],
    ids=["broker", "edge"],
)
def test_every_setting_is_described(settings: type[BaseSettings], prefix: str) -> None:
    row = rf"^\| `(\w+)` \| (.*?) \| `({prefix}\w+)` \|"
    rows = re.findall(row, PAGES["docs/running.md"], re.MULTILINE)
    fields = settings.model_fields
    assert [name for name, _, _ in rows] == list(fields)
    for name, default, variable in rows:
        assert variable == f"{prefix}{name.upper()}"
        value = fields[name].default
        if value not in (None, "") and not isinstance(value, BaseModel):
            said = default.strip("`")
            assert TypeAdapter(type(value)).validate_python(said) == value, name


def test_the_options_of_an_edge_are_right(tmp_path: Path) -> None:
    [text] = [b.text for b in blocks("docs/running.md") if b.text.startswith("[edge]")]
    (tmp_path / "edge.toml").write_text(text)
    assert load_options(tmp_path / "edge.toml").push == "*.run.app"


def test_the_file_of_tokens_is_right() -> None:
    (text,) = [block.text for block in every("toml") if block.text.startswith("# tokens.toml")]
    rules = parse_rules(text)
    assert (len(rules.tokens), len(rules.issuers), len(rules.maps)) == (1, 2, 2)


def test_the_reference_topology_is_one(tmp_path: Path) -> None:
    [text] = [b.text for b in blocks("docs/running.md") if "[[process]]" in b.text]
    (tmp_path / "services").mkdir()
    (tmp_path / "topology.toml").write_text(text)
    topology = load_topology(tmp_path / "topology.toml")
    [broker] = topology.brokers
    assert set(broker.settings) <= set(BrokerSettings.model_fields)
    assert [group.name for group in topology.groups] == ["orders"]
    assert load_options(topology.edge_file).grpc == "127.0.0.1:8003"


def test_the_tables_of_several_brokers_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNDERSTUDY_URL", raising=False)
    tables, topology = [b.text for b in blocks("docs/scaling.md") if b.language == "toml"]
    (tmp_path / "brokers.toml").write_text(tables)
    for name in "ab":
        settings = load_settings(tmp_path / "brokers.toml", {"name": name})
        assert settings.broker_config().slots is not None
    (tmp_path / "topology.toml").write_text(topology)
    assert [broker.name for broker in load_topology(tmp_path / "topology.toml").brokers] == [
        "a",
        "b",
    ]


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links() -> list[tuple[str, str]]:
    return [
        (page, link)
        for page, text in PAGES.items()
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in link
    ]


@pytest.mark.parametrize(("page", "link"), links())
def test_links_resolve(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if anchor:
        text = re.sub(r"^```.*?^```$", "", target.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert anchor in map(slug, re.findall(r"^#+ (.*)$", text, re.MULTILINE))
