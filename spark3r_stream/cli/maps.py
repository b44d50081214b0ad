"""`spark3r map`: what is in a map file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import SavedMap
from spark3r_stream.plain_text import cleaned


def map_info_command(path: Path, as_json: bool) -> int:
    """Print what is in a map file."""
    info = map_info(read_map(path))
    if as_json:
        print(json.dumps(info))
        return 0
    size = path.stat().st_size
    camera, source = info["camera"], info["source"]
    width, height = info["picture_size"]
    print(f"{cleaned(path)}: {size / 2**20:.1f} MiB, {info['keyframes']} keyframes over {info['seconds']:.1f} s")
    print(f"  source: {cleaned(source['source_id'])} ({cleaned(source['source_kind'])}), model {source['model']}")
    how = "given" if camera["given"] else f"known to {camera['focal_std']:.1%}" if camera["focal_std"] else "a guess"
    print(f"  camera: {width}x{height}, focal length {camera['focal']:.1f} px ({how})")
    print(f"  {info['features']} features, {info['tracks']} tracks of {info['sightings']} sightings")
    metres = info["metres"]
    unit = "model units" if metres is None else "m"
    print(f"  {info['edges']} edges, path {info['path']:.3g} {unit}, {info['pictures']} pictures kept")
    if metres is not None:
        up = ", z up" if metres["z_up"] else ""
        print(f"  metres: ± {metres['relative_std']:.1%}, by {cleaned(metres['source'])}{up}")
    return 0


def map_info(saved: SavedMap) -> dict[str, Any]:
    """What is in a map, as plain values. seconds: from its first to its last keyframe. path: through its cameras, in
    metres where those are known."""
    world, metres = saved.placed(), saved.metres
    keyframes = [world.keyframes[frame_id] for frame_id in world.order]
    track, _, _ = world.tracks.seen_by(world.order, 2)
    centres = np.stack([keyframe.world_from_camera[:3, 3] for keyframe in keyframes])
    return {
        "keyframes": len(keyframes),
        "frame_ids": world.order,
        "seconds": keyframes[-1].time_s - keyframes[0].time_s,
        "path": float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()),
        "features": sum(len(keyframe.features) for keyframe in keyframes),
        "tracks": len(np.unique(track)),
        "sightings": len(track),
        "edges": len(world.edges),
        "pictures": sum(bool(keyframe.picture) for keyframe in keyframes),
        "picture_size": [world.picture_hw[1], world.picture_hw[0]],
        "memory_bytes": world.nbytes,
        "camera": {
            "focal": world.focal,
            "focal_std": world.focal_std if np.isfinite(world.focal_std) else None,
            "given": world.given_camera is not None,
        },
        "source": {name: value for name, value in vars(saved.facts).items() if name != "metres"},
        "metres": None
        if metres is None
        else {
            "metres_per_unit": metres.metres_from_map.scale,
            "relative_std": metres.std,
            "source": metres.source,
            "z_up": metres.z_up,
        },
    }
