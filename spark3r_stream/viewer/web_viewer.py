"""The viewer: takes what a stream or a recording sends and keeps the page up to date, until it is told to stop."""

from __future__ import annotations

import threading
import time
from typing import Protocol, runtime_checkable

import numpy as np

from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.viewer.drawing import Drawing
from spark3r_stream.viewer.feed import MessageSource, SceneFeed
from spark3r_stream.viewer.panel import SILENT_S, Shown, panel_html, picture_label
from spark3r_stream.viewer.scene_geometry import Viewpoint, behind, eased, overview, scene_bounds
from spark3r_stream.viewer.web_page import DEFAULT_POINTS, WebPage

MAX_CLOUDS = 256  # nodes of the page: a browser draws each by itself, and keeps what each was before as well
MAX_POSES = 4000  # of the path, which is sent whole when it grows
_TICK_S = 1 / 15  # of the camera; messages are taken in the time between
_MAP_S = 0.3  # points and path
_TEXT_S = 0.5
_OVERVIEW_S = 1.0
_GROWTH = 1.3  # views step back, and points grow, when the scene has outgrown them by so much
_EASE = 0.25  # of the way to the camera that is followed, per tick


@runtime_checkable
class Playback(Protocol):
    """A source whose time can be held: a recording."""

    ended: bool

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class WebViewer:
    """One source on one page. source_name: shown in the panel. Raises what the source raises."""

    def __init__(self, source: MessageSource, page: WebPage, source_name: str) -> None:
        self.scene = SceneMap(DEFAULT_POINTS, MAX_POSES, MAX_CLOUDS)
        self.feed = SceneFeed(source, self.scene)
        self._source, self._page, self._name = source, page, source_name
        self._drawing = Drawing()
        self._due_s = {"map": 0.0, "text": 0.0, "overview": 0.0}
        self._size = 0.0  # of the scene, when views were last put
        self._overview: Viewpoint | None = None
        self._following: Viewpoint | None = None
        self._picture_drawn = -1
        self._watched_s = time.monotonic()

    def run(self, stop: threading.Event, unwatched_s: float | None = None) -> None:
        """Until `stop`. unwatched_s: also when the stream is over and no page was open for so long."""
        while not stop.is_set() and not self._is_abandoned(unwatched_s):
            started_s = time.monotonic()
            self.feed.take(_TICK_S, wait_s=_TICK_S)
            self.refresh()
            time.sleep(max(0.0, _TICK_S - (time.monotonic() - started_s)))  # a recording at its end does not wait

    def refresh(self) -> None:
        """Bring the page up to date, each part as often as it is worth."""
        settings = self._page.settings
        if settings.most_points != self.scene.max_points:
            self.scene.limit_points(settings.most_points)
        if isinstance(self._source, Playback):
            self._source.pause() if settings.paused else self._source.resume()
        # where a hostile publisher puts things beyond float32 they are drawn nowhere, without a warning
        with self._page.together(), np.errstate(over="ignore", invalid="ignore"):
            if self._overview is not None:
                self._page.reset_views(self._overview)
            if not settings.paused:
                if self._due("map", _MAP_S):
                    self._page.apply(self._drawing.update(self.scene, settings.hidden_share, self._size))
                if self._due("overview", _OVERVIEW_S):
                    self._look_at_all()
                self._show_cameras(settings.follow)
            if self._due("text", _TEXT_S):
                self._show_text(settings.paused)
            self._page.apply_settings()

    def _due(self, what: str, period_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due_s[what]:
            return False
        self._due_s[what] = now_s + period_s
        return True

    def _look_at_all(self) -> None:
        """Follow the growth of the map: pages that nobody moved see all of it."""
        sample, trajectory = self._drawing.sample(), self.scene.trajectory()
        if not len(sample):
            self._size = 0.0
            return
        self._overview = overview(sample, trajectory)
        self._page.begin_from(self._overview)
        size = scene_bounds(sample, trajectory)[1]
        if not self._size / _GROWTH <= size <= self._size * _GROWTH:
            self._size = size
            self._page.set_scene_size(size)
            self._page.look_from(self._overview, always=False)

    def _show_cameras(self, follow: bool) -> None:
        pose, picture = self.scene.newest_pose(), self.feed.picture
        self._page.show_camera(pose, self.scene.camera)
        if picture is None:
            self._page.show_keyframe(None, None)
        else:
            place = self.scene.map_from_submap(picture.submap)
            self._page.show_keyframe(place.apply_to_poses(picture.submap_from_camera), picture.camera)
            if picture.frame_id != self._picture_drawn:
                self._page.show_picture(picture.image)
        self._picture_drawn = -1 if picture is None else picture.frame_id
        if self._overview is None:
            return
        if follow and pose is not None:
            view = behind(pose, self._size, self._overview.up)
            self._following = view if self._following is None else eased(self._following, view, _EASE)
            self._page.look_from(self._following, always=True)
        elif self._following is not None:
            self._following = None
            self._page.look_from(self._overview, always=True)

    def _show_text(self, paused: bool) -> None:
        feed, source = self.feed, self._source
        shown = Shown(
            source=self._name,
            frame=feed.frame,
            status=feed.status,
            silent_s=self._silent_s(),
            ended=self._ended(),
            paused=paused,
            sessions=feed.sessions,
            points=len(self.scene),
            most_points=self.scene.max_points,
            poses=self.scene.num_poses,
            missed=sum(source.missed.values()) if isinstance(source, Subscriber) else 0,
        )
        newest_ns = None if feed.frame is None else feed.frame.captured_ns
        self._page.show_text(panel_html(shown), "" if feed.picture is None else picture_label(feed.picture, newest_ns))

    def _silent_s(self) -> float | None:
        """Since the last message; a file is never silent."""
        return self._source.age_s if isinstance(self._source, Subscriber) else 0.0

    def _ended(self) -> bool:
        return self.feed.ended or (isinstance(self._source, Playback) and self._source.ended)

    def _is_abandoned(self, unwatched_s: float | None) -> bool:
        now_s = time.monotonic()
        silent_s = self._silent_s()
        is_over = self._ended() or silent_s is None or silent_s > SILENT_S
        if self._page.viewers or not is_over:
            self._watched_s = now_s
        return unwatched_s is not None and now_s - self._watched_s > unwatched_s
