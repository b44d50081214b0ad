"""What the soak of the map complains of."""

from __future__ import annotations

from typing import Any

from tools.soak_map import failures


def _part(p95: float, map_bytes: int = 60, memory_bytes: int = 30) -> dict[str, Any]:
    return {"frame_cpu_ms": {"p50": 1.0, "p95": p95}, "map_bytes": map_bytes, "memory_bytes": memory_bytes}


def test_what_is_within_its_budget_and_as_quick_as_before_is_fine() -> None:
    assert failures([_part(5.0), _part(10.0), _part(10.9)], 90) == []


def test_bytes_count_together_in_every_part() -> None:
    (found,) = failures([_part(10.0), _part(10.0, 61, 30), _part(10.0)], 90)
    assert "91 bytes" in found


def test_frames_that_become_slower_are_told() -> None:
    (found,) = failures([_part(50.0), _part(10.0), _part(11.5)], 90)
    assert "11.5 ms" in found
