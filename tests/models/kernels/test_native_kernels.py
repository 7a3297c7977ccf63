from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from penjing.models.kernels.choice import Kernels
from penjing.models.kernels.native_kernels import NativeKernels
from penjing.models.kernels.reference import Heads, Spans

Operation = Callable[[Kernels, Tensor, int, Tensor], Tensor]
Attention = tuple[Tensor, Tensor, Heads, Spans]
CLOSE = {torch.float32: (1e-5, 2e-5), torch.bfloat16: (2**-6, 2**-6)}  # of the value, and of one
HEADS = {
    "many heads": {"num_heads": 4, "num_kv_heads": 4, "key_dim": 20, "value_dim": 9},
    "grouped": {"num_heads": 6, "num_kv_heads": 2, "key_dim": 64, "value_dim": 64},
    "windowed": {"num_heads": 4, "num_kv_heads": 2, "window": 21},
    "latent": {"num_heads": 5, "key_dim": 44, "value_dim": 36, "latent": True},
}
# Alone, after a prefix, one token over many blocks of keys, a whole prompt.
RAGGED = [(1, 1), (3, 70), (1, 200), (130, 130), (17, 64), (2, 65)]


def rows(dtype: torch.dtype, num_rows: int, inner: int) -> Tensor:
    draw = torch.Generator().manual_seed(inner)
    return torch.randn(num_rows, 3, inner, generator=draw).to(dtype)


