"""A COLMAP model, text and binary: sparse/0/{cameras,images,points3D}.{txt,bin} and images/.

Formats: https://colmap.github.io/format.html. COLMAP's pixel centres lie at integer + 0.5 and its axes are OpenCV's, as
here. Every feature of a keyframe is listed, those without a point as well; the world is the map.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import Array
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel

CAMERA_ID = 1
NO_POINT = 2**64 - 1
MODEL_IDS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1}


@dataclass(frozen=True)
class _Image:
    """camera_from_world as a quaternion w x y z and a translation. places: (N, 2); points: (N,) ids, -1 for none."""

    number: int
    name: str
    quat_wxyz: Array
    translation: Array
    places: Array
    points: list[int]


def write_colmap(model: ExportModel, folder: ExportFolder) -> None:
    """Raises OutputError if a picture is missing or the disk refuses."""
    images = _images(model, model.write_pictures(folder))
    kind, parameters = _camera(model)
    height, width = model.world.picture_hw
    numbers = " ".join(f"{value:.17g}" for value in parameters)
    folder.write("sparse/0/cameras.txt", f"# 1 camera\n{CAMERA_ID} {kind} {width} {height} {numbers}\n")
    folder.write("sparse/0/images.txt", "".join(_image_text(image) for image in images))
    folder.write("sparse/0/points3D.txt", _points_text(model))
    camera = struct.pack("<QIiQQ", 1, CAMERA_ID, MODEL_IDS[kind], width, height)
    folder.write("sparse/0/cameras.bin", camera + np.asarray(parameters, "<f8").tobytes())
    folder.write(
        "sparse/0/images.bin", struct.pack("<Q", len(images)) + b"".join(_image_bytes(image) for image in images)
    )
    folder.write("sparse/0/points3D.bin", _points_bytes(model))


def _camera(model: ExportModel) -> tuple[str, list[float]]:
    """Square pixels have one focal length, so that an adjustment of the model keeps them square."""
    k = model.camera
    if k[0, 0] == k[1, 1]:
        return "SIMPLE_PINHOLE", [k[0, 0], k[0, 2], k[1, 2]]
    return "PINHOLE", [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]


def _images(model: ExportModel, names: list[str]) -> list[_Image]:
    points, images = model.points, []
    for slot, keyframe in enumerate(model.keyframes):
        ids = np.full(len(keyframe.features), -1, np.int64)
        mine = points.slot == slot
        ids[points.feature[mine]] = points.point[mine] + 1
        translation, (x, y, z, w) = se3.to_quat_xyzw(se3.invert(keyframe.world_from_camera))
        images.append(
            _Image(
                slot + 1,
                names[slot],
                np.array([w, x, y, z]),
                translation,
                keyframe.features.places.astype(np.float64),
                ids.tolist(),
            )
        )
    return images


def _image_text(image: _Image) -> str:
    pose = " ".join(f"{value:.17g}" for value in (*image.quat_wxyz, *image.translation))
    seen = " ".join(
        f"{x:.9g} {y:.9g} {point}" for (x, y), point in zip(image.places.tolist(), image.points, strict=True)
    )
    return f"{image.number} {pose} {CAMERA_ID} {image.name}\n{seen}\n"


def _image_bytes(image: _Image) -> bytes:
    head = struct.pack("<I7dI", image.number, *image.quat_wxyz, *image.translation, CAMERA_ID)
    table = np.empty(len(image.points), [("place", "<f8", 2), ("point", "<u8")])
    table["place"] = image.places
    table["point"] = [NO_POINT if point < 0 else point for point in image.points]
    return head + image.name.encode() + b"\0" + struct.pack("<Q", len(table)) + table.tobytes()


def _tracks(model: ExportModel) -> list[list[tuple[int, int]]]:
    """Of each point, the images and which of their features."""
    points = model.points
    tracks: list[list[tuple[int, int]]] = [[] for _ in range(len(points))]
    for point, slot, feature in zip(points.point.tolist(), points.slot.tolist(), points.feature.tolist(), strict=True):
        tracks[point].append((slot + 1, feature))
    return tracks


def _points_text(model: ExportModel) -> str:
    points, lines = model.points, []
    for number, (place, colour, error, track) in enumerate(
        zip(points.places, model.point_colours.tolist(), points.error.tolist(), _tracks(model), strict=True), 1
    ):
        xyz = " ".join(f"{value:.17g}" for value in place)
        seen = " ".join(f"{image} {feature}" for image, feature in track)
        lines.append(f"{number} {xyz} {colour[0]} {colour[1]} {colour[2]} {error:.9g} {seen}\n")
    return "".join(lines)


def _points_bytes(model: ExportModel) -> bytes:
    points = model.points
    parts = [struct.pack("<Q", len(points))]
    for number, (place, colour, error, track) in enumerate(
        zip(points.places, model.point_colours.tolist(), points.error.tolist(), _tracks(model), strict=True), 1
    ):
        parts.append(struct.pack("<Q3d3BdQ", number, *place, *colour, error, len(track)))
        parts.append(np.asarray(track, "<u4").tobytes())
    return b"".join(parts)
