from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources import SourceKind, SourceOptions, SourceState, open_source
from spark3r_stream.sources.image_names import in_order, natural_key
from spark3r_stream.sources.image_times import read_timestamps
from spark3r_stream.sources.images import decode_image
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
        assert [f.pts_ns for f in read_all(source)] == [10_000_000_000, 10_103_600_000, 11_000_000_000]
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
    assert read_timestamps(path) == ([1_700_000_000_000_000_001, 1_700_000_000_000_000_002], "seconds")


EUROC_NS = [1_403_636_579_763_555_584 + i * 50_000_000 for i in range(3)]


@pytest.mark.parametrize(
    ("text", "expected_ns", "unit"),
    [
        ("".join(f"{t}\n" for t in EUROC_NS), EUROC_NS, "nanoseconds"),
        ("1403636579763555,x\n1403636579813555,x\n", [1403636579763555000, 1403636579813555000], "microseconds"),
        ("1403636579763\n1403636579813\n", [1403636579763000000, 1403636579813000000], "milliseconds"),
        ("0\n33333333\n66666667\n", [0, 33333333, 66666667], "nanoseconds"),
        ("0\n33333\n66666\n", [0, 33333000, 66666000], "microseconds"),
        ("0\n60\n120\n", [0, 60 * 10**9, 120 * 10**9], "seconds"),
        ("1403636579\n1403636580\n", [1403636579 * 10**9, 1403636580 * 10**9], "seconds"),
        ("0.5\n", [500_000_000], "seconds"),
        ("0\n-0.0\n", None, "times must increase"),
        ("0.5\n1e12\n", None, "make no sense"),
        ("7e40\n", None, "is not a time"),
        ("1e999999999\n", None, "is not a time"),
    ],
)
def test_units_of_timestamps(tmp_path, text, expected_ns, unit):
    path = tmp_path / "timestamps.txt"
    path.write_text(text)
    if expected_ns is None:
        with pytest.raises(SourceError, match=unit):
            read_timestamps(path)
    else:
        assert read_timestamps(path) == (expected_ns, unit)


def test_nanoseconds_stay_absolute_and_are_said(tmp_path):
    write_numbered(tmp_path, [1, 2, 3])
    (tmp_path / "timestamps.txt").write_text("".join(f"{t} x\n" for t in EUROC_NS))
    source = open_folder(tmp_path)
    frames = read_all(source)
    assert [f.pts_ns for f in frames] == EUROC_NS
    assert [f.captured_ns for f in frames] == EUROC_NS
    assert source.info.nominal_fps == pytest.approx(20.0)
    assert source.info.notes == (f"{tmp_path / 'timestamps.txt'} is taken as nanoseconds",)


@pytest.mark.parametrize(
    ("names", "expected_ns"),
    [
        (["1403636579763555584", "1403636579813555584"], [1403636579763555584, 1403636579813555584]),
        (["1700000000.05", "1700000000.1"], [1700000000050000000, 1700000000100000000]),
        (["9.5", "10.25"], [9500000000, 10250000000]),
        (["000009", "000010"], [0, 33333333]),
        (["a1700000000.05", "a1700000000.1"], [0, 33333333]),
        (["1700000000.10", "1700000000.1"], [0, 33333333]),
    ],
)
def test_names_that_are_times(tmp_path, names, expected_ns):
    for name in names:
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / f"{name}.png")
    source = open_folder(tmp_path)
    assert [f.pts_ns for f in read_all(source)] == expected_ns
    assert len(source.info.notes) == (expected_ns[0] != 0)


def test_digits_behind_a_decimal_point_are_a_fraction(tmp_path):
    for name in ("1700000000.1", "1700000000.05", "1700000001", "1699999999.95"):
        (tmp_path / f"{name}.jpg").touch()
    ordered = [path.stem for path in in_order(list(tmp_path.iterdir()))]
    assert ordered == ["1699999999.95", "1700000000.05", "1700000000.1", "1700000001"]


