from __future__ import annotations

import itertools
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources import Pace, SourceKind, SourceOptions, SourceState, open_source
from spark3r_stream.sources.packet_decoder import PacketDecoder
from spark3r_stream.sources.upright import shown_size, turn_upright
from spark3r_stream.stats import DropCause
from tests.helpers import FakeClock
from tests.helpers_media import BLUE, GREEN, RED, WHITE, corners, moving_images, quadrants, write_video


def open_file(path, **options):
    return open_source(str(path), SourceOptions(**options), FakeClock())


def read_all(source) -> list:
    frames = []
    while True:
        try:
            frames.append(source.read())
        except EndOfStream:
            return frames


def test_every_frame_with_its_time_and_a_normal_end(tmp_path):
    source = open_file(write_video(tmp_path / "a.mp4", moving_images(20, 64, 48), fps=25))
    info = source.info
    assert (info.kind, info.is_live, info.size) == (SourceKind.VIDEO, False, (64, 48))
    assert (info.nominal_fps, info.frame_count, info.name) == (25.0, 20, str(tmp_path / "a.mp4"))
    assert source.state is SourceState.STREAMING
    frames = read_all(source)
    assert [f.frame_id for f in frames] == list(range(20))
    assert [f.pts_ns for f in frames] == [i * 40_000_000 for i in range(20)]
    assert all(f.captured_ns == f.pts_ns and f.epoch == 0 for f in frames)
    assert source.drops.total() == {}
    assert source.state is SourceState.ENDED
    with pytest.raises(EndOfStream):
        source.read()
    source.close()
    source.close()


@pytest.mark.parametrize("width", [33, 64])
def test_pixels_are_rgb_and_lossless_where_the_codec_is(tmp_path, width):
    images = moving_images(3, width, 101)
    source = open_file(write_video(tmp_path / "a.mkv", images, codec="ffv1", pix_fmt="bgr0"))
    for frame, image in zip(read_all(source), images, strict=True):
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        np.testing.assert_array_equal(frame.image, image)


UPRIGHT, LEFT, UPSIDE_DOWN, RIGHT, MIRRORED = (1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0), (-1, 0, 0, 1)


@pytest.mark.parametrize(
    ("turn", "size", "expected"),
    [
        (UPRIGHT, (64, 48), [RED, GREEN, BLUE, WHITE]),
        (LEFT, (48, 64), [GREEN, WHITE, RED, BLUE]),
        (UPSIDE_DOWN, (64, 48), [WHITE, BLUE, GREEN, RED]),
        (RIGHT, (48, 64), [BLUE, RED, WHITE, GREEN]),
        (MIRRORED, (64, 48), [GREEN, RED, WHITE, BLUE]),
    ],
)
def test_the_display_matrix_turns_phone_clips_upright(tmp_path, turn, size, expected):
    source = open_file(write_video(tmp_path / "a.mp4", [quadrants(64, 48)] * 2, turn=turn))
    assert source.info.size == size
    for frame in read_all(source):
        assert frame.image.shape == (size[1], size[0], 3)
        assert corners(frame.image) == expected


CASES = Path(__file__).parents[2] / "data" / "cases"


def test_pixels_that_are_not_square_are_stretched_to_the_shown_size():
    source = open_file(CASES / "sar43.mp4")
    assert source.info.size == (320, 240)
    shown = read_all(source)
    assert {f.image.shape for f in shown} == {(240, 320, 3)}
    square = read_all(open_file(CASES / "same_frames.mp4"))  # the same room, by a camera of square pixels
    assert all(a.image.shape == b.image.shape for a, b in zip(shown, square, strict=True))
    difference = np.abs(shown[0].image.astype(int) - square[0].image).mean()
    flipped = np.abs(shown[0].image[:, ::-1].astype(int) - square[0].image).mean()
    assert difference < flipped / 4


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [
        ((1, 1), (720, 576)),
        ((16, 15), (768, 576)),
        ((4, 3), (960, 576)),
        ((8, 9), (720, 648)),
        ((1000, 1), (720, 576)),
        ((1, 1000), (720, 576)),
    ],
)
def test_one_side_is_stretched_and_none_shrunk(aspect, expected):
    assert shown_size(720, 576, Fraction(*aspect)) == expected


def test_recorded_packets_know_the_shape_of_their_pixels():
    packets: list = []
    frames = read_all(open_file(CASES / "sar43.mp4", on_packet=packets.append, single_thread_decode=True))
    decoder = PacketDecoder(packets[0])
    images = [decoder.convert(p) for packet in (*packets, None) for _, p in decoder.decode(packet)]
    assert all(np.array_equal(image, frame.image) for image, frame in zip(images, frames, strict=True))


def test_display_matrices_form_the_eight_symmetries():
    # (p, q) -> (a p + c q, b p + d q): compare with where that formula sends a marked pixel
    image = np.zeros((4, 6, 3), np.uint8)
    image[1, 4] = 255
    one = 1 << 16
    for a, b, c, d in [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)] + [
        (0, 1, 1, 0),
        (0, -1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, -1, 0),
    ]:
        upright = turn_upright(image, (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30))
        x, y = a * 4 + c * 1, b * 4 + d * 1
        width, height = (6, 4) if a else (4, 6)
        x, y = x + (width - 1 if a + c < 0 else 0), y + (height - 1 if b + d < 0 else 0)
        assert upright.shape == (height, width, 3)
        assert np.argwhere(upright[..., 0]).tolist() == [[y, x]]


