"""Result files behind the engine's back: a queue and a thread, so that a growing map never holds up the network.

Merging a frame into a map of millions of points takes some ten milliseconds, and now and then, when the map is made
coarser or written out, a second. A file is lossless: its engine waits when the queue is full. A live stream goes on:
frames beyond the queue keep their poses and leave their points and depth out, and are counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from spark3r_stream.camera_name import inheriting_thread
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.errors import OutputError
from spark3r_stream.frame import Frame
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput, MapCorrection, PathCorrection

MAX_WAITING = 16  # frames; each holds its image and maps
MAX_WAITING_POSES = 4096  # frames of which only the pose waits; reached when a disk hangs for minutes
_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)
_NICENESS = 5  # below the network's threads: the files take what these leave idle


class _Job(NamedTuple):
    output: FrameOutput | None
    image: np.ndarray
    confidence: np.ndarray | None
    is_whole: bool
    keyframe: KeyframeOutput | None = None
    correction: MapCorrection | None = None
    is_refined: bool = False
    retracked: tuple[PathCorrection, ...] = ()


class FilesSink:
    """Result files of a run, see `outputs.result_writer`. `close` it before its writer.

    lossless: wait when `max_waiting` frames are in the queue; otherwise leave out what does not fit.
    on_error: gets the writer's OutputError (a full disk), once, from the engine's thread; windows after it are counted
    as not written. Without it, and for any other error, it is raised by every later `window`, or by `close` if there
    was none.
    """

    def __init__(
        self,
        writer: ResultWriter,
        lossless: bool,
        max_waiting: int = MAX_WAITING,
        on_error: Callable[[OutputError], None] | None = None,
    ) -> None:
        self._on_error = on_error
        self._writer = writer
        self._lossless = lossless
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._told = False
        self._ending = False
        self._poses_only = 0
        self._lost = 0
        self._thread = inheriting_thread(self._run, "spark3r-files")
        self._thread.start()

    @property
    def counts(self) -> dict[str, int]:
        """What a live stream was too fast for: frames whose pose alone was written, and frames not written at all."""
        with self._changed:
            return {"frames_without_points": self._poses_only, "frames_not_written": self._lost}

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        by_id = {frame.frame_id: frame for frame in frames}
        for correction in result.corrections:
            self._put(_Job(None, _NO_IMAGE, None, False, None, correction))
        for keyframe in result.keyframes:
            self._put(_Job(None, _NO_IMAGE, None, True, keyframe))
        for keyframe in result.refined:
            self._put(_Job(None, _NO_IMAGE, None, True, keyframe, is_refined=True))
        if result.retracked:
            self._put(_Job(None, _NO_IMAGE, None, False, retracked=tuple(result.retracked)))
        for output in result.outputs:
            frame_id = output.result.frame_id
            is_whole = output.depth is not None or output.points is not None
            self._put(_Job(output, by_id[frame_id].image, result.confidence.get(frame_id), is_whole))

    def close(self) -> None:
        """Write what waits and end the thread. Idempotent."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()
        if not self._told:
            self._raise()

    def _put(self, job: _Job) -> None:
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: len(self._jobs) < self._max_waiting or self._error is not None)
            elif len(self._jobs) >= MAX_WAITING_POSES:
                self._lost += 1
                return
            elif job.is_whole and sum(waiting.is_whole for waiting in self._jobs) >= self._max_waiting:
                self._poses_only += 1
                if job.output is None:
                    return
                bare = replace(job.output, depth=None, points=None, colours=None, point_confidence=None)
                job = _Job(bare, _NO_IMAGE, None, False)
            if self._error is None:
                self._jobs.append(job)
                self._changed.notify_all()
            elif job.output is not None:
                self._lost += 1
        self._raise()

    def _run(self) -> None:
        if sys.platform.startswith("linux"):  # elsewhere it would be the whole process
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ending)
                if not self._jobs:
                    return
                job = self._jobs[0]  # stays counted until it is written
            try:
                self._write(job)
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._lost += sum(waiting.output is not None for waiting in self._jobs)
                    self._jobs.clear()
                    self._changed.notify_all()
                return
            with self._changed:
                self._jobs.popleft()
                self._changed.notify_all()

    def _write(self, job: _Job) -> None:
        if job.correction is not None:
            self._writer.correct(job.correction)
        elif job.keyframe is not None and job.is_refined:
            self._writer.refine_keyframe(job.keyframe)
        elif job.keyframe is not None:
            self._writer.add_keyframe(job.keyframe)
        elif job.retracked:
            for one in job.retracked:
                self._writer.retrack(one.frame_id, one.submap_from_camera)
        elif job.output is not None:
            self._writer.add(job.output, job.image, job.confidence)

    def _raise(self) -> None:
        if self._error is None:
            return
        was_told, self._told = self._told, True
        if self._on_error is None or not isinstance(self._error, OutputError):
            raise self._error
        if not was_told:
            self._on_error(self._error)
