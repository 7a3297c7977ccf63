"""Passes over a cache: their bits, and their operations beside those of the cost model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from penjing.cost.forward import forward_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op
from penjing.cost.work import Numerics as Formats
from penjing.cost.work import Pass, Phase
from penjing.models.arithmetic import Arithmetic, Buffers
from penjing.models.config import GroupedQuery, Latent, ModelConfig
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import Kernels, choose_kernels
from penjing.models.kernels.fast import FastKernels
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.kernels.reference import Heads, Spans
from penjing.models.packed import WHOLE, Packed, pack_documents

CPU = torch.device("cpu")
Chunk = tuple[int, int, int]  # document, from, to
# One of each kind of attention and of experts: what is slow runs for these alone.
DISTINCT = ["DeepSeek-V3, YaRN", "Moonlight, biases", "Qwen2, sliding", "Qwen3-MoE"]


def serve(
    decoder: Decoder,
    kernels: Kernels,
    documents: Sequence[Sequence[int]],
    steps: Iterable[Sequence[Chunk]],
    *,
    page_size: int = 16,
    order: int = 0,
) -> list[Tensor]:
    """Logits of every token of each document, from passes over one cache of shuffled pages."""
    pages = max(-(-len(d) // page_size) for d in documents)
    draw = torch.Generator().manual_seed(order)
    places = torch.randperm(pages * len(documents), generator=draw).view(-1, pages) * page_size
    caches = decoder.new_caches(places.numel() * page_size)
    for cache_SW in caches:
        cache_SW.fill_(torch.nan)  # what nobody wrote nobody may read
    arithmetic = Arithmetic(kernels, Buffers(CPU))
    rows: list[list[Tensor]] = [[] for _ in documents]
    for step in steps:
        packed = pack_chunks(documents, step, places, page_size)
        with torch.no_grad():
            logits_TV = decoder.logits(decoder(packed, arithmetic, caches), arithmetic)
        for (document, _, _), (first, new, _) in zip(step, packed.spans_B3.tolist(), strict=True):
            rows[document].append(logits_TV[first : first + new].clone())
    return [torch.cat(parts) for parts in rows]


def pack_chunks(
    documents: Sequence[Sequence[int]], step: Sequence[Chunk], places: Tensor, page_size: int
) -> Packed:
    news = [stop - start for _, start, stop in step]
    positions = [torch.arange(start, stop) for _, start, stop in step]
    slots = [
        places[document, p // page_size] + p % page_size
        for (document, _, _), p in zip(step, positions, strict=True)
    ]
    firsts = [sum(news[:i]) for i in range(len(news))]
    spans = [[f, n, stop] for f, n, (_, _, stop) in zip(firsts, news, step, strict=True)]
    return Packed(
        ids_T=torch.tensor([t for d, start, stop in step for t in documents[d][start:stop]]),
        positions_T=torch.cat(positions),
        spans_B3=torch.tensor(spans, dtype=torch.int32),
        table_BP=places[[document for document, _, _ in step]],
        page_size=page_size,
        slots_T=torch.cat(slots),
    )


def whole(decoder: Decoder, kernels: Kernels, documents: list[list[int]]) -> list[Tensor]:
    """As training and scoring see them: no cache, one pass."""
    arithmetic = Arithmetic(kernels)
    with torch.no_grad():
        logits = decoder.logits(decoder(pack_documents(documents), arithmetic), arithmetic)
    return list(torch.split(logits, [len(d) for d in documents]))


def one_by_one(documents: Sequence[Sequence[int]]) -> list[list[Chunk]]:
    """Every document that is not at its end, a token further in each pass."""
    longest = max(map(len, documents))
    return [
        [(d, at, at + 1) for d, document in enumerate(documents) if at < len(document)]
        for at in range(longest)
    ]


def test_a_prompt_at_once_is_the_prompt_token_by_token(
    decoder: Decoder, documents: list[list[int]], record: Callable[[str, float], None]
) -> None:
    """Bit for bit: the same weights and text give the same logits in training and decoding."""
    kernels = choose_kernels(CPU)
    decoded = serve(decoder, kernels, documents, one_by_one(documents))
    pairs = list(zip(decoded, whole(decoder, kernels, documents), strict=True))
    record("token by token", max((a - b).abs().max().item() for a, b in pairs))
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("variant", DISTINCT, indirect=True)
def test_so_it_is_without_compiled_kernels(decoder: Decoder, documents: list[list[int]]) -> None:
    kernels = InvariantKernels()
    steps = [[(0, 0, 40), (2, 0, 1)], [(2, 1, 33), (1, 0, 5), (0, 40, 66)]]
    steps += [[(0, at, at + 1)] for at in range(66, 70)]
    chunked = serve(decoder, kernels, documents, steps, page_size=7)
    for got, expected in zip(chunked, whole(decoder, kernels, documents), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("variant", DISTINCT, indirect=True)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of=st.data())
def test_chunks_and_pages_change_nothing(
    decoder: Decoder, documents: list[list[int]], of: st.DataObject
) -> None:
    """Any cuts, any documents of a pass side by side, pages of any size in any order."""
    kernels, at, steps = choose_kernels(CPU), [0] * len(documents), []
    while any(done < len(d) for done, d in zip(at, documents, strict=True)):
        left = [d for d, document in enumerate(documents) if at[d] < len(document)]
        chosen = of.draw(st.lists(st.sampled_from(left), min_size=1, unique=True))
        news = [of.draw(st.integers(1, len(documents[d]) - at[d])) for d in chosen]
        steps.append([(d, at[d], at[d] + n) for d, n in zip(chosen, news, strict=True)])
        for d, n in zip(chosen, news, strict=True):
            at[d] += n
    page_size, order = of.draw(st.integers(1, 80)), of.draw(st.integers(0, 9))
    found = serve(decoder, kernels, documents, steps, page_size=page_size, order=order)
    for got, expected in zip(found, whole(decoder, kernels, documents), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("variant", DISTINCT[:1], indirect=True)
def test_a_cache_of_latents_serves_expanded_and_absorbed_passes(
    decoder: Decoder, documents: list[list[int]]
) -> None:
    """A prompt expanded, what follows absorbed; expanding older keys is refused."""
    arithmetic, document = Arithmetic(choose_kernels(CPU)), documents[0]
    caches, places = decoder.new_caches(80), torch.arange(5)[None] * 16
    first = pack_chunks([document], [(0, 0, 69)], places, 16)
    last = pack_chunks([document], [(0, 69, 70)], places, 16)
    with torch.no_grad():
        decoder(first, arithmetic, caches, expand=True)
        got = decoder.logits(decoder(last, arithmetic, caches), arithmetic)
        expected = whole(decoder, choose_kernels(CPU), [document])[0][-1:]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
        with pytest.raises(AssertionError, match="older keys are latents in the cache"):
            decoder(last, arithmetic, caches, expand=True)


@pytest.mark.parametrize("variant", ["Llama"], indirect=True)
def test_a_pass_knows_where_its_keys_are(decoder: Decoder) -> None:
    packed = pack_documents([[1, 2], [3]])
    run = decoder.run(packed, Arithmetic(choose_kernels(CPU)))
    assert (run.spans.page_size, run.own_spans.page_size) == (WHOLE, WHOLE)
    assert [rows.tolist() for _, _, rows in run.spans] == [[0, 1], [2]]
    assert [rows.tolist() for _, _, rows in run.own_spans] == [[0, 1], [2]]


class Counted(FastKernels):
    """Counts attention by itself: every product outside it is a product of weights."""

    def __init__(self) -> None:
        self.attention_flops = 0

    def attend(
        self, q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans, out_TNV: Tensor
    ) -> None:
        with counter() as inside:
            super().attend(q_TNH, kv_SW, heads, spans, out_TNV)
        self.attention_flops += inside.get_total_flops()


def counter() -> FlopCounterMode:
    """Torch's, which has formulas for SDPA on GPUs and none for the same kernel on CPUs."""
    name = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def flops(q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
        return int(sdpa_flop_count(q, k, v))

    return FlopCounterMode(display=False, custom_mapping={name: flops})


def counted(run: Callable[[Arithmetic], object]) -> tuple[int, int]:
    """Operations of attention, and of all other products."""
    kernels = Counted()
    with torch.no_grad(), counter() as outside:
        run(Arithmetic(kernels))
    return kernels.attention_flops, outside.get_total_flops() - kernels.attention_flops


def planned(config: ModelConfig, work: Pass) -> tuple[float, float]:
    """The same two of the cost model."""
    ops = forward_ops(config, Layout(), work, Formats(weights=config.formats))
    core = [op for op in ops if op.name == "attention.core"]
    products = [op for op in ops if op.kind in (Kind.GEMM, Kind.GROUPED_GEMM)]
    return (sum(unpadded(op, config) * op.calls for op in core), total(products))


def unpadded(op: Op, config: ModelConfig) -> float:
    """Kernels of GPUs pad to 64 heads in absorbed attention, and so does the cost model."""
    heads = config.layers[0].attention.num_heads
    return float(op.flops) * (heads / 64 if op.kind is Kind.DECODE_LATENT else 1)


def total(ops: Iterable[Op]) -> float:
    return sum(float(op.flops) * op.calls for op in ops)


def unwindowed(config: ModelConfig) -> ModelConfig:
    """SDPA computes what a window then hides; the cost model does not count it."""
    layers = [
        replace(x, attention=replace(x.attention, window=None))
        if isinstance(x.attention, GroupedQuery)
        else x
        for x in config.layers
    ]
    return replace(config, layers=tuple(layers), name=f"{config.name} without windows")


def test_a_decoding_pass_takes_the_operations_that_the_plan_counts(decoder: Decoder) -> None:
    """Four sequences, a new token each, that attends to 20: 19 in the cache and itself."""
    documents = [[7] * 20] * 4
    places = torch.arange(8).view(4, 2) * 16
    packed = pack_chunks(documents, [(d, 19, 20) for d in range(4)], places, 16)
    caches = decoder.new_caches(8 * 16)

    def step(a: Arithmetic) -> Tensor:
        return decoder.logits(decoder(packed, a, caches), a)

    work = Pass(phase=Phase.DECODE, sequences=4.0, new=1.0, cached=20.0)
    assert counted(step) == planned(unwindowed(decoder.config), work)


def test_a_prompt_takes_the_operations_that_the_plan_counts(decoder: Decoder) -> None:
    """Two prompts of 24, latents expanded, logits of the last tokens.

    The cost model counts what causality leaves, S (S + 1) / 2 pairs of query and key; SDPA with a
    mask computes and counts the square.
    """
    packed, length = pack_documents([[7] * 24, [8] * 24]), 24

    def prompt(a: Arithmetic) -> Tensor:
        hidden = decoder(packed, a, expand=isinstance(decoder.config.layers[0].attention, Latent))
        return decoder.logits(hidden[[23, 47]], a)

    work = Pass(phase=Phase.PREFILL, sequences=2.0, new=float(length))
    attention, products = planned(unwindowed(decoder.config), work)
    assert counted(prompt) == (attention * 2 * length / (length + 1), products)


@pytest.mark.parametrize("variant", DISTINCT[:1], indirect=True)
def test_the_plan_counts_what_the_exact_kernels_compute_too(decoder: Decoder) -> None:
    """A prompt absorbed, as the exact mode has it: a decoding pass for every position."""
    packed = pack_documents([[7] * 24])
    absorbed = counted(partial(decoder, packed))
    work = Pass(phase=Phase.DECODE, sequences=1.0, new=24.0, cached=24.0, logits=0.0)
    assert absorbed == planned(decoder.config, work)
