"""Every operation on random rows, through any kernels: one table for parity and for invariance."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from penjing.models.kernels import reference
from penjing.models.kernels.choice import Kernels
from penjing.models.kernels.fast import FastKernels
from penjing.models.kernels.native import load_native
from penjing.models.kernels.native_kernels import NativeKernels
from penjing.models.kernels.reference import Heads, Routing, Spans

Operation = Callable[[Kernels, Tensor, int, Tensor], Tensor]
Attention = tuple[Tensor, Tensor, Heads, Spans]
EXPERTS, CHOSEN = 5, 2
POSITIONS = 300


class Formulas(FastKernels):
    """The reference itself, behind the interface of the kernels."""

    def attend(
        self, q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans, out_TNV: Tensor
    ) -> None:
        out_TNV.copy_(reference.attend(q_TNH, kv_SW, heads, spans))


def draw(seed: int, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def draw_routing(picks: Tensor, num_tokens: int) -> Routing:
    """Two different experts a token, the same ones whichever other tokens are picked."""
    draw_of = torch.Generator().manual_seed(9)
    ranks_TE = torch.rand(num_tokens, EXPERTS, generator=draw_of)[picks]
    experts_TK = ranks_TE.topk(CHOSEN, -1).indices.sort(-1).values
    weights_TK = torch.rand(num_tokens, CHOSEN, generator=draw_of)[picks]
    order = experts_TK.flatten().argsort(stable=True)
    bounds = torch.bincount(experts_TK.flatten(), minlength=EXPERTS).cumsum(0)
    return Routing(
        tokens_A=(order // CHOSEN).int(),
        bounds_E1=torch.cat((torch.zeros(1), bounds)).int(),
        places_TK=order.argsort().view(-1, CHOSEN).int(),
        weights_TK=weights_TK.contiguous(),
    )


def linear(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    """Rows that lie apart, into rows that lie apart, with bias and residual."""
    rows, dtype = x_TNI[picks][:, 1], x_TNI.dtype
    w, bias = draw(1, dtype, outer, rows.shape[1]), draw(2, dtype, outer)
    residual = draw(3, dtype, len(x_TNI), outer)[picks]
    out = torch.zeros(len(picks), outer + 5, dtype=dtype)[:, :outer]
    kernels.linear(rows, w, bias, residual, out)
    return out


def linear_wide(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    """Results in fp32, whatever the factors are."""
    rows = x_TNI[picks][:, 0]
    out = torch.empty(len(picks), outer)
    kernels.linear(rows, draw(1, x_TNI.dtype, outer, rows.shape[1]), None, None, out)
    return out


def heads(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    w = draw(1, x_TNI.dtype, x_TNI.shape[1], outer + 3, x_TNI.shape[2])[:, 3:]
    out = x_TNI.new_empty(len(picks), x_TNI.shape[1], outer)
    kernels.heads(x_TNI[picks], w, out)
    return out


def heads_across(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    """Of the first values of each head, into the first values of wider heads."""
    x, inner = x_TNI[picks], x_TNI.shape[2] - 1
    w = draw(1, x.dtype, x.shape[1], inner + 2, outer)[:, :inner]
    out = x.new_empty(len(picks), x.shape[1], outer + 4)[..., :outer]
    kernels.heads_across(x[..., :inner], w, out)
    return out


def experts(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    routing = draw_routing(picks, len(x_TNI))
    w = draw(1, x_TNI.dtype, EXPERTS, outer, x_TNI.shape[2])
    out = x_TNI.new_empty(len(picks) * CHOSEN, outer)
    kernels.experts(x_TNI[picks][:, 0].contiguous(), w, routing, out)
    return out[routing.places_TK.long()]


def combine(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    routing, dtype = draw_routing(picks, len(x_TNI)), x_TNI.dtype
    y_AD = x_TNI.new_empty(len(picks) * CHOSEN, outer)
    y_AD[routing.places_TK.long()] = draw(1, dtype, len(x_TNI), CHOSEN, outer)[picks]
    base = draw(2, dtype, len(x_TNI), outer)[picks]
    out = torch.empty_like(base)
    kernels.combine(y_AD, routing.weights_TK, routing.places_TK, base, out)
    return out


def rms_norm(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    rows = x_TNI[picks][:, 1]
    out = torch.empty(rows.shape, dtype=rows.dtype)
    kernels.rms_norm(rows, draw(1, rows.dtype, rows.shape[1]), 1e-5, out)
    return out


def norm_heads(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    """In place, of all heads but the first."""
    x = x_TNI[picks]
    kernels.norm_heads(x[:, 1:], draw(1, x.dtype, x.shape[2]), 1e-6, x[:, 1:])
    return x


def rope(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    """Both ways of pairing, of some last values of some heads."""
    both = torch.cat((x_TNI[picks], x_TNI[picks]))
    width = x_TNI.shape[2] // 2 * 2
    turns = draw(1, torch.float32, POSITIONS, width)
    positions = torch.arange(len(x_TNI))[picks] * 7 % POSITIONS
    for part, interleaved in zip(both.chunk(2), (False, True), strict=True):
        kernels.rope(part[:, :2], turns, positions, interleaved)
    return torch.cat(both.chunk(2), 1)


def silu_mul(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    rows = draw(1, x_TNI.dtype, len(x_TNI), 2 * outer)[picks] * 20
    out = rows.new_empty(len(picks), outer)
    kernels.silu_mul(rows, out)
    return out


def sigmoid(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    rows = draw(1, torch.float32, len(x_TNI), outer)[picks] * 30
    out = torch.empty_like(rows)
    kernels.sigmoid(rows, out)
    return out


def log_sum_exp(kernels: Kernels, x_TNI: Tensor, outer: int, picks: Tensor) -> Tensor:
    """With the index of the largest beside it."""
    logits = draw(1, torch.float32, len(x_TNI), outer + 3)[picks][:, :outer] * 9
    out, best = torch.empty(len(picks)), torch.empty(len(picks), dtype=torch.int64)
    kernels.log_sum_exp(logits, out, best)
    return torch.stack((out, best.float()), 1)


OPERATIONS: dict[str, Operation] = {
    f.__name__: f
    for f in (
        *(linear, linear_wide, heads, heads_across, experts, combine),
        *(rms_norm, norm_heads, rope, silu_mul, sigmoid, log_sum_exp),
    )
}


@pytest.fixture(scope="session", params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> Operation:
    """(kernels, x [T, N, I], width of results, which of the T rows) -> a result for each row."""
    return OPERATIONS[request.param]


@pytest.fixture(scope="session", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    return found


@pytest.fixture(scope="session")
def formulas() -> Kernels:
    return Formulas()


@pytest.fixture(scope="session")
def native() -> NativeKernels:
    library = load_native()
    if library is None:
        pytest.skip("no C++ compiler on this machine, or PENJING_KERNELS=torch")
    return NativeKernels(library)


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_attention() -> Callable[..., Attention]:
    """Queries, a paged cache, and where everything is, of sequences of (queries, keys).

    What a position holds depends on the seed, the sequence and the position alone. Rows of the
    cache that belong to nobody are NaN.
    """

    def make(
        sequences: Sequence[tuple[int, int]],
        *,
        num_heads: int = 4,
        num_kv_heads: int = 2,
        key_dim: int = 12,
        value_dim: int = 12,
        latent: bool = False,
        window: int | None = None,
        page_size: int = 16,
        order: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> Attention:
        width = key_dim if latent else num_kv_heads * (key_dim + value_dim)
        most = max(-(-keys // page_size) for _, keys in sequences)
        shuffle = torch.Generator().manual_seed(order)
        pages = torch.randperm(most * len(sequences) + 1, generator=shuffle)[:-1]
        table_BP = pages.view(len(sequences), most) * page_size
        kv = torch.full(((len(pages) + 1) * page_size, width), torch.nan, dtype=dtype)
        spans, queries = [], []
        for b, (new, keys) in enumerate(sequences):
            positions = torch.arange(keys)
            slots = table_BP[b, positions // page_size] + positions % page_size
            kv[slots] = draw(100 + b, dtype, POSITIONS, width)[:keys]
            spans.append([sum(n for n, _ in sequences[:b]), new, keys])
            queries.append(draw(200 + b, dtype, POSITIONS, num_heads, key_dim)[keys - new : keys])
        found = Heads(
            num_heads=num_heads,
            num_kv_heads=1 if latent else num_kv_heads,
            key_dim=key_dim,
            value_dim=value_dim,
            value_at=0 if latent else num_kv_heads * key_dim,
            scale=key_dim**-0.5,
            window=window,
        )
        spans_B3 = torch.tensor(spans, dtype=torch.int32)
        where = Spans(spans_B3=spans_B3, table_BP=table_BP, page_size=page_size)
        return torch.cat(queries), kv, found, where

    return make


@pytest.fixture(scope="session")
def attend() -> Callable[..., Tensor]:
    def run(kernels: Kernels, attention: Attention) -> Tensor:
        q_TNH, kv_SW, found, spans = attention
        out = q_TNH.new_empty(*q_TNH.shape[:2], found.value_dim)
        kernels.attend(q_TNH, kv_SW, found, spans, out)
        return out

    return run
