"""A source decoded in a child process that is watched: killed when it stalls and, for live streams, started again."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from spark3r_stream.clock import Clock
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.packets import PacketHook
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState, SourceStateBox
from spark3r_stream.sources.decoder_process import DecoderProcess, DecodeTarget, Finished, Opened, Picture, Ready
from spark3r_stream.sources.options import ReconnectOptions
from spark3r_stream.sources.redact import redact_text, redact_uri
from spark3r_stream.sources.restart import RestartBudget
from spark3r_stream.stats import DropCounter

# Starting Python and loading FFmpeg takes about a second, and many times that on a busy small machine.
START_TIMEOUT_S = 60.0
# FFmpeg's own timeouts come first and say more; ours is for a child that is stuck.
KILL_GRACE_S = 2.0


@dataclass(frozen=True)
class Lost:
    """Why a run of a live source ended, in words without credentials."""

    reason: str


class SupervisedSource:
    """A camera or stream (live), or a file behind a URL (finite), in a child process.

    Live: frames carry the Unix time at which they were decoded; a stall of `read_timeout_s`, an error or the end of the
    stream opens it again within the restart budget, with epoch + 1; frame ids go on. Finite: every frame, times as in a
    file, and no second attempt. The first frame is awaited on construction. Raises SourceError when it does not come.
    """

    def __init__(
        self,
        uri: str,
        kind: SourceKind,
        target: DecodeTarget,
        clock: Clock,
        *,
        is_live: bool,
        reconnect: ReconnectOptions,
        on_packet: PacketHook | None,
    ) -> None:
        self.drops = DropCounter()
        self.restarts = 0
        self._uri, self._name = uri, redact_uri(uri)
        self._target, self._clock, self._is_live, self._on_packet = target, clock, is_live, on_packet
        self._budget = RestartBudget(reconnect)
        self._state = SourceStateBox()
        self._closed = threading.Event()
        self._child_lock = threading.Lock()
        self._child: DecoderProcess | None = None
        self._failure: SourceError | None = None
        self._epoch = 0
        self._next_id = 0
        try:
            first = self._start()
        except BaseException:  # Ctrl-C while waiting for a camera must not leave a child behind
            self._end_child()
            raise
        if isinstance(first, Lost):
            self._state.finish(SourceState.FAILED)
            self._end_child()
            raise SourceError(f"{self._name} cannot be opened: {first.reason}")
        self._first: Picture | None = first
        height, width = first.image.shape[:2]
        self._info = SourceInfo(
            kind=kind,
            name=self._name,
            is_live=is_live,
            size=(width, height),
            nominal_fps=self._opened.nominal_fps,
            frame_count=None if is_live else self._opened.frame_count,
        )
        self._state.to(SourceState.STREAMING)

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def state(self) -> SourceState:
        return self._state.state

    @property
    def decoder_pid(self) -> int | None:
        """Process id of the decoding child, for watchdogs and tests; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def read(self) -> Frame:
        """The next frame. Raises EndOfStream after `close` (or the end of a finite source), SourceError when a finite
        source breaks or the restart budget of a live one is spent."""
        while True:
            if self._failure is not None:
                raise self._failure
            picture = self._next_picture()
            if self._closed.is_set():
                raise EndOfStream(f"{self._name} was closed")
            if isinstance(picture, Picture):
                self._budget.succeeded()
                return self._frame(picture)
            if not self._is_live:
                self._end_child()
                raise self._fail(f"{self._name}: {picture.reason}")
            self._first = self._reconnect(picture)

    def close(self) -> None:
        self._closed.set()
        self._state.finish(SourceState.ENDED)
        self._end_child()

    def _frame(self, picture: Picture) -> Frame:
        pts_ns = picture.pts_ns
        captured_ns = self._clock.unix_at(picture.captured_monotonic_ns) if self._is_live else pts_ns
        frame = Frame(picture.image, self._next_id, self._epoch, captured_ns, pts_ns, self._name, picture.number)
        self._next_id += 1
        return frame

    def _next_picture(self) -> Picture | Lost:
        if self._first is not None:
            picture, self._first = self._first, None
            return picture
        quiet_s = self._target.read_timeout_s
        for patience_s, then in ((quiet_s / 2, SourceState.STALLED), (quiet_s / 2 + KILL_GRACE_S, None)):
            event = self._next_event(patience_s)
            if isinstance(event, Picture):
                self._move_to(SourceState.STREAMING)
                return event
            if isinstance(event, Finished):
                if event.error is None and not self._is_live:
                    self._state.finish(SourceState.ENDED)
                    self._end_child()
                    raise EndOfStream(f"{self._name} has ended")
                return Lost(self._clean(event.error or "the stream ended"))
            if then is not None and self._is_live:
                self._move_to(then)
        return Lost(f"no frame for {quiet_s:g} s")

    def _reconnect(self, lost: Lost) -> Picture | None:
        """Start again until a first frame comes. None when closed meanwhile; SourceError when the budget is spent."""
        self._end_child()
        while not self._closed.is_set():
            self._move_to(SourceState.RECONNECTING)
            delay_s = self._budget.next_delay_s(self._clock.monotonic_ns())
            if delay_s is None:
                raise self._fail(f"{self._name} was lost and {self.restarts} restarts did not help: {lost.reason}")
            if self._clock.wait(self._closed, delay_s):
                return None
            self.restarts += 1
            first = self._start()
            if isinstance(first, Picture):
                self._epoch += 1
                self._move_to(SourceState.STREAMING)
                return first
            lost = first
            self._end_child()
        return None

    def _start(self) -> Picture | Lost:
        """Start a child for the next epoch and wait for its first picture."""
        epoch = 0 if self._state.state is SourceState.OPENING else self._epoch + 1
        with self._child_lock:
            if self._closed.is_set():
                return Lost("closed")
            self._child = DecoderProcess(self._target, epoch, self._on_packet)
        self._opened = Opened(None, None)
        timeouts_s = {
            DecoderProcess: (START_TIMEOUT_S, "the decoding process did not start"),
            Ready: (self._target.open_timeout_s + KILL_GRACE_S, f"no answer for {self._target.open_timeout_s:g} s"),
            Opened: (self._target.open_timeout_s + KILL_GRACE_S, "connected, but no frame came"),
        }
        stage: type = DecoderProcess
        while True:
            timeout_s, late = timeouts_s[stage]
            event = self._next_event(timeout_s)
            if event is None:
                return Lost(late)
            if isinstance(event, Finished):
                return Lost(self._clean(event.error or "it ended before the first frame"))
            if isinstance(event, Picture):
                return event
            if isinstance(event, Opened):
                self._opened = event
            stage = type(event)

    def _next_event(self, timeout_s: float) -> Ready | Opened | Picture | Finished | None:
        child = self._child
        if child is None:
            return Finished("closed", {})
        event = child.next(timeout_s)
        if isinstance(event, (Picture, Finished)):
            self.drops.add_all(event.drops)
        return event

    def _fail(self, text: str) -> SourceError:
        self._state.finish(SourceState.FAILED)
        self._failure = SourceError(text)
        return self._failure

    def _end_child(self) -> None:
        with self._child_lock:
            child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _move_to(self, state: SourceState) -> None:
        """A state change of a running source; `close` may have ended it in this very moment: it stays ended."""
        with contextlib.suppress(RuntimeError):
            self._state.to(state)

    def _clean(self, text: str) -> str:
        return redact_text(" ".join(text.split()), self._uri)
