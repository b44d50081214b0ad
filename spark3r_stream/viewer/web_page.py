"""The page in the browser: every call of viser is here. What to show is decided in drawing.py and panel.py.

viser serves one HTML file of its own, which asks nobody else for anything, and a WebSocket. All open pages show the
same scene with the same settings; where each looks from is its own affair.
"""

from __future__ import annotations

import contextlib
import io
import queue
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.viewer.availability import import_viser
from spark3r_stream.viewer.drawing import Changes, SlotCloud
from spark3r_stream.viewer.scene_geometry import Viewpoint, vertical_view
from spark3r_stream.wire.messages import CameraView

DEFAULT_POINTS = 500_000
_MOST_POINTS = 2_000_000
_PATH_COLOUR, _CAMERA_COLOUR, _KEYFRAME_COLOUR = (255, 176, 46), (84, 214, 120), (96, 150, 220)
_BACKGROUND = (17, 19, 24)
_POINT_SHARE = 1 / 700  # edge of a point over the scene's size, at least
_PICTURE_QUALITY = 85  # of the JPEG
_SAME_PLACE = 1e-3  # of the scene's size: a page reports its view in another precision


class Settings(NamedTuple):
    """What the user chose on any page. hidden_share: of the points, the least trusted; most_points: to be kept."""

    follow: bool
    paused: bool
    hidden_share: float
    most_points: int


