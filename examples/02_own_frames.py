"""Give the mapper pictures that this program has itself: here of a video, by PyAV; a camera's driver does as well.

python examples/02_own_frames.py video.mp4
"""

import sys

import av

import spark3r_stream

with spark3r_stream.Mapper() as mapper, av.open(sys.argv[1]) as video:
    for picture in video.decode(video=0):
        result = mapper.process(picture.to_ndarray(format="rgb24"), picture.time)
        print(result.frame_id, result.state.name, result.confidence)
    final = mapper.finish()  # all keyframes adjusted together once more

print(f"{len(final.points)} points, {len(final.time_s)} cameras")
