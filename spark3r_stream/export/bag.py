"""A new ROS 2 bag in the folder of an export: rosbag2's MCAP storage, written by `rosbags`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from spark3r_stream.errors import OutputError
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.ros2_messages import Ros2Messages

Send = Callable[[str, int, Any], None]


@contextlib.contextmanager
def new_bag(folder: ExportFolder, topics: Mapping[str, str], messages: Ros2Messages) -> Iterator[Send]:
    """bag/ with these topics and their types; gives what writes a message: topic, time in ns, message.

    Raises OutputError if there is one already or the disk refuses.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    target = folder.path / "bag"
    if target.exists() or target.is_symlink():
        raise OutputError(f"{target} exists and a bag is not written over; remove it, or give another folder")
    try:
        with Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            channels = {
                topic: writer.add_connection(topic, kind, typestore=messages.types) for topic, kind in topics.items()
            }

            def send(topic: str, time_ns: int, message: Any) -> None:
                writer.write(channels[topic], time_ns, messages.types.serialize_cdr(message, topics[topic]))

            yield send
    except OSError as error:
        raise OutputError(f"cannot write the bag {target}: {error.strerror or error}") from None
