from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from penjing.models.kernels.choice import Kernels
from penjing.models.kernels.invariant import InvariantKernels, by_fixed_rows
from penjing.models.kernels.reference import Heads, Spans

Operation = Callable[[Kernels, Tensor, int, Tensor], Tensor]
Attention = tuple[Tensor, Tensor, Heads, Spans]
KERNELS = InvariantKernels()
SHAPES = {
    "grouped": {"num_heads": 4, "num_kv_heads": 2},
    "windowed": {"num_heads": 4, "num_kv_heads": 4, "window": 21},
    "odd": {"num_heads": 4, "num_kv_heads": 4, "key_dim": 5, "value_dim": 7},
    "latent": {"num_heads": 5, "key_dim": 44, "value_dim": 36, "latent": True},
}


def rows(dtype: torch.dtype, num_rows: int, inner: int) -> Tensor:
    draw = torch.Generator().manual_seed(inner)
    return torch.randn(num_rows, 3, inner, generator=draw).to(dtype)


def test_every_operation_is_the_formula(
    operation: Operation, dtype: torch.dtype, formulas: Kernels
) -> None:
    for num_rows, outer, inner in ((1, 1, 2), (3, 25, 7), (40, 17, 96)):
        x, every = rows(dtype, num_rows, inner), torch.arange(num_rows)
        got, expected = (operation(k, x, outer, every) for k in (KERNELS, formulas))
        close = 1e-5 if dtype is torch.float32 else 2**-6
        torch.testing.assert_close(got, expected, rtol=close, atol=close)


@pytest.mark.parametrize(("inner", "outer"), [(64, 50), (37, 11), (1030, 96)])
def test_a_row_is_the_same_beside_any_others(
    operation: Operation, dtype: torch.dtype, inner: int, outer: int
) -> None:
    """Bit for bit, for 1 to 40 rows."""
    x = rows(dtype, 40, inner)
    together = operation(KERNELS, x, outer, torch.arange(40))
    for num_rows in (*range(1, 20), 31, 39):
        some = operation(KERNELS, x, outer, torch.arange(40 - num_rows, 40))
        assert torch.equal(some, together[-num_rows:]), num_rows


def test_a_row_is_the_same_wherever_threads_part(
    operation: Operation, dtype: torch.dtype, with_threads: Callable[[int], None]
) -> None:
    """Many rows of odd widths, so that threads part them in the middle of a row."""
    num_rows = 4001 if operation.__name__ != "log_sum_exp" else 101
    x, ends = rows(dtype, num_rows, 15), torch.tensor([0, 1, 7, num_rows // 2, num_rows - 1])
    few = operation(KERNELS, x, 19, ends)
    for threads in (2, 3):
        with_threads(threads)
        assert torch.equal(operation(KERNELS, x, 19, torch.arange(num_rows))[ends], few)


@pytest.mark.parametrize(("outer", "inner"), [(8, 16), (200, 96), (96, 1100), (1500, 64)])
def test_a_product_is_the_same_beside_any_others(
    dtype: torch.dtype, outer: int, inner: int
) -> None:
    x, w = rows(dtype, 40, inner)[:, 0].contiguous(), rows(dtype, outer, inner)[:, 1].contiguous()
    together = torch.empty(40, outer, dtype=dtype)
    KERNELS.linear(x, w, None, None, together)
    for num_rows in range(1, 40):
        some = torch.empty(num_rows, outer, dtype=dtype)
        KERNELS.linear(x[-num_rows:], w, None, None, some)
        assert torch.equal(some, together[-num_rows:]), num_rows


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_attention_is_the_formula_in_any_chunks(
    shape: dict[str, int],
    dtype: torch.dtype,
    formulas: Kernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
) -> None:
    """A prompt of 150 at once, then in pieces of many sizes, beside another, in other pages."""
    whole = make_attention([(150, 150)], dtype=dtype, **shape)
    expected = attend(KERNELS, whole)
    close = 1e-5 if dtype is torch.float32 else 2**-6
    torch.testing.assert_close(expected, attend(formulas, whole), rtol=close, atol=close)
    for new, end in ((150, 150), (1, 1), (1, 64), (1, 65), (3, 70), (37, 100), (1, 150), (65, 130)):
        chunk = make_attention(
            [(new, end), (5, 90)], page_size=7 * new, order=end, dtype=dtype, **shape
        )
        assert torch.equal(attend(KERNELS, chunk)[:new], expected[end - new : end]), (new, end)


def test_few_rows_are_padded_and_many_are_not() -> None:
    seen = []

    def product(x: Tensor) -> Tensor:
        seen.append(len(x))
        return F.linear(x, torch.eye(3))

    for num_rows in (1, 15, 16, 40):
        x = rows(torch.float32, num_rows, 3)[:, 0]
        assert torch.equal(by_fixed_rows(product, x), x)
    assert seen == [16, 16, 16, 40]


def test_the_best_logit_is_the_first_of_the_largest() -> None:
    logits = torch.zeros(2, 37)
    logits[0, [5, 36]], logits[1, [20, 21]] = 4.0, 1.0
    out, best = torch.empty(2), torch.empty(2, dtype=torch.int64)
    KERNELS.log_sum_exp(logits, out, best)
    assert best.tolist() == [5, 20]
    torch.testing.assert_close(out, logits.logsumexp(-1))


def test_the_digest_names_the_torch_that_decides_the_bits() -> None:
    assert KERNELS.digest == f"torch-{torch.__version__}-invariant"