def test_counters_behind_a_point_still_count(tmp_path):
    paths = [tmp_path / f"shot1.{i}.png" for i in range(1, 13)]
    assert in_order(paths[::-1]) == paths


def test_a_frame_rate_is_for_images_without_times(tmp_path):
    write_numbered(tmp_path, [1, 2, 3])
    source = open_folder(tmp_path, images_fps=10.0)
    assert ([f.pts_ns for f in read_all(source)], source.info.notes) == ([0, 100_000_000, 200_000_000], ())
    (tmp_path / "timestamps.txt").write_text("5\n6\n8\n")
    source = open_folder(tmp_path, images_fps=10.0)
    assert [f.pts_ns for f in read_all(source)] == [5_000_000_000, 6_000_000_000, 8_000_000_000]
    assert "10 frames per second is not used" in source.info.notes[0]
    clip = Path(__file__).parents[2] / "data" / "cases" / "same_frames.mp4"
    with pytest.raises(SourceError, match="has times of its own"):
        open_source(str(clip), SourceOptions(images_fps=10.0), FakeClock())


@pytest.mark.parametrize(
    ("colour", "depth"),
    [
        ("frame-{:06d}.color.png", "frame-{:06d}.depth.png"),  # 7-Scenes
        ("frame{:06d}.jpg", "depth{:06d}.png"),  # Replica
        ("{:04d}.png", "{:04d}_mask.png"),
    ],
)
def test_depth_images_among_photographs_are_left(tmp_path, colour, depth):
    for i in range(3):
        Image.fromarray(np.full((6, 8, 3), i, np.uint8)).save(tmp_path / colour.format(i), quality=95)
        Image.fromarray(np.full((6, 8), 200, np.uint8)).save(tmp_path / depth.format(i))
    source = open_folder(tmp_path)
    assert values_of(read_all(source)) == [0, 1, 2]
    assert source.info.frame_count == 3
    assert len(source.info.notes) == 1
    assert "taken 3 of " in source.info.notes[0]
    assert "left 3 of " in source.info.notes[0]


def test_16_bit_grey_among_photographs_is_left_whatever_its_name(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((6, 8, 3), i, np.uint8)).save(tmp_path / f"a{i}.png")
        Image.fromarray(np.full((6, 8), 20_000, np.uint16)).save(tmp_path / f"b{i}.png")
    source = open_folder(tmp_path)
    assert values_of(read_all(source)) == [0, 1, 2]
    assert "taken 3 of a#.png; left 3 of b#.png, which are no photographs" in source.info.notes[0]


def test_what_is_alone_in_its_folder_is_taken(tmp_path):
    write_numbered(tmp_path, [1, 2], "depth{}.png")
    source = open_folder(tmp_path)
    assert (values_of(read_all(source)), source.info.notes) == ([1, 2], ())


def test_photographs_of_other_formats_are_counted_once(tmp_path):
    write_numbered(tmp_path, [1, 2], "{}.png")
    write_numbered(tmp_path, [3], "{}.bmp")
    for name in ("4.HEIC", "5.heic", "6.gif", "notes.txt"):
        (tmp_path / name).touch()
    source = open_folder(tmp_path)
    assert values_of(read_all(source)) == [1, 2, 3]
    assert source.info.notes == (
        f"{tmp_path}: taken 2 of #.png, 1 of #.bmp; left 1 GIF, which cannot be read here,"
        " 2 HEIC, which cannot be read here",
    )
    for path in [*tmp_path.glob("*.png"), *tmp_path.glob("*.bmp")]:
        path.unlink()
    with pytest.raises(SourceError, match=r"holds no image .* left 1 GIF, .* 2 HEIC"):
        open_folder(tmp_path)


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


def test_half_a_jpeg_is_damage(tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(quadrants(160, 120)).save(tmp_path / f"{name}.jpg")
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    source = open_folder(tmp_path)
    assert len(read_all(source)) == 2
    assert source.drops.total() == {DropCause.DECODE_ERROR: 1}


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
