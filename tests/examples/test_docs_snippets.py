"""Python in the pages runs as it stands there. (README's subscriber: test_readme_snippet.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers_media import moving_images, write_video
from tools.pages import PAGES, ROOT, python_blocks

SNIPPETS = {page: python_blocks(page) for page in PAGES if page.name != "README.md" and python_blocks(page)}


def test_the_network_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "video.mp4", moving_images(3, 320, 240))
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "python.md"
    exec(compile(SNIPPETS[page][0], str(page), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert all(line.endswith("(144, 192) True") for line in lines)


def test_there_are_no_others_that_nobody_runs() -> None:
    assert {page.name: len(blocks) for page, blocks in SNIPPETS.items()} == {"python.md": 1}