def assert_close(got: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Relative to each value, or to the largest one of all: sums cancel."""
    assert got.dtype is expected.dtype
    relative, absolute = CLOSE[dtype]
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(got, expected, rtol=relative, atol=absolute * scale)


@pytest.mark.parametrize("inner", [2, 7, 8, 16, 31, 33, 100])
def test_every_kernel_is_the_formula(
    operation: Operation, dtype: torch.dtype, native: NativeKernels, formulas: Kernels, inner: int
) -> None:
    """Widths beside and between the widths of vectors and tiles."""
    for num_rows, outer in ((1, 1), (2, 24), (3, 25), (9, 17), (70, 50)):
        x, every = rows(dtype, num_rows, inner), torch.arange(num_rows)
        got, expected = (operation(k, x, outer, every) for k in (native, formulas))
        assert got.isfinite().all()
        assert_close(got, expected, dtype)


@settings(max_examples=30, deadline=None)
@given(
    num_rows=st.integers(1, 140), outer=st.integers(1, 80), inner=st.integers(2, 1300), of=st.data()
)
def test_long_rows_are_the_formula_too(
    native: NativeKernels,
    formulas: Kernels,
    num_rows: int,
    outer: int,
    inner: int,
    of: st.DataObject,
) -> None:
    """Sums of more than one block; x in rows that lie apart."""
    dtype = of.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    x = rows(dtype, num_rows, inner)[:, 0] / inner**0.5
    w = rows(dtype, -(-outer // 3), inner).flatten(0, 1)[:outer]
    got, expected = (torch.empty(num_rows, outer, dtype=dtype) for _ in range(2))
    native.linear(x, w, None, None, got)
    formulas.linear(x, w, None, None, expected)
    assert_close(got, expected, dtype)


@pytest.mark.parametrize("shape", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("page_size", [1, 16, 64, 1000])
def test_attention_is_the_formula(
    shape: dict[str, int],
    page_size: int,
    dtype: torch.dtype,
    native: NativeKernels,
    formulas: Kernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
) -> None:
    """Rows of the cache that belong to nobody are NaN: none may be read."""
    case = make_attention(RAGGED, page_size=page_size, dtype=dtype, **shape)
    got, expected = attend(native, case), attend(formulas, case)
    assert got.isfinite().all()
    assert_close(got, expected, dtype)


@settings(max_examples=40, deadline=None)
@given(
    sequences=st.lists(st.tuples(st.integers(1, 70), st.integers(0, 140)), min_size=1, max_size=4),
    groups=st.tuples(st.integers(1, 3), st.integers(1, 5)),
    dims=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.none() | st.integers(1, 90),
    page_size=st.integers(1, 70),
    of=st.data(),
)
def test_attention_of_any_shape_is_the_formula(
    native: NativeKernels,
    formulas: Kernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
    sequences: list[tuple[int, int]],
    groups: tuple[int, int],
    dims: tuple[int, int],
    window: int | None,
    page_size: int,
    of: st.DataObject,
) -> None:
    latent, dtype = of.draw(st.booleans()), of.draw(st.sampled_from(list(CLOSE)))
    case = make_attention(
        [(new, new + old) for new, old in sequences],
        num_heads=groups[0] * groups[1],
        num_kv_heads=groups[0],
        key_dim=max(dims) if latent else dims[0],
        value_dim=min(dims) if latent else dims[1],
        latent=latent,
        window=window,
        page_size=page_size,
        dtype=dtype,
    )
    got = attend(native, case)
    assert got.isfinite().all()
    assert_close(got, attend(formulas, case), dtype)


def test_huge_scores_do_not_overflow(
    native: NativeKernels,
    formulas: Kernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
) -> None:
    """Most weights underflow to zero, and later blocks outweigh the earlier ones."""
    q, kv, heads, spans = make_attention([(150, 150), (1, 90)])
    case = (q * 1000, kv, heads, spans)
    got = attend(native, case)
    assert got.isfinite().all()
    # A score of 1e4 is known to 1e-3: that much its weight may be off.
    torch.testing.assert_close(got, attend(formulas, case), rtol=2e-3, atol=2e-3)


def test_the_best_logit_is_the_first_of_the_largest(native: NativeKernels) -> None:
    logits = torch.zeros(3, 37)
    logits[0, [5, 36]], logits[1, [20, 21]], logits[2] = 4.0, 1.0, -torch.inf
    logits[2, 30] = -50.0
    out, best = torch.empty(3), torch.empty(3, dtype=torch.int64)
    native.log_sum_exp(logits, out, best)
    assert best.tolist() == [5, 20, 30]
    torch.testing.assert_close(out, logits.logsumexp(-1))


@settings(max_examples=12, deadline=None)
@given(of=st.data())
def test_no_row_depends_on_the_rows_beside_it(
    operation: Operation, dtype: torch.dtype, native: NativeKernels, of: st.DataObject
) -> None:
    """Bit for bit, of any rows in any order."""
    num_rows = of.draw(st.integers(2, 150))
    x = rows(dtype, num_rows, of.draw(st.sampled_from([24, 37, 64])))
    outer = of.draw(st.sampled_from([8, 50, 97]))
    chosen = of.draw(st.lists(st.integers(0, num_rows - 1), min_size=1, max_size=40, unique=True))
    together = operation(native, x, outer, torch.arange(num_rows))
    some = operation(native, x, outer, torch.tensor(chosen))
    assert torch.equal(some, together[chosen])
    alone = operation(native, x, outer, torch.tensor(chosen[:1]))
    assert torch.equal(alone[0], together[chosen[0]])


@pytest.mark.parametrize("inner", [520, 1100, 2100])
def test_nor_do_long_rows(dtype: torch.dtype, native: NativeKernels, inner: int) -> None:
    """Sums of several blocks, for every way to cut rows into tiles."""
    x, w = rows(dtype, 24, inner).flatten(0, 1), rows(dtype, 10, inner).flatten(0, 1)
    together = torch.empty(len(x), len(w), dtype=dtype)
    native.linear(x, w, None, None, together)
    for num_rows in range(1, len(x)):
        some = torch.empty(num_rows, len(w), dtype=dtype)
        native.linear(x[-num_rows:], w, None, None, some)
        assert torch.equal(some, together[-num_rows:])


@settings(max_examples=25, deadline=None)
@given(of=st.data())
def test_attention_sees_neither_batch_nor_chunk_nor_page(
    native: NativeKernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
    of: st.DataObject,
) -> None:
    """Any queries of any sequences, beside any others, in a cache cut and shuffled anyhow."""
    shape = of.draw(st.sampled_from(list(HEADS.values())))
    dtype = of.draw(st.sampled_from(list(CLOSE)))
    lengths = of.draw(st.lists(st.integers(1, 200), min_size=1, max_size=3))
    whole = make_attention([(n, n) for n in lengths], dtype=dtype, **shape)
    expected = torch.split(attend(native, whole), lengths)
    ends = [of.draw(st.integers(1, n)) for n in lengths]
    news = [of.draw(st.integers(1, end)) for end in ends]
    chunk = make_attention(
        list(zip(news, ends, strict=True)),
        dtype=dtype,
        page_size=of.draw(st.integers(1, 80)),
        order=of.draw(st.integers(0, 99)),
        **shape,
    )
    found = torch.split(attend(native, chunk), news)
    for got, full, new, end in zip(found, expected, news, ends, strict=True):
        assert torch.equal(got, full[end - new : end])


def test_threads_change_nothing(
    operation: Operation,
    dtype: torch.dtype,
    native: NativeKernels,
    with_threads: Callable[[int], None],
) -> None:
    x, every, found = rows(dtype, 150, 130), torch.arange(150), []
    for threads in (1, 2, 3):
        with_threads(threads)
        found.append(operation(native, x, 97, every))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("shape", HEADS.values(), ids=HEADS)
def test_threads_do_not_change_attention(
    shape: dict[str, int],
    native: NativeKernels,
    make_attention: Callable[..., Attention],
    attend: Callable[[Kernels, Attention], Tensor],
    with_threads: Callable[[int], None],
) -> None:
    found = []
    for threads in (1, 2, 3):
        with_threads(threads)
        found.append(attend(native, make_attention(RAGGED, **shape)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_digest_is_that_of_the_library(native: NativeKernels) -> None:
    assert native.digest.startswith("native-")


def test_several_callers_at_once_get_what_one_gets(native: NativeKernels) -> None:
    """Who comes while the threads are at work for another does the work alone."""
    x_TI, w_OI = torch.randn(40, 64), torch.randn(300, 64)
    alone = torch.empty(40, 300)
    native.linear(x_TI, w_OI, None, None, alone)

    def call(_: int) -> bool:
        out = torch.empty(40, 300)
        for _ in range(20):
            native.linear(x_TI, w_OI, None, None, out)
        return torch.equal(out, alone)

    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as executor:
            assert all(executor.map(call, range(8)))
    finally:
        torch.set_num_threads(1)
