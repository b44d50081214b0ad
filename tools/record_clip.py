"""Make tests/data/room.mcap: 20 seconds of a synthetic room as a video, run and recorded with `--record-only input`.

    python tools/record_clip.py tests/data/room.mcap

The tests run that recording again, by the pytest plugin of the package. After a change that is meant to change results,
record it anew. In float32, which every processor has.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from spark3r_stream.sources.synthetic import SyntheticSource

WORLD = "synthetic:room?seed=12&frames=300&kind=loop&size=320x240&fps=15"
QUALITY = "26"  # of x264: lower is better and larger


def write_video(path: Path, world: str = WORLD, quality: str = QUALITY) -> None:
    """H.264, as a camera on the net sends it: no pictures that refer to later ones."""
    source = SyntheticSource(world)
    with av.open(str(path), "w") as video:
        stream = video.add_stream(
            "libx264", rate=round(source.info.nominal_fps or 0), options={"crf": quality, "tune": "zerolatency"}
        )
        (stream.width, stream.height), stream.pix_fmt = source.info.size, "yuv420p"
        for _ in range(source.info.frame_count or 0):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(source.read().image, format="rgb24")))
        video.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder) / "room.mp4")
        # inside of the folder: the names are in the recording
        options = ["--record", "room.mcap", "--record-only", "input", "--dtype", "float32"]
        subprocess.run([sys.executable, "-m", "spark3r_stream", "run", "room.mp4", *options], cwd=folder, check=True)
        shutil.copyfile(Path(folder) / "room.mcap", given.recording)


if __name__ == "__main__":
    main()
