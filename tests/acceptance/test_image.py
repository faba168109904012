"""The image's recipe: what it names is there, and what it runs is what the lock file says.

There is no Docker where the tests run, so its steps are tried one by one.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.deployed import DEPLOY, ROOT, parsed

TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", TEXT)
    return re.findall(rf"^\s*{name} (.*)$", joined, re.MULTILINE)


def extras() -> list[str]:
    found: str
    [found] = re.findall(r'^ARG EXTRAS="(.*)"$', TEXT, re.MULTILINE)
    return found.split(",")


def test_its_extras_are_those_of_the_project() -> None:
    known = set(PROJECT["project"]["optional-dependencies"])
    assert {"http", "postgres"} <= set(extras()) <= known


def test_dependencies_come_by_the_lock_file_with_hashes(tmp_path: Path) -> None:
    [export] = [line for line in instructions("RUN") if "uv export" in line]
    command = re.sub(r"\$\(printf.*?\)\)", " ".join(f"--extra {name}" for name in extras()), export)
    words = shlex.split(command)
    words = words[words.index("uv") : words.index("&&", words.index("uv"))]
    target = tmp_path / "requirements.txt"
    words[words.index("--output-file") + 1] = str(target)
    program = str(Path(sys.executable).with_name("uv"))
    subprocess.run([program, *words[1:], "--offline"], cwd=ROOT, check=True, timeout=60)
    lines = target.read_text().replace("\\\n", " ").splitlines()
    names = {re.split(r"[=\[ ]", line)[0] for line in lines if not line.startswith((" ", "#"))}
    assert {"pyzmq", "trio", "starlette", "psycopg", "pyjwt"} <= names
    assert not {"pytest", "mypy", "understudy"} & names
    assert all("--hash=sha256:" in line for line in lines if re.match(r"\w", line))
    assert "--require-hashes" in export


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for line in instructions("COPY"):
        if line.startswith("--from"):
            continue
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = " ".join(instructions("COPY"))
    assert all(f"{package.partition('/')[0]} " in copied for package in packages)


def test_it_runs_as_a_user_of_its_own_with_a_check_of_health() -> None:
    [user] = instructions("USER")
    assert user == "${UID}:${UID}"
    assert int(re.findall(r"^ARG UID=(\d+)$", TEXT, re.MULTILINE)[0]) >= 1000
    [check] = re.findall(r"CMD (\[\"understudy\", \"health\".*\])$", TEXT, re.MULTILINE)
    parsed(json.loads(check)[1:])
    assert instructions("VOLUME") == ["/data"]
    assert instructions("ENTRYPOINT") == ['["understudy"]']


def test_the_python_of_the_image_is_one_that_is_tested() -> None:
    [tag] = re.findall(r"^ARG PYTHON=(\S+)$", TEXT, re.MULTILINE)
    version = re.fullmatch(r"(3\.\d+)-slim", tag)
    assert version
    supported = PROJECT["project"]["classifiers"]
    assert f"Programming Language :: Python :: {version[1]}" in supported


@pytest.mark.parametrize("line", re.findall(r"^#\s+broker .*$", TEXT, re.MULTILINE))
def test_its_example_is_a_command(line: str) -> None:
    parsed(shlex.split(line.lstrip("# ")))
