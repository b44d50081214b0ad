"""How a recorded run ended, by what its recording says."""

from types import SimpleNamespace

import pytest

from spark3r_stream.running.rerun import RunEnd, recorded_end


@pytest.mark.parametrize(
    ("metadata", "end"),
    [
        ({"adjusts_all": "1", "refines": "1"}, RunEnd(adjusts_all=True, refines=True)),  # live
        ({"adjusts_all": "1", "refines": "0"}, RunEnd(adjusts_all=True, refines=False)),  # a file
        ({"adjusts_all": "0"}, RunEnd(adjusts_all=False, refines=True)),  # live, before live runs were adjusted
        ({"adjusts_all": "1"}, RunEnd(adjusts_all=True, refines=False)),  # a file of that time
    ],
)
def test_a_recording_says_how_its_run_ended(metadata: dict[str, str], end: RunEnd) -> None:
    assert recorded_end(SimpleNamespace(recording=SimpleNamespace(metadata=metadata))) == end
