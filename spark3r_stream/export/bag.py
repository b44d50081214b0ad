"""A new ROS 2 bag in the folder of an export: rosbag2's MCAP storage, written by `rosbags`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from spark3r_stream.errors import OutputError
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.ros2.naming import Delivery, Naming, Topic
from spark3r_stream.ros2.types import BagTypes

Send = Callable[[Topic, int, Any], None]


@contextlib.contextmanager
def new_bag(folder: ExportFolder, names: Naming, types: BagTypes) -> Iterator[Send]:
    """bag/; gives what writes a message: topic, time in ns, message. Holds the topics that had one.

    Raises OutputError if there is one already or the disk refuses.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    target = folder.path / "bag"
    if target.exists() or target.is_symlink():
        raise OutputError(f"{target} exists and a bag is not written over; remove it, or give another folder")
    try:
        with Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            channels: dict[Topic, Any] = {}

            def send(topic: Topic, time_ns: int, message: Any) -> None:
                if topic not in channels:
                    channels[topic] = writer.add_connection(
                        names.topic(topic),
                        topic.kind,
                        typestore=types.store,
                        offered_qos_profiles=[_latched()] if topic.delivery is Delivery.LATCHED else [],
                    )
                writer.write(channels[topic], time_ns, types.store.serialize_cdr(message, topic.kind))

            yield send
    except OSError as error:
        raise OutputError(f"cannot write the bag {target}: {error.strerror or error}") from None


def _latched() -> Any:
    """What `ros2 bag play` needs to know to give a late subscriber /tf_static."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, forever, forever,
        QosLiveliness.AUTOMATIC, forever, False,
    )  # fmt: skip
