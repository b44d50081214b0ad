"""What this machine's CPU computes fast."""

from __future__ import annotations

import torch


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself (AVX512-BF16 or AMX); elsewhere it is emulated, slower than float32.

    Not `torch.ops.mkldnn._is_mkldnn_bf16_supported`: that is true wherever there is AVX-512, emulation included, and
    builds without oneDNN lack it. A torch that does not know these instructions counts as a CPU without them.
    """
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check is not None and bool(check()) for check in known)
