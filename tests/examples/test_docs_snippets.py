"""Python in the pages runs as it stands there.

README's subscriber: test_readme_snippet.py; testing.md: tests/stream/evaluation/test_compare.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers_media import moving_images, write_video
from tools.pages import PAGES, ROOT, python_blocks

SNIPPETS = {page: python_blocks(page) for page in PAGES if page.name != "README.md" and python_blocks(page)}


def printed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What this snippet of docs/python.md prints."""
    write_video(tmp_path / "video.mp4", moving_images(3, 320, 240))
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "python.md"
    exec(compile(SNIPPETS[page][number], str(page), "exec"), {})
    return capsys.readouterr().out.splitlines()


def test_a_result_per_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(0, tmp_path, monkeypatch, capsys)
    assert [line.split()[0] for line in lines if line[0] in "0123"] == ["0", "1", "2"]
    assert lines[-1].endswith(", 3)")


def test_frames_of_your_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [line.split()[0] for line in printed(1, tmp_path, monkeypatch, capsys)] == ["0", "1", "2"]


def test_the_network_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(2, tmp_path, monkeypatch, capsys)
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert all(line.endswith("(144, 192) True") for line in lines)


def test_there_are_no_others_that_nobody_runs() -> None:
    assert {page.name: len(blocks) for page, blocks in SNIPPETS.items()} == {"python.md": 3, "testing.md": 1}
