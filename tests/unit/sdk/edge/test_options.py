"""Options of an edge: their sources, their order, and what is said of wrong ones."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from understudy.cli.commands.edge import edge
from understudy.cli.edge_keeper import check_options, edge_beside
from understudy.cli.edge_settings import settings_of
from understudy.edge.address import DEFAULT_LISTEN
from understudy.edge.options import EdgeOptions, load_options
from understudy.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "understudy.toml") -> Path:
    file = Path(name)
    file.write_text(text)
    return file


def test_nothing_is_given() -> None:
    options = load_options(flags={"grpc": None, "strict": None})
    assert options == EdgeOptions()
    assert (options.listen, options.push_timeout) == (DEFAULT_LISTEN, 20.0)
    assert not options.model_fields_set


def test_flags_before_the_environment_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[edge]\ngrpc = "a:1"\npush = "file"\nstrict = true\npush_max = 7\n[broker]\nx = 1')
    monkeypatch.setenv("UNDERSTUDY_EDGE__GRPC", "b:2")
    monkeypatch.setenv("UNDERSTUDY_EDGE__PUSH", "variable")
    monkeypatch.setenv("UNDERSTUDY_EDGE__LEGACY", "")
    options = load_options(flags={"grpc": "c:3"})
    assert (options.grpc, options.push, options.strict) == ("c:3", "variable", True)
    assert (options.push_max, options.legacy) == (7, False)
    other = write('[edge]\npush = "other"', "other.toml")
    assert load_options(other).push_max == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[edge]\ngprc = 'a:1'", r"option 'gprc' \(\[edge\] in understudy.toml\) does not exist"),
        ("[edge]\npush_timeout = 0", r"option 'push_timeout' .*understudy.toml.*greater than"),
        ("[edge]\npush_max = 5000", r"option 'push_max' .*less than or equal to 4096; it is 5000"),
        ("[edge]\nlisten = 8001", r"option 'listen' .*valid string; it is 8001"),
        ("edge = 7", "no table"),
        ("[[edge]]", "no table"),
        ("[edge", "not valid TOML"),
    ],
)
def test_what_is_wrong_in_the_file(text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError, match=message):
        load_options()


def test_what_is_wrong_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read none\.toml: No such file"):
        load_options(Path("none.toml"))
    with pytest.raises(ConfigurationError, match=r"\(flag --push-max\)"):
        load_options(flags={"push_max": 0})
    monkeypatch.setenv("UNDERSTUDY_EDGE__STRICT", "perhaps")
    with pytest.raises(ConfigurationError, match=r"environment UNDERSTUDY_EDGE__STRICT.*'perhaps'"):
        load_options()


def test_each_flag_is_an_option() -> None:
    flags = set(inspect.signature(edge).parameters) - {"config", "log_format", "log_level"}
    assert flags == set(EdgeOptions.model_fields)


def test_the_settings_of_all_options() -> None:
    key = write("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "push.key")
    options = load_options(
        flags={
            "listen": "*:8001", "url": "tcp://10.0.0.5:5577", "grpc": "grpc://127.0.0.1:8003",
            "push": "pay.example", "push_key_file": key, "push_timeout": 900, "push_max": 500,
            "legacy": True, "legacy_poll": "127.0.0.1:9", "strict": True, "insecure": True,
        }
    )  # fmt: skip
    settings = settings_of(options)
    assert (settings.host, settings.port, settings.grpc) == ("0.0.0.0", 8001, ("127.0.0.1", 8003))
    assert (settings.url, settings.strict) == ("tcp://10.0.0.5:5577", True)
    assert (settings.legacy_poll, settings.credit) == (("127.0.0.1", 9), 500)
    assert settings.push is not None
    assert (settings.push.answer_s, settings.push.host_max) == (900, 250)


def test_a_broker_says_at_its_start_what_is_wrong_with_the_options_of_its_edge() -> None:
    write('[edge]\npush = "pay.example"\nlisten = "127.0.0.1:9001"')
    with pytest.raises(ConfigurationError, match="there is no key"):
        check_options(None)
    with pytest.raises(ConfigurationError, match="there is no key"), edge_beside(None, print):
        raise AssertionError
    with edge_beside("off", print):
        pass
    file = write('[edge]\nlisten = "127.0.0.1:9001"', "other.toml")
    assert check_options(file).listen == "127.0.0.1:9001"
