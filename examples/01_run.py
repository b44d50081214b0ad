"""Reconstruct a video and print where the camera was; at the end, keep the map.

python examples/01_run.py video.mp4 map.npz
"""

import sys

import numpy as np

import spark3r_stream

run = spark3r_stream.run(sys.argv[1])
for result in run:
    if result.world_from_camera is None:
        print(result.frame_id, "no pose:", result.failure)
        continue
    x, y, z = result.world_from_camera[:3, 3]  # model units, in the map
    print(f"{result.frame_id} {result.time_s:.3f} s {result.state.name} at {x:+.3f} {y:+.3f} {z:+.3f}")
    for keyframe in result.keyframes:
        print(f"  keyframe {keyframe.frame_id}: depth {np.median(keyframe.depth):.2f}, {len(keyframe.points)} points")

final = run.map()
np.savez(sys.argv[2], points=final.points, colours=final.colours, world_from_camera=final.world_from_camera)
print(f"{len(final.points)} points and {len(final.time_s)} cameras in {sys.argv[2]}")
