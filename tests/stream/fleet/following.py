"""What a subscriber hears of a fleet, kept whole and checked for what must never be said."""

from __future__ import annotations

import threading
from collections import defaultdict

import numpy as np

from spark3r_core.geometry.alignment import umeyama
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import DEPTH, FRAME, MAP_CORRECTION, STATUS, Message
from spark3r_stream.wire.messages import (
    FrameResult,
    MapCorrection,
    MapCorrections,
    SessionState,
    Status,
    TrackingState,
)


class Following:
    """A subscriber in a thread, until the session is over or `stop`."""

    def __init__(self, endpoint: str) -> None:
        self.frames: dict[str, list[FrameResult]] = defaultdict(list)
        self.corrections: dict[int, list[MapCorrection]] = defaultdict(list)
        self.map_frame: dict[int, str] = {}  # of a submap
        self.keyframe_of: dict[int, set[tuple[str, int]]] = defaultdict(set)
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.last: Status | None = None
        self.stop = threading.Event()
        self.connected = threading.Event()
        self.missed = 0
        self._endpoint = endpoint
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float = 60.0) -> None:
        self._thread.join(timeout_s)

    def _follow(self) -> None:
        with Subscriber(self._endpoint, [FRAME, MAP_CORRECTION, DEPTH, STATUS]) as subscriber:
            while not self.stop.is_set() and self.last is None:
                message = subscriber.poll(0.25)
                if message is not None:
                    self.connected.set()
                    self._take(message)
            self.missed = sum(subscriber.missed.values())

    def _take(self, message: Message) -> None:
        camera, content = message.envelope.camera, decode(message)
        self.sequences[message.name].append(message.envelope.sequence)
        if isinstance(content, FrameResult):
            self.frames[camera].append(content)
        elif isinstance(content, MapCorrections):
            for one in content.corrections:
                self.corrections[one.submap].append(one)
                self.map_frame[one.submap] = content.map_frame
        elif isinstance(content, Status):
            if not camera and content.state in (SessionState.ENDED, SessionState.FAILED):
                self.last = content
        else:
            self.keyframe_of[message.envelope.submap].add((camera, message.envelope.frame_id))

    def check_numbers(self) -> None:
        """Nothing is numbered twice, nothing goes back, and a submap is one keyframe's for good."""
        for name, numbers in self.sequences.items():
            assert numbers == sorted(set(numbers)), name
        for camera, frames in self.frames.items():
            ids = [one.frame_id for one in frames]
            assert ids == sorted(set(ids)), camera
            epochs = [one.epoch for one in frames]
            assert epochs == sorted(epochs), camera
        for submap, said in self.corrections.items():
            revisions = [one.revision for one in said]
            assert revisions == sorted(set(revisions)), submap
        for submap, keyframes in self.keyframe_of.items():
            assert len(keyframes) == 1, f"submap {submap} is of {keyframes}"

    def error_of_path(self, uris: dict[str, str]) -> float:
        """RMS error of all cameras' tracked positions together, after one Sim(3), over the length of the shortest way.

        uris: of synthetic sources.
        """
        estimates, true, lengths = [], [], []
        for camera, uri in uris.items():
            truth = SyntheticSource(uri).ground_truth
            at = dict(zip(truth.pts_ns.tolist(), truth.world_from_camera[:, :3, 3], strict=True))
            lengths.append(np.linalg.norm(np.diff(truth.world_from_camera[:, :3, 3], axis=0), axis=1).sum())
            for frame in self.frames[camera]:
                if frame.state is TrackingState.TRACKING and frame.world_from_camera is not None:
                    lies = self.corrections[frame.submap][-1].map_from_submap
                    estimates.append(lies.apply_to_points(frame.world_from_camera[None, :3, 3])[0])
                    true.append(at[frame.pts_ns])
        estimate, truth_xyz = np.asarray(estimates), np.asarray(true)
        fit = umeyama(estimate, truth_xyz)
        off = np.linalg.norm(fit.apply_to_points(estimate) - truth_xyz, axis=1)
        return float(np.sqrt(np.mean(off**2)) / min(lengths))
