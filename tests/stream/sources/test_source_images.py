from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources import SourceKind, SourceOptions, SourceState, open_source
from spark3r_stream.sources.images import decode_image, natural_key, read_timestamps
from spark3r_stream.stats import DropCause
from tests.helpers import FakeClock
from tests.helpers_media import BLUE, GREEN, RED, WHITE, corners, quadrants


def open_folder(path, **options):
    return open_source(str(path), SourceOptions(**options), FakeClock())


def read_all(source) -> list:
    frames = []
    while True:
        try:
            frames.append(source.read())
        except EndOfStream:
            return frames


def write_numbered(folder, values: list[int], pattern: str = "frame{}.png") -> None:
    """One 8x6 grey image per value, named by and filled with it."""
    folder.mkdir(exist_ok=True)
    for value in values:
        Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(folder / pattern.format(value))


def values_of(frames) -> list[int]:
    return [int(f.image[0, 0, 0]) for f in frames]


def test_natural_order_and_a_default_frame_rate(tmp_path):
    write_numbered(tmp_path, [10, 2, 1, 100, 20])
    source = open_folder(tmp_path, images_fps=10.0)
    info = source.info
    assert (info.kind, info.is_live, info.size, info.frame_count) == (SourceKind.IMAGES, False, (8, 6), 5)
    assert (info.nominal_fps, info.notes) == (10.0, ())
    frames = read_all(source)
    assert values_of(frames) == [1, 2, 10, 20, 100]
    assert [f.frame_id for f in frames] == list(range(5))
    assert [f.pts_ns for f in frames] == [i * 100_000_000 for i in range(5)]
    assert all(f.captured_ns == f.pts_ns for f in frames)
    assert source.state is SourceState.ENDED


def test_natural_key_compares_numbers_text_and_both():
    names = ["b1", "a10", "A9", "a9b", "10", "9", "a", "²3"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("9") < ordered.index("10") < ordered.index("a")
    assert ordered.index("A9") < ordered.index("a9b") < ordered.index("a10") < ordered.index("b1")


def test_other_files_and_folders_are_ignored(tmp_path):
    write_numbered(tmp_path, [1, 2])
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "sub.png").mkdir()
    assert values_of(read_all(open_folder(tmp_path))) == [1, 2]


def test_parent_of_frames(tmp_path):
    write_numbered(tmp_path / "frames", [1, 2, 3])
    (tmp_path / "timestamps.txt").write_text("10.0\n10.1036\n11\n")
    for folder in (tmp_path, tmp_path / "frames"):
        source = open_folder(folder)
        assert [f.pts_ns for f in read_all(source)] == [0, 103_600_000, 1_000_000_000]
        assert source.info.nominal_fps == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("0\n1\n", "has 2 times for 3 images"),
        ("0\n1\nsoon\n", "line 3: 'soon' is not a time"),
        ("0\n2\n1\n", "line 3: times must increase"),
        ("0\nnan\n1\n", "line 2"),
        ("", "has 0 times"),
    ],
)
def test_timestamps_that_do_not_fit_are_noted_and_not_used(tmp_path, text, note):
    write_numbered(tmp_path, [1, 2, 3])
    (tmp_path / "timestamps.txt").write_text(text)
    source = open_folder(tmp_path)
    assert [f.pts_ns for f in read_all(source)] == [0, 33_333_333, 66_666_667]
    assert len(source.info.notes) == 1
    assert note in source.info.notes[0]


def test_unix_seconds_keep_their_nanoseconds(tmp_path):
    path = tmp_path / "timestamps.txt"
    path.write_text("# time file\n1700000000.000000001 rgb/0.png\n1700000000.000000002,x\n")
    assert read_timestamps(path) == [0, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = Image.fromarray(quadrants(40, 20))
    # how a camera held that way stores the picture: the inverse of what the tag asks the viewer to do
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    image = upright
    for step in stored:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    frame = open_folder(tmp_path).read()
    assert frame.image.shape == (20, 40, 3)
    assert corners(frame.image) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_formats(tmp_path, suffix):
    Image.fromarray(quadrants(64, 48)).save(tmp_path / f"a.{suffix}")
    Image.fromarray(quadrants(64, 48)).save(tmp_path / f"b.{suffix.upper()}")
    frames = read_all(open_folder(tmp_path))
    assert [corners(f.image) for f in frames] == [[RED, GREEN, BLUE, WHITE]] * 2
    assert all(f.image.dtype == np.uint8 and f.image.flags.c_contiguous for f in frames)


def test_grey_rgba_palette_and_16_bit(tmp_path):
    grey = np.full((6, 8), 200, np.uint8)
    Image.fromarray(grey).save(tmp_path / "1_grey.png")
    Image.fromarray(np.dstack([grey, grey, grey, np.zeros_like(grey)])).save(tmp_path / "2_rgba.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "3_palette.png")
    Image.fromarray(grey.astype(np.uint16) * 256 + 17).save(tmp_path / "4_grey16.png")
    Image.fromarray(grey).convert("LA").save(tmp_path / "5_la.png")
    Image.fromarray(grey > 100).save(tmp_path / "6_bits.png")
    frames = read_all(open_folder(tmp_path))
    assert all(f.image.shape == (6, 8, 3) for f in frames)
    assert values_of(frames) == [200, 200, 200, 200, 200, 255]


def test_pixels_without_a_range_are_refused(tmp_path):
    for values in (np.ones((6, 8), np.float32), np.full((6, 8), 70_000, np.int32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(SourceError, match="8- or 16-bit images are expected"):
            decode_image((tmp_path / "a.tif").read_bytes(), "a.tif")


def test_corrupt_images_are_counted_and_skipped_with_their_times(tmp_path):
    write_numbered(tmp_path, [1, 2, 3, 4])
    (tmp_path / "frame2.png").write_text("not an image")
    whole = (tmp_path / "frame3.png").read_bytes()
    (tmp_path / "frame3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "timestamps.txt").write_text("0\n1\n2\n3\n")
    source = open_folder(tmp_path)
    frames = read_all(source)
    assert values_of(frames) == [1, 4]
    assert [f.frame_id for f in frames] == [0, 1]
    assert [f.pts_ns for f in frames] == [0, 3_000_000_000]
    assert source.drops.total() == {DropCause.DECODE_ERROR: 2}


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(SourceError, match=r"none of the 1 images in .* is readable, beginning with a\.png"):
        open_folder(tmp_path)


def test_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="holds no image"):
        open_folder(tmp_path)


def test_sizes_may_change(tmp_path):
    Image.fromarray(quadrants(33, 1001)).save(tmp_path / "a.png")
    Image.fromarray(quadrants(64, 48)).save(tmp_path / "b.png")
    assert [f.image.shape for f in read_all(open_folder(tmp_path))] == [(1001, 33, 3), (48, 64, 3)]


def test_packets_are_the_files_themselves(tmp_path):
    write_numbered(tmp_path, [1, 2])
    packets: list = []
    frames = read_all(open_folder(tmp_path, on_packet=packets.append))
    assert [p.data for p in packets] == [(tmp_path / f"frame{i}.png").read_bytes() for i in (1, 2)]
    assert {p.codec for p in packets} == {"png"}
    assert [p.pts * p.time_base * 1_000_000_000 for p in packets] == [f.pts_ns for f in frames]
    assert np.array_equal(decode_image(packets[1].data, "x"), frames[1].image)


def test_close_ends_the_stream(tmp_path):
    write_numbered(tmp_path, [1, 2])
    source = open_folder(tmp_path)
    source.read()
    source.close()
    with pytest.raises(EndOfStream):
        source.read()
