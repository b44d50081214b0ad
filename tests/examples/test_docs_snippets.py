"""Python in the pages runs as it stands there.

README's subscriber: test_readme_snippet.py; testing.md: tests/stream/evaluation/test_compare.py.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from spark3r_stream.config import RunConfig
from spark3r_stream.recording.reader import Recording
from spark3r_stream.running.cameras import cameras_of
from spark3r_stream.running.several import opened_several
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import FRAME
from spark3r_stream.wire.messages import FrameResult
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


def test_a_camera_of_several_is_recorded_by_who_subscribes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [write_video(tmp_path / f"{one}.mp4", moving_images(8, 128, 96)) for one in "ab"]
    endpoint = f"ipc://{tmp_path}/stream"
    config = RunConfig(f"gate={clips[0]}", (f"yard={clips[1]}",), weights="random", size=96, publish=endpoint)
    monkeypatch.chdir(tmp_path)
    (snippet,) = SNIPPETS[ROOT / "docs" / "fleet.md"]
    code = compile(snippet.replace("tcp://127.0.0.1:5555", endpoint), "fleet.md", "exec")
    recorder = threading.Thread(target=exec, args=(code, {}))
    begin = threading.Event()
    with opened_several(config, cameras_of(config), on_open=lambda *_: begin.wait(60) and None) as several:
        assert several.publisher is not None
        recorder.start()
        while several.publisher.subscribers < 1:
            time.sleep(0.02)
        begin.set()
        several.wait(threading.Event())
    recorder.join(60)
    frames = [decode(message) for message in Recording(tmp_path / "gate.mcap").messages((FRAME,))]
    assert [frame.frame_id for frame in frames if isinstance(frame, FrameResult)] == list(range(8))


def test_there_are_no_others_that_nobody_runs() -> None:
    assert {page.name: len(blocks) for page, blocks in SNIPPETS.items()} == {
        "fleet.md": 1,
        "python.md": 3,
        "testing.md": 1,
    }
