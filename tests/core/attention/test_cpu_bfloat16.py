import pytest
import torch
import torch.nn.functional as F

from spark3r_core.attention import cpu_bfloat16


def parts(queries: int, keys: int, width: int = 32, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 3, queries, width), (1, 3, keys, width), (1, 3, keys, width))
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return [(scale * q).bfloat16(), k.bfloat16(), v.bfloat16()]


@pytest.mark.parametrize("rows", [7, 40, 512])
@pytest.mark.parametrize(("width", "scale"), [(32, 1.0), (24, 2.0)])
def test_equals_softmax_attention_up_to_the_rounding_of_bfloat16(
    monkeypatch: pytest.MonkeyPatch, rows: int, width: int, scale: float
) -> None:
    monkeypatch.setattr(cpu_bfloat16, "MIN_ROWS", rows)
    monkeypatch.setattr(cpu_bfloat16, "MAX_ROWS", rows)
    q, k, v = parts(100, 333, width, scale)
    with torch.inference_mode():
        found = cpu_bfloat16.attend(q, k, v).double()
        exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
        fused = F.scaled_dot_product_attention(q, k, v).double()
    assert (found - exact).abs().mean() < 0.01 * exact.std()
    assert (found - exact).abs().mean() < 8 * (fused - exact).abs().mean()


def test_reads_views_of_a_memory_and_leaves_them_as_they_are() -> None:
    q, k, v = parts(130, 300)
    whole = torch.stack((k[0], v[0]))
    before = whole.clone()
    with torch.inference_mode():
        seen = whole[:, :, 50:250]
        found = cpu_bfloat16.attend(q, seen[0][None], seen[1][None])
        expected = cpu_bfloat16.attend(q, k[:, :, 50:250].contiguous(), v[:, :, 50:250].contiguous())
    assert torch.equal(found, expected)
    assert torch.equal(whole, before)


def test_is_left_to_pytorch_where_it_cannot_help() -> None:
    q, k, _ = parts(cpu_bfloat16.MIN_QUERIES, 300)
    assert not cpu_bfloat16.pays(q, k)  # gradients may be asked for
    with torch.no_grad():
        assert not cpu_bfloat16.pays(q[:, :, 1:], k)
        assert not cpu_bfloat16.pays(*parts(cpu_bfloat16.MIN_QUERIES, 300, 64)[:2])
        assert not cpu_bfloat16.pays(q.float(), k.float())
        assert not cpu_bfloat16.pays(q.to("meta"), k.to("meta"))
