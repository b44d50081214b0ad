"""bfloat16 is chosen by what the processor has, not by what can be emulated."""

from pathlib import Path

import pytest
import torch

from spark3r_core.models.processor import cpu_has_bfloat16

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.exists(), reason="needs Linux's list of processor flags")
@pytest.mark.skipif(not hasattr(torch.cpu, "_is_avx512_bf16_supported"), reason="this torch does not know")
def test_it_says_what_the_kernel_says() -> None:
    flags = set(CPUINFO.read_text().split())
    assert cpu_has_bfloat16() == bool(flags & {"avx512_bf16", "amx_tile"})


def test_a_torch_that_does_not_know_counts_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert cpu_has_bfloat16() is False
