"""README's subscriber, as it stands there, prints what a publisher sends."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.encode import encode_frame, encode_keyframe
from tests.helpers_wire import SESSION, make_keyframe, make_sealer, make_tracked

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0


def test_the_first_snippet_of_the_readme_runs() -> None:
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        assert "tcp://127.0.0.1:5555" in snippet
        assert "timeout_s=10" in snippet
        code = snippet.replace("tcp://127.0.0.1:5555", publisher.endpoint).replace("timeout_s=10", "timeout_s=3")
        command = [sys.executable, "-c", code]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        deadline_s = time.monotonic() + WAIT_S
        while publisher.subscribers < 1:
            assert time.monotonic() < deadline_s, "it never subscribed"
            time.sleep(0.01)
        sealer = make_sealer()
        for messages in (
            encode_keyframe(make_keyframe()),
            encode_frame(make_tracked(1)),
            encode_frame(make_tracked(2)),
        ):
            publisher.send(sealer.seal(messages))
        out, err = reader.communicate(timeout=WAIT_S)
    assert (reader.returncode, err) == (0, "")
    assert re.findall(r"^(\d+ \w+ submap_\d+) ", out, re.MULTILINE) == [
        "1 LOW_CONFIDENCE submap_3",
        "2 LOW_CONFIDENCE submap_3",
    ]
