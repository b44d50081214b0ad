"""A recording as a ROS 2 bag: what was published, in the messages of `spark3r ros2-bridge`.

Points and poses that a later correction moved are not sent again. The bag's clock is that of the frames, so that stamps
and `ros2 bag play --clock` agree.
"""

from __future__ import annotations

import logging
from pathlib import Path

from spark3r_stream.errors import OutputError
from spark3r_stream.export.bag import new_bag
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.recording.reader import Recording
from spark3r_stream.ros2.converter import TOPICS, Converter
from spark3r_stream.ros2.messages import Ros2Messages
from spark3r_stream.ros2.naming import Naming
from spark3r_stream.ros2.types import BagTypes
from spark3r_stream.wire import envelope as wire

log = logging.getLogger(__name__)
_READ = tuple(topic for topic in TOPICS if topic != wire.STATUS)  # once a second of another clock


def write_recording_bag(path: Path, folder: ExportFolder) -> int:
    """bag/bag.mcap and bag/metadata.yaml; the messages written. Raises OutputError, RecordingError or WireError."""
    types, names = BagTypes(), Naming()
    converter = Converter(Ros2Messages(types), names)
    recording, count = Recording(path), 0
    if recording.note:
        log.warning("note: %s", recording.note)
    with new_bag(folder, names, types) as send:
        for message in recording.messages(_READ):
            if message.envelope.captured_ns < 0:
                raise OutputError("ROS has no times before 1970, and this recording has")
            made = converter.of(message)
            if made and not count:
                made = [*converter.fixed(converter.now_ns), *made]
            for topic, content in made:
                send(topic, converter.now_ns, content)
                count += 1
    if not count:
        raise OutputError(f"{path} holds nothing for a bag; was it recorded by `run --record`?")
    return count
