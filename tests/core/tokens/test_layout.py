from __future__ import annotations

import pytest
import torch

from spark3r_core.tokens.layout import TokenLayout, stride_frames


def test_special_and_patch_indices_partition_the_tokens():
    layout = TokenLayout(frames=3, tokens_per_frame=7, special_tokens=5)
    both = torch.cat([layout.special_index(), layout.patch_index()]).sort().values
    assert both.tolist() == list(range(21))
    assert layout.patch_index([1]).tolist() == [12, 13]


def test_patches_is_the_same_as_indexing():
    layout = TokenLayout(4, 6, 2)
    x = torch.randn(2, 24, 3)
    assert torch.equal(layout.patches(x).flatten(1, 2), x[:, layout.patch_index()])


@pytest.mark.parametrize("special", [0, 1, 5, 17])
def test_kept_index_holds_whole_frames_and_optionally_all_special_tokens(special):
    layout = TokenLayout(5, special + 3, special)
    tokens = layout.tokens_per_frame
    whole = [t for f in (0, 3) for t in range(f * tokens, (f + 1) * tokens)]
    assert layout.kept_index([3, 0]).tolist() == whole
    every_special = {f * tokens + s for f in range(5) for s in range(special)}
    assert layout.kept_index([0, 3], all_special=True).tolist() == sorted(every_special | set(whole))


def test_stride_keeps_multiples_and_protected_frames():
    assert stride_frames(10, 4) == [0, 4, 8]
    assert stride_frames(10, 4, always=(3, 8, 99)) == [0, 3, 4, 8]
    assert stride_frames(3, 1000) == [0]
    assert stride_frames(1, 1) == [0]


def test_wrong_layouts_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        TokenLayout(0, 5, 1)
    with pytest.raises(ValueError, match="do not fit"):
        TokenLayout(2, 5, 6)
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        TokenLayout(2, 5, 1).patch_index([2])
    with pytest.raises(ValueError, match="at least 1"):
        stride_frames(5, 0)