@pytest.mark.parametrize(("width", "height"), [(33, 1001), (1001, 33), (17, 17)])
def test_odd_sizes(tmp_path, width, height):
    path = write_video(tmp_path / "a.mkv", moving_images(2, width, height), codec="ffv1", pix_fmt="yuv444p")
    assert [f.image.shape for f in read_all(open_file(path))] == [(height, width, 3)] * 2


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "bgra", "yuv420p10le"])
def test_other_pixel_formats_become_rgb(tmp_path, pix_fmt):
    image = np.full((32, 32, 3), 128, np.uint8)
    frame = open_file(write_video(tmp_path / "a.mkv", [image], codec="ffv1", pix_fmt=pix_fmt)).read()
    assert frame.image.shape == (32, 32, 3)
    assert abs(frame.image.astype(int) - 128).max() <= 3


def test_one_frame(tmp_path):
    source = open_file(write_video(tmp_path / "a.mp4", moving_images(1, 64, 48)))
    assert [(f.frame_id, f.pts_ns) for f in read_all(source)] == [(0, 0)]


def test_size_change_and_clock_restart_in_mid_stream(tmp_path):
    first = write_video(tmp_path / "a.ts", moving_images(10, 64, 48))
    second = write_video(tmp_path / "b.ts", moving_images(10, 48, 96))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = read_all(open_file(joined))
    assert [f.image.shape[:2] for f in frames] == [(48, 64)] * 10 + [(96, 48)] * 10
    steps = np.diff([f.pts_ns for f in frames])
    assert abs(steps - 33_333_333).max() < 100_000


def test_gaps_in_time_are_kept(tmp_path):
    times = [0, 40, 80, 2080, 2120]
    path = write_video(tmp_path / "a.mkv", moving_images(5, 64, 48), pts_ms=times)
    assert [f.pts_ns // 1_000_000 for f in read_all(open_file(path))] == times


def test_a_truncated_file_gives_its_beginning(tmp_path):
    path = write_video(tmp_path / "a.ts", moving_images(60, 160, 120))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = read_all(open_file(path))
    assert 10 < len(frames) < 60


def test_damage_is_counted_and_does_not_stop_the_rest(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_images(40, 160, 120), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 2) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 40
    for start, following in itertools.pairwise(starts[5:16]):
        data[start : following - 8] = bytes(following - 8 - start)  # all of the packet, none of the next one's header
    path.write_bytes(data)
    source = open_file(path)
    frames = read_all(source)
    assert len(frames) == 30
    assert source.drops.total() == {DropCause.DECODE_ERROR: 10}
    assert frames[5].pts_ns == pytest.approx(15 * 33_333_333, abs=1000)


@pytest.mark.parametrize("codec", ["mjpeg", "libx264", "mpeg4"])
@pytest.mark.parametrize("single_thread", [False, True])
def test_half_a_picture_is_damage_and_not_a_frame(tmp_path, codec, single_thread):
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = write_video(tmp_path / "a.mkv", moving_images(20, 160, 120), codec=codec, pix_fmt=pixel_format, gop=1)
    halved = tmp_path / "b.mkv"
    with av.open(str(whole)) as read, av.open(str(halved), "w") as write:
        track = write.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(p for p in read.demux(video=0) if p.size):
            half = av.Packet(bytes(packet)[: packet.size // (2 if number in (7, 12) else 1)])
            half.pts, half.dts, half.time_base, half.stream = packet.pts, packet.dts, packet.time_base, track
            half.is_keyframe = True
            write.mux(half)
    source = open_file(halved, single_thread_decode=single_thread)
    frames = read_all(source)
    assert source.drops.total() == {DropCause.DECODE_ERROR: 2}
    assert [round(f.pts_ns * 30e-9) for f in frames] == [i for i in range(20) if i not in (7, 12)]


def test_a_file_that_ends_in_mid_picture_does_not_show_it(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_images(10, 160, 120), codec="huffyuv", pix_fmt="yuv422p")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, data.rindex(b"idx1")) + 5000])
    source = open_file(path)
    assert len(read_all(source)) == 9
    assert source.drops.total() == {DropCause.DECODE_ERROR: 1}


