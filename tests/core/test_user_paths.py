"""What earlier versions left in their places is found where a system has others now (macOS)."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_core import user_paths
from spark3r_core.models.registry import find_weights
from tests.helpers import spark3r


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user of a system with a Library; old and new places are empty."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SPARK3R_WEIGHTS", "SPARK3R_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind, place in (("cache", "Caches"), ("config", "Application Support")):
        folder = str(tmp_path / "Library" / place / "spark3r")
        monkeypatch.setattr(user_paths.platformdirs, f"user_{kind}_dir", lambda *_, folder=folder, **__: folder)
    return tmp_path


def test_weights_are_found_in_the_old_place_and_the_new_one_goes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (home / place / "spark3r" / "pi3" / "model.safetensors" for place in (".cache", "Library/Caches"))
    assert find_weights("pi3") is None
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        assert find_weights("pi3") == path
    monkeypatch.setenv("SPARK3R_WEIGHTS", str(home / "chosen"))
    assert find_weights("pi3") is None, "a place that the user names is the only one"


def test_keys_are_found_in_the_old_place(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "keys", "new", "--dir", home / ".config/spark3r/keys") == 0
    made = capfd.readouterr().out
    assert spark3r(monkeypatch, "keys", "show") == 0
    assert capfd.readouterr().out == made


def test_where_nothing_moved_there_is_no_old_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, place in (("XDG_CACHE_HOME", ".cache"), ("XDG_CONFIG_HOME", ".config")):
        monkeypatch.setenv(name, str(tmp_path / place))
    assert user_paths.former_cache_dir() is user_paths.former_config_dir() is None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    assert user_paths.former_config_dir() == tmp_path / ".config" / "spark3r"
