"""Depth images of a sensor as it publishes them over ZeroMQ. A thread receives, finds the frame, and unpacks.

Tracking only hands over the times of its frames and takes what is ready, so an image that is large, late or broken
costs it nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from spark3r_core.metric.sensor_depth import SensorDepth
from spark3r_stream.camera_name import inheriting_thread
from spark3r_stream.errors import SensorError, StreamError
from spark3r_stream.frame import Frame
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.subscriber_socket import SubscriberSocket
from spark3r_stream.sensors.depth_images import has_shape_of
from spark3r_stream.sensors.depth_message import TOPIC, DepthMessage, parsed, unpacked
from spark3r_stream.sensors.nearest_frame import NearestFrame

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20  # of images whose frame is not known yet; and as much again in the socket
WAITING_MESSAGES = 64
LONGEST_WAIT_S = 30.0  # of an image for its frame
LEAST_APART_NS = 200_000_000  # between images that are used: more say hardly more
POLL_S = 0.02
READY = 4  # images that tracking has not taken
NEW_FRAMES = 256
CLOSING_S = 5.0
EXPECTED = 'the topic, {"time": …, "width": …, "height": …}, and a PNG of 16 bits and one channel'


class DepthTopic:
    """See `DepthSensor`. offset_s: to be added to the images' times, which are Unix time. steps_per_metre: of images
    that do not say.

    Counts, for people: used; spared, soon after another one; unmatched, without a frame or too early for its frame;
    refused, that could not be read or have another shape than the picture. Raises SensorError for an address that is
    none.
    """

    def __init__(self, endpoint: str, steps_per_metre: float = 1000.0, offset_s: float = 0.0) -> None:
        self.used = self.spared = self.unmatched = self.refused = 0
        self._endpoint, self._steps, self._offset_ns = endpoint, steps_per_metre, round(offset_s * 1e9)
        self._frames: deque[tuple[int, int, tuple[int, int]]] = deque(maxlen=NEW_FRAMES)  # ids, times, sizes: to it
        self._ready: deque[SensorDepth] = deque(maxlen=READY)  # from the thread
        self._nearest, self._size = NearestFrame(), (1, 1)
        self._waiting: deque[tuple[float, DepthMessage]] = deque()  # with when it is let go, by the monotonic clock
        self._waiting_bytes = 0
        self._last_ns: int | None = None  # of the newest that was used
        self._last_frame: int | None = None
        self._closed = threading.Event()
        try:
            self._socket = SubscriberSocket(endpoint, [TOPIC], None, WAITING_MESSAGES, MAX_WAITING_BYTES)
        except StreamError:
            raise SensorError(f"{cleaned(endpoint)}: expected tcp://HOST:PORT or ipc://PATH") from None
        self._thread = inheriting_thread(self._live, "spark3r-depth-images")
        self._thread.start()

    def of(self, frame: Frame, size: tuple[int, int]) -> SensorDepth | None:
        """What is ready now, of this frame or an earlier one; never waits."""
        self._frames.append((frame.frame_id, frame.captured_ns, size))
        try:
            return self._ready.popleft()
        except IndexError:
            return None

    def close(self) -> None:
        """And say what it was good for."""
        self._closed.set()
        self._thread.join(CLOSING_S)
        log.info("depth images: %d used, %d soon after another, %d of no frame", self.used, self.spared, self.unmatched)
        if self.refused:
            log.warning("depth images: %d could not be used", self.refused)

    def _live(self) -> None:
        try:
            while not self._closed.is_set():
                if self._socket.wait_readable(time.monotonic() + POLL_S):
                    self._receive()
                self._match()
        except Exception as error:  # the run goes on without
            log.error("%s: depth images are not received any more: %s", cleaned(self._endpoint), cleaned(error))
        finally:
            self._socket.close()

    def _receive(self) -> None:
        try:
            message = parsed(self._socket.receive())
        except ValueError as error:
            self._refuse(error)
            return
        self._waiting.append((time.monotonic() + LONGEST_WAIT_S, message))
        self._waiting_bytes += len(message.png)
        while self._waiting_bytes > MAX_WAITING_BYTES or len(self._waiting) > WAITING_MESSAGES:
            self._next_waiting()
            self.unmatched += 1

    def _match(self) -> None:
        """Find the frames of images, the oldest image first, and unpack those that are used."""
        while self._frames:
            frame_id, captured_ns, self._size = self._frames.popleft()
            self._nearest.add(frame_id, captured_ns)
        while self._waiting and not self._closed.is_set():
            until_s, message = self._waiting[0]
            time_ns = message.time_ns + self._offset_ns
            if self._nearest.is_to_come(time_ns) and time.monotonic() < until_s:
                return
            self._next_waiting()
            found = self._nearest.of(time_ns)
            if found is None:
                self.unmatched += 1
            elif self._is_soon(time_ns) or found == self._last_frame:
                self.spared += 1
            else:
                self._unpack(message, found, time_ns)

    def _is_soon(self, time_ns: int) -> bool:
        return self._last_ns is not None and abs(time_ns - self._last_ns) < LEAST_APART_NS

    def _unpack(self, message: DepthMessage, frame_id: int, time_ns: int) -> None:
        try:
            if not has_shape_of(self._size, message.width, message.height):
                raise ValueError(
                    f"{message.width}x{message.height} pixels, pictures have {self._size[0]}x{self._size[1]}: depth has"
                    " to be registered to the picture"
                )
            depth_m = unpacked(message, self._steps)
        except ValueError as error:
            self._refuse(error)
            return
        self._last_ns, self._last_frame = time_ns, frame_id
        self._ready.append(SensorDepth(frame_id, depth_m))
        self.used += 1

    def _next_waiting(self) -> None:
        _, message = self._waiting.popleft()
        self._waiting_bytes -= len(message.png)

    def _refuse(self, error: ValueError) -> None:
        self.refused += 1
        if self.refused == 1:
            log.warning("%s: %s; expected %s", cleaned(self._endpoint), cleaned(error), EXPECTED)