def test_nothing_but_damage_is_one_clear_error(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_images(5, 160, 120), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    for start in [i for i in range(len(data) - 2) if data[i : i + 3] == b"\xff\xd8\xff"]:
        data[start : start + 2000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.avi cannot be read as a video"):
        read_all(open_file(path))


def test_a_file_that_stays_broken_is_given_up(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_images(400, 32, 32), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 2) if data[i : i + 3] == b"\xff\xd8\xff"]
    for start, following in itertools.pairwise(starts[5:]):
        data[start : following - 8] = bytes(following - 8 - start)
    path.write_bytes(data)
    source = open_file(path)
    frames = [source.read() for _ in range(5)]
    with pytest.raises(SourceError, match=r"a\.avi: 300 errors in a row"):
        source.read()
    assert len(frames) == 5
    assert source.state is SourceState.FAILED


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
def test_random_damage_gives_frames_or_one_of_our_errors(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", moving_images(20, 64, 48))
    whole = path.read_bytes()
    for seed in range(15):
        rng = np.random.default_rng(seed)
        data = bytearray(whole[: rng.integers(len(whole) // 4, len(whole) + 1)])
        for start in rng.integers(0, len(data), rng.integers(0, 40)):
            data[start : start + 8] = rng.bytes(len(data[start : start + 8]))
        path.write_bytes(data)
        try:
            source = open_file(path)
            pts = [f.pts_ns for f in read_all(source)]
        except SourceError:
            continue
        assert pts == sorted(set(pts))


def _no_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def _only_sound(path):
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_text("not a video\n" * 50), "cannot be read as a video"),
        (lambda p: p.write_bytes(b""), "cannot be read as a video"),
        (lambda p: p.write_bytes(np.random.default_rng(0).bytes(50_000)), "cannot be read as a video"),
        (_no_video, "cannot be read as a video: it has no video stream"),
        (_only_sound, "cannot be read as a video: it has no video stream"),
    ],
    ids=["missing", "text", "empty", "noise", "no-frames", "sound"],
)
def test_what_is_no_video_is_one_line_that_names_the_file(tmp_path, make, expected):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(SourceError) as caught:
        open_file(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_look_like_protocols_or_patterns_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rtp:a.mkv", "take%03d.mkv", "-i.mkv"):
        path = write_video(tmp_path / "plain.mkv", moving_images(2, 32, 32)).rename(tmp_path / name)
        assert len(read_all(open_file(path.name))) == 2


def test_a_playlist_in_disguise_reaches_nothing_on_the_network(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError, match="cannot be read as a video"):
        open_file(path)


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(SourceError, match="holds no image"):
        open_file(tmp_path / "clip.mp4")


def test_close_from_another_thread_ends_the_stream(tmp_path):
    source = open_file(write_video(tmp_path / "a.mp4", moving_images(30, 64, 48)))
    source.read()
    thread = threading.Thread(target=source.close)
    thread.start()
    thread.join(10)
    with pytest.raises(EndOfStream):
        source.read()
    assert source.state is SourceState.ENDED


def test_single_threaded_decoding_gives_the_same_bytes(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_images(30, 160, 120))
    images = [[f.image.tobytes() for f in read_all(open_file(path, single_thread_decode=s))] for s in (True, False)]
    assert images[0] == images[1]


def test_recorded_packets_decode_to_the_same_pictures(tmp_path):
    packets: list = []
    path = write_video(tmp_path / "a.mp4", moving_images(30, 160, 120), turn=LEFT)
    frames = read_all(open_file(path, on_packet=packets.append, single_thread_decode=True))
    assert len(packets) == 30
    assert packets[0].is_keyframe
    assert {(p.codec, p.epoch) for p in packets} == {("h264", 0)}
    assert all(p.display_matrix is not None for p in packets)

    decoder = av.CodecContext.create(packets[0].codec, "r")
    decoder.extradata = packets[0].extradata
    pictures = []
    for record in packets:
        packet = av.Packet(record.data)
        packet.pts, packet.dts, packet.time_base = record.pts, record.dts, record.time_base
        pictures += decoder.decode(packet)
    pictures += decoder.decode(None)
    for picture, frame in zip(pictures, frames, strict=True):
        upright = turn_upright(picture.to_ndarray(format="rgb24"), packets[0].display_matrix)
        np.testing.assert_array_equal(upright, frame.image)


def test_realtime_pace_waits_for_each_frames_time(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_images(5, 64, 48), fps=10)
    clock = FakeClock()
    source = open_source(str(path), SourceOptions(pace=Pace.REALTIME), clock)
    assert source.info.is_live
    start_ns = clock.unix_ns()
    frames = []
    for _ in range(3):
        frames.append(source.read())
    clock.advance_s(5.0)  # the reader was busy: what is late comes at once
    frames += [source.read(), source.read()]
    captured = [(f.captured_ns - start_ns) / 1e9 for f in frames]
    assert captured == pytest.approx([0.0, 0.1, 0.2, 5.2, 5.2], abs=1e-3)
    assert [f.pts_ns for f in frames] == [i * 100_000_000 for i in range(5)]


def test_close_wakes_a_paced_read(tmp_path):
    from spark3r_stream.clock import SystemClock

    path = write_video(tmp_path / "a.mkv", moving_images(2, 64, 48), pts_ms=[0, 3_600_000])
    source = open_source(str(path), SourceOptions(pace=Pace.REALTIME), SystemClock())
    source.read()
    outcome: list = []

    def read() -> None:
        try:
            source.read()
        except EndOfStream as error:
            outcome.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    source.close()
    thread.join(10)
    assert len(outcome) == 1
