from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from penjing.models.kernels.choice import Kernels
from penjing.models.kernels.fast import FastKernels
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.kernels.reference import Heads, Spans

Operation = Callable[[Kernels, Tensor, int, Tensor], Tensor]
Attention = tuple[Tensor, Tensor, Heads, Spans]
KERNELS = FastKernels()
PRODUCTS = {"linear": 1, "linear_wide": 1, "heads": 3, "experts": 2}


def rows(dtype: torch.dtype, num_rows: int, inner: int) -> Tensor:
    draw = torch.Generator().manual_seed(inner)
    return torch.randn(num_rows, 3, inner, generator=draw).to(dtype)


def test_every_operation_agrees_with_the_invariant_one(
    operation: Operation, dtype: torch.dtype
) -> None:
    for num_rows, outer, inner in ((1, 1, 2), (3, 25, 7), (40, 17, 96)):
        x, every = rows(dtype, num_rows, inner), torch.arange(num_rows)
        got, expected = (operation(k, x, outer, every) for k in (KERNELS, InvariantKernels()))
        close = 1e-5 if dtype is torch.float32 else 2**-6
        torch.testing.assert_close(got, expected, rtol=close, atol=close)


@pytest.mark.parametrize("num_heads", [2, 6])
@pytest.mark.parametrize("value_dim", [12, 5])
@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("latent", [False, True])
def test_attention_is_the_formula(
    num_heads: int,
    value_dim: int,
    window: int | None,
    latent: bool,
    dtype: torch.dtype,
    formulas: Kernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
) -> None:
    case = make_attention(
        [(1, 1), (3, 70), (1, 100), (33, 33)],
        num_heads=num_heads,
        value_dim=value_dim,
        window=window,
        latent=latent,
        dtype=dtype,
    )
    close = 1e-5 if dtype is torch.float32 else 2**-5
    got = attend(KERNELS, case)
    torch.testing.assert_close(got, attend(formulas, case), rtol=close, atol=close)


def test_no_product_has_rows_that_nobody_asked_for(operation: Operation) -> None:
    """Unlike the invariant ones, which pad: 2 x rows x outer x inner operations, to the last."""
    name = getattr(operation, "__name__", "")
    x = rows(torch.float32, 3, 10)
    with FlopCounterMode(display=False) as counter:
        operation(KERNELS, x, 7, torch.arange(3))
    inner = 9 if name == "heads_across" else 10
    times = 3 if name == "heads_across" else PRODUCTS.get(name, 0)
    assert counter.get_total_flops() == times * 2 * 3 * 7 * inner


def test_the_digest_tells_it_from_the_exact_ones() -> None:
    assert KERNELS.digest != InvariantKernels().digest
    assert torch.__version__ in KERNELS.digest
