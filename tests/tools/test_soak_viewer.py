"""What the soak of the viewer sends, and when it complains."""

import uuid

from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import Cloud, FrameResult, MapCorrections
from tools.soak_viewer import FPS, REFINED_AFTER, SIZE, corrected, grown, lies, second_of_stream

SESSION = uuid.UUID(int=1)


def test_a_second_is_a_keyframe_its_frames_and_an_older_keyframe_again() -> None:
    scene, sealer = SceneMap(), Sealer(SESSION, lambda: 1)
    seen: dict[type, int] = {}
    for number in range(REFINED_AFTER + 1):
        for message in sealer.seal(second_of_stream(number)):
            content = decode(message)
            seen[type(content)] = seen.get(type(content), 0) + 1
            scene.add(content)
    assert seen[FrameResult] == (REFINED_AFTER + 1) * FPS
    assert seen[Cloud] == REFINED_AFTER + 2, "the first one twice"
    assert seen[MapCorrections] >= REFINED_AFTER + 1
    assert sorted(scene.cloud_versions) == list(range(REFINED_AFTER + 1))
    assert len(scene.submap_cloud(0).points) <= SIZE[0] * SIZE[1], "and not drawn twice"
    for correction in corrected(1, 2):
        assert scene.apply_correction(correction.submap, correction.map_from_submap, correction.revision)
    assert scene.map_from_submap(1).translation[1] != lies(1).translation[1]


def test_growth_from_two_thirds_to_the_end_is_a_failure() -> None:
    flat = [{"keyframes": index, "viewer_rss_bytes": 200_000_000} for index in range(9)]
    assert grown(flat) == []
    filling = [{**one, "viewer_rss_bytes": 100_000_000 * index} for index, one in enumerate(flat)]
    (failure,) = grown(filling)
    assert "viewer_rss_bytes grew from 600000000 to 800000000" in failure
