import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.models.fp8 import dequantised, scale_shape


@settings(max_examples=30)
@given(rows=st.integers(1, 300), columns=st.integers(1, 300), seed=st.integers(0, 9))
def test_each_value_is_scaled_by_its_block(rows: int, columns: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight_RC = torch.randn(rows, columns, generator=draw).to(torch.float8_e4m3fn)
    scale = torch.rand(scale_shape((rows, columns)), generator=draw)
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    assert torch.equal(dequantised(weight_RC, scale), weight_RC.float() * scale[r // 128, c // 128])


def test_blocks_at_the_edges_are_partial() -> None:
    assert scale_shape((7168, 576)) == (56, 5)
    assert scale_shape((1, 129)) == (1, 2)


def test_narrow_scales_are_widened_first() -> None:
    weight = torch.full((2, 2), 3.0).to(torch.float8_e4m3fn)
    scale = torch.tensor([[0.1]], dtype=torch.bfloat16)
    wide = dequantised(weight, scale)
    assert wide.dtype == torch.float32
    assert torch.equal(wide, torch.full((2, 2), 3.0 * scale.float().item()))


def test_a_scale_of_another_shape_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        dequantised(torch.zeros(129, 2).to(torch.float8_e4m3fn), torch.ones(1, 1))