class WebPage:
    """Serves on `address` (host, port; 0: any free one) from construction to `close`. Not safe for several threads."""

    def __init__(self, address: tuple[str, int], title: str) -> None:
        viser = import_viser()

        class Server(viser.ViserServer):  # type: ignore[name-defined, misc]
            def request_share_url(self, verbose: bool = True) -> None:
                """viser would pass the whole scene to a server on the internet when a page asks for it."""

        with _silent():  # a box with an address that is not the one to open
            self._server: Any = Server(host=address[0], port=address[1], label=title, verbose=False)
        self._slots: dict[int, Any] = {}  # nodes
        self._places: dict[int, Sim3] = {}
        self._spacing: dict[int, float] = {}
        self._lines: dict[str, Any] = {}
        self._shown = {"/path": True, "/keyframes": True}
        self._surface: Any = None
        self._has_camera = self._has_keyframe = False
        self._drawn_sizes: tuple[float, float] | None = None  # what the user chose, and of the scene
        self._placed: dict[int, NDArray[np.float64]] = {}  # by page, where its view was put last
        self._resets: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._scene_size = 1.0
        self._build_scene()
        self._build_panel()

    @property
    def port(self) -> int:
        return int(self._server.get_port())

    @property
    def viewers(self) -> int:
        """Pages that are open."""
        return len(self._server.get_clients())

    @property
    def settings(self) -> Settings:
        return Settings(
            bool(self._follow.value), bool(self._paused.value), self._hidden.value / 100, 1000 * int(self._budget.value)
        )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is changed inside is shown at once."""
        with self._server.atomic():
            yield

    def apply(self, changes: Changes) -> None:
        for number in changes.emptied:
            self._slots.pop(number).remove()
        self._places.update(changes.places)
        for cloud in changes.clouds:
            self._draw_cloud(cloud)
        drawn = {cloud.slot for cloud in changes.clouds}
        for slot, place in changes.places:
            if slot not in drawn:
                _put(self._slots[slot], place)
                self._slots[slot].scale = place.scale
        if changes.path is not None:
            self._draw_lines("/path", changes.path, _PATH_COLOUR, 2.5)
        if changes.keyframes is not None:
            self._draw_lines("/keyframes", changes.keyframes, _KEYFRAME_COLOUR, 1.0)

    def apply_settings(self) -> None:
        """What the user chose to see, and how large; nothing is sent where nothing changed."""
        self._map.visible = self._show_points.value
        if self._surface is not None:
            self._surface.visible = self._show_surface.value
        self._shown["/path"] = self._show_path.value
        self._shown["/keyframes"] = self._show_keyframes.value
        for name, node in self._lines.items():
            node.visible = self._shown[name]
        self._camera.visible = self._show_camera.value and self._has_camera
        self._keyframe.visible = self._show_keyframes.value and self._has_keyframe
        wanted = (float(self._size.value), self._scene_size)
        if self._drawn_sizes != wanted:
            self._drawn_sizes = wanted
            for slot, node in self._slots.items():
                node.point_size = self._point_size(slot)

    def show_surface(self, glb: bytes) -> None:
        """A mesh in glTF's axes, in place of the points; both can be chosen from then on."""
        self._surface = self._server.scene.add_glb(
            "/surface", glb, wxyz=(0.0, 1.0, 0.0, 0.0), cast_shadow=False, receive_shadow=False
        )  # half a turn about x: y down again
        self._show_surface.visible, self._show_surface.value, self._show_points.value = True, True, False

    def show_camera(self, world_from_camera: NDArray[np.float64] | None, camera: CameraView | None) -> None:
        """Put the frustum of the newest frame; None: there is none yet."""
        self._has_camera = world_from_camera is not None
        if world_from_camera is not None:
            self._camera.fov, self._camera.aspect = vertical_view(camera)
            _put(self._camera, Sim3(1.0, world_from_camera[:3, :3], world_from_camera[:3, 3]))

    def show_keyframe(self, world_from_camera: NDArray[np.float64] | None, camera: CameraView | None) -> None:
        """Put the frustum that has the picture; None: there is none yet."""
        self._has_keyframe = self._picture.visible = world_from_camera is not None
        if world_from_camera is not None:
            self._keyframe.fov, self._keyframe.aspect = vertical_view(camera)
            _put(self._keyframe, Sim3(1.0, world_from_camera[:3, :3], world_from_camera[:3, 3]))

    def show_picture(self, image: NDArray[np.uint8]) -> None:
        """Of the newest keyframe: in the panel, and in its frustum."""
        self._picture.image = image
        self._keyframe.image = image

    def show_text(self, panel: str, picture_label: str) -> None:
        self._text.content = panel
        self._picture.label = picture_label

    def set_scene_size(self, size: float) -> None:
        """A length of the map, by which points and frusta are scaled."""
        self._scene_size = size
        self._camera.scale = self._keyframe.scale = size / 16

    def begin_from(self, view: Viewpoint) -> None:
        """Where pages look from that are opened from now on."""
        initial = self._server.initial_camera
        initial.position, initial.look_at, initial.up = view.eye, view.target, view.up

    def look_from(self, view: Viewpoint, always: bool) -> None:
        """Put those pages that have not been moved since the last time (always: all) to `view`."""
        pages = self._server.get_clients()
        self._placed = {page: eye for page, eye in self._placed.items() if page in pages}
        for number, page in pages.items():
            placed = self._placed.get(number)
            untouched = placed is None or np.allclose(
                page.camera.position, placed, rtol=0, atol=_SAME_PLACE * self._scene_size
            )
            if always or untouched:
                self._look(number, page, view)

    def reset_views(self, view: Viewpoint) -> None:
        """Put the pages to `view` whose user asked for it."""
        with contextlib.suppress(queue.Empty):
            while True:
                number = self._resets.get_nowait()
                if (page := self._server.get_clients().get(number)) is not None:
                    self._look(number, page, view)

    def close(self) -> None:
        with _silent():
            self._server.stop()

    def _look(self, number: int, page: Any, view: Viewpoint) -> None:
        with page.atomic():
            page.camera.up_direction = view.up
            page.camera.position = view.eye
            page.camera.look_at = view.target
        self._placed[number] = view.eye

    def _point_size(self, slot: int) -> float:
        """In the map: closes the gaps between points of a fine cloud, and between those of one that was thinned."""
        fine, thinned = _POINT_SHARE * self._scene_size, self._spacing[slot] * self._places[slot].scale
        return float(self._size.value) * max(fine, thinned)

    def _draw_cloud(self, cloud: SlotCloud) -> None:
        place, self._spacing[cloud.slot] = self._places[cloud.slot], cloud.spacing
        self._slots[cloud.slot] = self._server.scene.add_point_cloud(  # of the same name: in the place of the old one
            f"/map/{cloud.slot:04d}",
            cloud.points,
            cloud.colours,
            point_size=self._point_size(cloud.slot),
            point_shape="rounded",
            point_shading="flat",
            precision="float32",
            scale=place.scale,
            wxyz=np.roll(place.quat_xyzw, 1),
            position=place.translation,
        )

    def _draw_lines(self, name: str, segments: NDArray, colour: tuple[int, int, int], pixels: float) -> None:
        if not len(segments):
            segments = np.zeros((1, 2, 3), np.float32)
        self._lines[name] = self._server.scene.add_line_segments(
            name, segments, colour, thickness=pixels, thickness_units="screen", visible=self._shown[name]
        )

    def _build_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction((0.0, -1.0, 0.0))  # OpenCV's y points down
        scene.set_background_image(np.full((1, 1, 3), _BACKGROUND, np.uint8), format="png")
        fov, aspect = vertical_view(None)
        self._map = scene.add_frame("/map", show_axes=False)
        self._camera = scene.add_camera_frustum("/camera", fov, aspect, **_frustum(_CAMERA_COLOUR, 2.5))
        self._keyframe = scene.add_camera_frustum("/newest_keyframe", fov, aspect, **_frustum(_KEYFRAME_COLOUR, 1.5))

    def _build_panel(self) -> None:
        gui = self._server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="large")
        gui.main_panel.dock_right()  # beside the scene, not over it
        self._text = gui.add_html("")
        self._picture = gui.add_image(
            np.zeros((3, 4, 3), np.uint8), label="Newest keyframe", jpeg_quality=_PICTURE_QUALITY, visible=False
        )
        self._follow = gui.add_checkbox("Follow camera", False, hint="Look over the camera's shoulder")
        self._paused = gui.add_checkbox(
            "Pause", False, hint="Hold the picture; nothing of the stream is lost meanwhile"
        )
        reset = gui.add_button("Reset view", hint="See the whole map from behind and above")
        with gui.add_folder("Points"):
            self._hidden = gui.add_slider("Hide least trusted, %", 0, 90, 5, 0)
            self._size = gui.add_slider("Point size", 0.25, 4.0, 0.25, 1.0)
            self._budget = gui.add_slider(
                "Budget, thousands", 50, _MOST_POINTS // 1000, 50, DEFAULT_POINTS // 1000,
                hint="The map is thinned evenly beyond; what was thinned does not come back",
            )  # fmt: skip
        with gui.add_folder("Show"):
            self._show_points = gui.add_checkbox("Points", True)
            self._show_surface = gui.add_checkbox("Surface", False, visible=False)
            self._show_camera = gui.add_checkbox("Camera", True)
            self._show_path = gui.add_checkbox("Path", True)
            self._show_keyframes = gui.add_checkbox("Keyframes", True)

        @reset.on_click
        def _(event: Any) -> None:
            if event.client_id is not None:
                self._resets.put(event.client_id)


def _frustum(colour: tuple[int, int, int], pixels: float) -> dict[str, Any]:
    return {
        "color": colour,
        "thickness": pixels,
        "thickness_units": "screen",
        "visible": False,
        "cast_shadow": False,
        "receive_shadow": False,
        "jpeg_quality": _PICTURE_QUALITY,
    }


def _put(node: Any, place: Sim3) -> None:
    node.wxyz, node.position = np.roll(place.quat_xyzw, 1), place.translation


def _silent() -> contextlib.AbstractContextManager[Any]:
    """viser greets and takes leave on standard output, which is ours."""
    return contextlib.redirect_stdout(io.StringIO())
