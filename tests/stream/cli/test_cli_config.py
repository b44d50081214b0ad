"""Options from the configuration file and from variables: what wins, what is refused, what `spark3r config` shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from spark3r_stream.cli.commands import COMMANDS
from spark3r_stream.cli.config import read_settings, with_settings
from spark3r_stream.cli.grouped import GROUPS
from spark3r_stream.config import ConfigError, RunConfig
from tests.helpers import spark3r

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Makes the configuration file of this user."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("SPARK3R_CONFIG", raising=False)

    def written(text: str) -> Path:
        path = tmp_path / "spark3r" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return written


def test_every_option_of_a_run_is_in_a_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(
        field.name for field in fields(RunConfig) if field.name not in ("source", "others")
    )


def test_file_variable_and_command_line(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[run]\nsize = 96\ndevice = "cuda"\nsave-depth = true\nlive = true\n[echo]\ncount = 3\n')
    monkeypatch.setenv("SPARK3R_RUN_DEVICE", "cpu")
    monkeypatch.setenv("SPARK3R_RUN_LIVE", "0")
    monkeypatch.setenv("SPARK3R_RUN_MAX_FRAMES", "5")
    arguments, settings = with_settings(["run", "a.mp4", "--max-frames", "7"], COMMANDS)
    assert arguments == [
        *("run", "--size", "96", "--device", "cpu", "--save-depth", "--max-frames", "5"),
        *("a.mp4", "--max-frames", "7"),
    ]
    assert len(settings) == 5
    assert with_settings(["doctor"], COMMANDS) == (["doctor"], [])
    assert with_settings(["run", "--help"], COMMANDS) == (["run", "--help"], [])


def test_a_run_with_them(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write('[run]\nsize = 96\nmax_frames = 3\nweights = "random"\n')
    monkeypatch.setenv("SPARK3R_RUN_OUT", str(tmp_path / "out"))
    source = "synthetic:room?frames=9&size=128x96"
    assert spark3r(monkeypatch, "run", source, "--max-frames", "2") == 0
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert (stats["frames"]["in"], stats["settings"]["size"]) == (2, 96)
    monkeypatch.setenv("SPARK3R_RUN_DTYPE", "int8")
    capfd.readouterr()
    assert spark3r(monkeypatch, "run", source) == 2
    note = capfd.readouterr().err.splitlines()[-1]
    assert note.startswith("spark3r: note: options were also set by $SPARK3R_RUN_DTYPE, $SPARK3R_RUN_OUT, ")


def test_config_shows_where_each_comes_from(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "config") == 0
    assert "nothing is set" in capsys.readouterr().out
    path = write("[view]\nno_browser = true\n")
    monkeypatch.setenv("SPARK3R_ROS2_BRIDGE_SCALE", "2.5")
    assert spark3r(monkeypatch, "config", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(path),
        "settings": [
            {"command": "view", "option": "no_browser", "value": True, "origin": str(path)},
            {"command": "ros2-bridge", "option": "scale", "value": "2.5", "origin": "$SPARK3R_ROS2_BRIDGE_SCALE"},
        ],
    }
    assert spark3r(monkeypatch, "config") == 0
    out = capsys.readouterr().out
    assert "--no-browser" in out
    assert "$SPARK3R_ROS2_BRIDGE_SCALE" in out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[rum]\n", "'rum' is no command; did you mean 'run'"),
        ("device = 3\n", "'device' is no command"),
        ("[run]\ndevise = 'cpu'\n", "has no option 'devise'; did you mean 'device'"),
        ("[run]\nsource = 'a.mp4'\n", "has no option 'source'"),
        ("[run]\nview = 'yes'\n", "expected true or false"),
        ("[run]\ndevice = ['cpu']\n", "expected a text or a number"),
        ("[run\n", "is no TOML"),
    ],
)
def test_what_is_no_setting_is_said(
    write: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    path = write(text)
    assert spark3r(monkeypatch, "run", "a.mp4") == 1
    err = capfd.readouterr().err
    assert err.startswith(f"spark3r: error: {path}")
    assert complaint in err
    assert err.count("\n") == 1


def test_variables_that_are_none(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$SPARK3R_RUN_DEVISE: run has no option 'devise'; did you mean 'device'"):
        read_settings(COMMANDS, {"SPARK3R_RUN_DEVISE": "cpu"})
    with pytest.raises(ConfigError, match=r"\$SPARK3R_RUN_VIEW is 'perhaps'; expected 1 or 0"):
        read_settings(COMMANDS, {"SPARK3R_RUN_VIEW": "perhaps"})
    with pytest.raises(ConfigError, match=r"\$SPARK3R_CONFIG names .*none\.toml, and there is no such file"):
        read_settings(COMMANDS, {"SPARK3R_CONFIG": str(tmp_path / "none.toml")})
    assert read_settings(COMMANDS, {"SPARK3R_WEIGHTS": "/w", "SPARK3R_RUN_OUT": ""})[0].value is None
