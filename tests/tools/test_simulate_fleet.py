"""The simulation of a fleet, small: it ends, and its numbers are there."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_few_cameras(capsys: pytest.CaptureFixture[str]) -> None:
    from tools.simulate_fleet import main

    arguments = "--cameras 3 --mappers 2 --crowds 1 --fps 5 --keyframes 1 --map-ms 5 --seconds 5 --warm-up 3"
    assert main(arguments.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames_per_second"]["sent"] > 0
    assert found["keyframes_per_second"]["mapped"] > 0
    assert found["map"]["keyframes"] > 0
    assert found["processor"]["outlet_ms_per_frame"] > 0
