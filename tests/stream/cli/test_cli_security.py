"""`--keys` on both sides, as processes: who has a key gets the map so far and the stream, others get one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from spark3r_stream.pubsub.keys import ClientSecurity, create_keys
from spark3r_stream.pubsub.subscriber import Subscriber

ROOT = Path(__file__).parents[3]
SOURCE = "synthetic:room?frames=400&size=96x72&augment=0&live=1&fps=10"


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spark3r_stream.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_run_with_keys(tmp_path: Path) -> None:
    server, robot = tmp_path / "server", tmp_path / "robot"
    create_keys(server)
    (server / "allowed_clients").write_text(f"{create_keys(robot).public.decode()} robot\n")
    endpoint, server_key = f"ipc://{tmp_path}/s", str(server / "public.key")
    run = ("run", SOURCE, "--weights", "random", "--size", "96", "--publish", endpoint, "--keys", str(server), "--json")
    engine = start(*run)
    try:
        assert engine.stdout is not None
        for _ in range(3):
            assert json.loads(engine.stdout.readline())["type"] == "frame"
        known = start("echo", endpoint, "--json", "--count", "2", "--keys", str(robot), "--server-key", server_key)
        stranger = start("echo", endpoint, "--json", "--count", "2", "--timeout", "60")
        with Subscriber(endpoint, security=ClientSecurity.from_directory(robot, server_key)) as late:
            snapshot = late.join(20.0)
            assert [pose.frame_id for pose in snapshot.trajectory][:1] == [0]
            assert len(snapshot.trajectory) >= 3
            assert snapshot.clouds
        out, err = known.communicate(timeout=60)
        assert known.returncode == 0, err
        assert len(out.splitlines()) == 2
        out, err = stranger.communicate(timeout=60)
        assert (stranger.returncode, out) == (1, "")
        assert "admits only clients with keys" in err
        assert "Traceback" not in err
    finally:
        engine.terminate()
        engine.communicate(timeout=60)
    assert engine.returncode == 0


def test_a_server_key_alone_is_one_clear_line(tmp_path: Path) -> None:
    echo = start("echo", f"ipc://{tmp_path}/s", "--server-key", "x")
    out, err = echo.communicate(timeout=60)
    assert (echo.returncode, out) == (1, "")
    assert "keys new" in err
