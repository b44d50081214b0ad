"""Maps as pictures: the fused surface before and after depth is read off several views, one row each.

    python tools/draw_surfaces.py room.s3rmap loop.s3rmap --out out/surfaces.png
    python tools/draw_surfaces.py kitchen.s3rmap --clay --out out/kitchen.png       # by shape alone, without colours

"before" is the network's depth, bent through the sparse points, without the least trusted tenth; both are fused alike
and seen from one place, over the shoulder of the keyframe in the middle.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.geometry.pointmap import confident
from spark3r_stream.export.mesh import posed_depths
from spark3r_stream.export.model import ExportModel
from spark3r_stream.map.surface import Mesh, PosedDepth, fused, usable_depth
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.viewer.scene_geometry import Viewpoint, behind

SIZE_HW = (480, 640)
FOV_DEG = 50.0
BACKGROUND = (24, 19, 17)  # BGR
SMOOTHED = 2  # times
LEFT_OUT = 0.1  # of the network's pixels, the least trusted


def main() -> None:
    args = parse_arguments()
    rows = []
    for path in args.maps:
        model = ExportModel(read_map(path).world)
        before, after = (fused(depths, args.field_bytes) for depths in (network_depths(model), posed_depths(model)))
        middle = model.keyframes[round(args.at * (len(model.keyframes) - 1))].world_from_camera
        size = float(np.linalg.norm(np.ptp(np.quantile(after.vertices, [0.02, 0.98], axis=0), axis=0)))
        view = behind(middle, size, -middle[:3, 1])
        rows.append(np.hstack([drawn(mesh, view, args.clay) for mesh in (before, after)]))
        triangles = f"{len(before.triangles):,} triangles before, {len(after.triangles):,} after"
        print(f"{path.name}: {len(model.keyframes)} keyframes, {triangles}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def network_depths(model: ExportModel) -> list[PosedDepth]:
    """The map's own depth, at the network's size."""
    posed = []
    for keyframe, picture in zip(model.keyframes, model.pictures, strict=True):
        height, width = keyframe.depth.shape
        sure = confident(keyframe.confidence, LEFT_OUT).astype(np.float32)
        image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        depth = usable_depth(keyframe.depth, sure)
        posed.append(
            PosedDepth(depth, np.asarray(image, np.uint8), keyframe.depth_intrinsics, keyframe.map_from_keyframe)
        )
    return posed


def drawn(mesh: Mesh, view: Viewpoint, clay: bool) -> NDArray[np.uint8]:
    """(h, w, 3) BGR; nothing of its back is seen through the front."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh.vertices, mesh.triangles.astype(np.uint32))
    rays = open3d.t.geometry.RaycastingScene.create_rays_pinhole(
        FOV_DEG, np.asarray(view.target), np.asarray(view.eye), -np.asarray(view.up), SIZE_HW[1], SIZE_HW[0]
    )
    hit = scene.cast_rays(rays)
    seen = np.isfinite(hit["t_hit"].numpy())
    triangle = np.where(seen, hit["primitive_ids"].numpy(), 0).astype(np.int64)
    u, v = np.moveaxis(hit["primitive_uvs"].numpy(), -1, 0)
    corners, shares = mesh.triangles[triangle], np.stack([1 - u - v, u, v], -1)[..., None]
    normal, towards = (normals_of(mesh)[corners] * shares).sum(-2), rays.numpy()[..., 3:]
    lengths = np.linalg.norm(normal, axis=-1) * np.linalg.norm(towards, axis=-1)
    facing = np.abs((normal * towards).sum(-1)) / np.maximum(lengths, 1e-12)
    colours = 225.0 if clay else (mesh.colours[corners][..., ::-1] * shares).sum(-2)
    light = 0.15 + 0.85 * facing if clay else 0.8 + 0.2 * facing
    lit = np.clip(colours * light[..., None], 0, 255)
    return np.where(seen[..., None], lit, BACKGROUND).astype(np.uint8)


def normals_of(mesh: Mesh) -> NDArray[np.float64]:
    """(N, 3) of vertices, from the triangles around them, smoothed over their neighbours; of any length."""
    corners = mesh.vertices[mesh.triangles].astype(np.float64)
    normals = np.zeros((len(mesh.vertices), 3))
    each = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for _ in range(SMOOTHED):
        for corner in range(3):
            np.add.at(normals, mesh.triangles[:, corner], each)
        each = normals[mesh.triangles].sum(1)
        each /= np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
    return normals


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", nargs="+", type=Path, help="map files of run --map")
    parser.add_argument("--out", type=Path, required=True, help="PNG")
    parser.add_argument("--at", type=float, default=0.5, help="of the keyframes, the one that it is seen from")
    parser.add_argument("--clay", action="store_true", help="by shape alone")
    parser.add_argument("--field-bytes", type=int, default=1 << 29, help="while a surface is made")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
