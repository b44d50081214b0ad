"""Text of sensors: times in seconds and nanoseconds, headings, comments, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from spark3r_stream.errors import SensorError
from spark3r_stream.sensors.lines import MAX_FILE_BYTES, parse_time, read_rows

EXPECTED = "time and three numbers"

FORMS = {
    "csv with a heading": "time,wx,wy,wz\n0.25,1,2,3\n0.5,4,5,6\n",
    "spaces and comments": "# by a phone\n0.25 1 2 3\n\n0.5\t4 5 6  # the last\n",
    "nanoseconds": "250000000000,1,2,3\n250250000000,4,5,6\n",
    "EuRoC": "#timestamp [ns],w_RS_S_x [rad s^-1],w_y,w_z,a_x,a_y,a_z\n250000000000,1,2,3,9,9,9\n250250000000,4,5,6",
    "out of order": "0.5;4;5;6\n0.25;1;2;3\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_common_forms_are_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "gyro.txt"
    path.write_text(FORMS[form])
    rows = read_rows(path, 3, EXPECTED)
    np.testing.assert_array_equal(rows.values, [[1, 2, 3], [4, 5, 6]])
    assert np.diff(rows.times_ns).tolist() == [250_000_000]


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("0.25", 250_000_000), ("12", 12 * 10**9), ("1700000000.123456789", 1_700_000_000_123_456_789),
     ("1700000000123456789", 1_700_000_000_123_456_789), ("-1.5", -1_500_000_000), ("1.7e9", 17 * 10**17)],
)  # fmt: skip
def test_a_time_is_read_to_the_nanosecond(text: str, time_ns: int) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.parametrize(
    ("text", "said"),
    [("0.1,1,2\n", "line 1: 3 values"),
     ("time\n0.1,1,2,x\n", "line 2: 'x' is no number"), ("0.1,1,2,nan", "not finite"),
     ("", "has no line"), ("# nothing\n", "has no line"), ("a\nb\n", "line 2"), ("1e99,1,2,3", "no time"),
     ("9" * 30 + ",1,2,3", "no time"), ("0.1,1,-1e16,3", "1e.16 is more than any sensor says")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gyro.txt"
    path.write_text(text)
    with pytest.raises(SensorError, match=said):
        read_rows(path, 3, EXPECTED)


def test_a_missing_file_and_one_that_is_not_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match="No such file"):
        read_rows(tmp_path / "none.csv", 3, EXPECTED)
    (tmp_path / "video").touch()
    os.truncate(tmp_path / "video", MAX_FILE_BYTES + 1)
    with pytest.raises(SensorError, match="is larger than 512 MiB"):
        read_rows(tmp_path / "video", 3, EXPECTED)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SensorError, match="is not text"):
        read_rows(tmp_path / "binary", 3, EXPECTED)
