"""One pass of the engine against one pass of training, and what it holds in memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from random import Random

import pytest
import torch
from torch import Tensor

from penjing.engine.completion import Completion
from penjing.engine.engine import Engine
from penjing.engine.forward import Forward
from penjing.engine.memory import EnginePlan, Planned, planned_buffers
from penjing.engine.sampling import Sampling
from penjing.engine.scheduler import Chunk, Step
from penjing.engine.sequence import Sequence as Growing
from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import Numerics, choose_kernels
from penjing.models.packed import pack_documents

Made = Callable[..., Engine]
Training = Callable[[Decoder, Sequence[Sequence[int]]], list[Tensor]]

KINDS = ("grouped", "latent", "full-rank", "routed", "tied")
DTYPES = (torch.float32, torch.bfloat16)


def prompts(num_prompts: int, longest: int, seed: int = 0) -> list[list[int]]:
    draw = Random(seed)
    return [draw.choices(range(60), k=draw.randint(1, longest)) for _ in range(num_prompts)]


def trained(one: Completion, logprobs_TV: Tensor) -> list[float]:
    """What training says of each generated token."""
    first = len(one.prompt_ids) - 1
    return [float(logprobs_TV[first + i, token]) for i, token in enumerate(one.ids)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled_from_is_what_training_computes(
    engine: Made, decoder: Callable[..., Decoder], training: Training, kind: str, dtype: torch.dtype
) -> None:
    """Bit for bit, with gradients, all documents side by side; 40 tokens and several pages."""
    model = decoder(kind, dtype)
    made = engine(model, page_size=8, max_batch_tokens=24)
    ask = Sampling(max_tokens=40, seed=3, ignore_eos=True, n=2, prompt_logprobs=3, logprobs=3)
    found = made.generate(prompts(4, 30), ask)
    assert {len(one.ids) for one in found} == {40}
    documents = [one.prompt_ids + one.ids for one in found]
    for one, logprobs in zip(found, training(model, documents), strict=True):
        assert list(one.logprobs) == trained(one, logprobs)
        scores = [float(logprobs[i, token]) for i, token in enumerate(one.prompt_ids[1:])]
        assert one.prompt_logprobs == (None, *scores)
        assert one.top_logprobs is not None
        assert one.prompt_top_logprobs is not None
        tops = (*one.prompt_top_logprobs[1:], *one.top_logprobs)
        for row, top in zip(logprobs[:-1], tops, strict=True):
            best = row.sort(descending=True, stable=True)
            assert top is not None
            assert list(top) == best.indices[:3].tolist()
            assert list(top.values()) == best.values[:3].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_fast_numerics_are_near(
    engine: Made, decoder: Callable[..., Decoder], training: Training, kind: str
) -> None:
    model = decoder(kind)
    ask = Sampling(max_tokens=20, seed=3, ignore_eos=True)
    found = engine(model, numerics="fast").generate(prompts(4, 30), ask)
    documents = [one.prompt_ids + one.ids for one in found]
    for one, logprobs in zip(found, training(model, documents), strict=True):
        assert list(one.logprobs) == pytest.approx(trained(one, logprobs), abs=1e-3)


def test_an_engine_of_short_texts_leaves_long_ones_to_training(
    engine: Made, decoder: Callable[..., Decoder], training: Training
) -> None:
    model, document = decoder(), Random(0).choices(range(60), k=128)
    (before,) = training(model, [document])
    engine(model, max_length=16).generate([[1, 2, 3]], Sampling(max_tokens=4))
    (after,) = training(model, [document])
    assert torch.equal(before, after)


def buffers_of(model: Decoder, sizes: EnginePlan, numerics: Numerics = Numerics.EXACT) -> Forward:
    return Forward(model, sizes, numerics)


def buffers_planned(model: Decoder, numerics: Numerics) -> dict[str, Planned]:
    return planned_buffers(model.config, 96, expands_latents=numerics is Numerics.FAST)


@torch.no_grad()
def full_passes(forward: Forward, sizes: EnginePlan) -> None:
    """A prompt as long as a batch, then as many rows as there may be sequences; and once more
    behind a token that is there already."""
    per_sequence = sizes.max_batch_tokens // sizes.max_sequences
    batches = ([sizes.max_batch_tokens], [per_sequence] * sizes.max_sequences)
    for chunks, start in product(batches, (0, 1)):
        step, first = Step(), 0
        for key, length in enumerate(chunks):
            growing = Growing(key=key, ids=[7] * (start + length))
            num_pages = -(-(start + length) // sizes.page_size)
            growing.pages = list(range(first, first + num_pages))
            first += num_pages
            step.chunks.append(Chunk(growing, start, length, True))
        hidden_TD = forward.hidden(step)
        for _, logits_RV in forward.logits(hidden_TD, list(range(step.num_tokens))):
            forward.log_sum_exp(logits_RV)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numerics", [Numerics.EXACT, Numerics.FAST])
def test_no_buffer_outgrows_what_was_reserved(
    decoder: Callable[..., Decoder],
    plan: Callable[..., EnginePlan],
    kind: str,
    dtype: torch.dtype,
    numerics: Numerics,
) -> None:
    model = decoder(kind, dtype)
    sizes = plan(max_batch_tokens=96, max_sequences=12, logit_rows=64)
    forward = buffers_of(model, sizes, numerics)
    reserved = forward.buffer_bytes
    held = {name: buffer.data_ptr() for name, buffer in forward._buffers._held.items()}
    full_passes(forward, sizes)
    assert forward.buffer_bytes == reserved
    assert {n: b.data_ptr() for n, b in forward._buffers._held.items()} == held
    planned = buffers_planned(model, numerics)
    assert reserved == sum(
        one.num_values * (4 if one.is_wide else dtype.itemsize) for one in planned.values()
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numerics", [Numerics.EXACT, Numerics.FAST])
def test_no_buffer_is_reserved_in_vain(
    decoder: Callable[..., Decoder],
    plan: Callable[..., EnginePlan],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    numerics: Numerics,
) -> None:
    """What full passes ask for, when nothing was reserved, is what is planned."""
    sizes = plan(max_batch_tokens=96, max_sequences=12, logit_rows=64)
    model = decoder(kind)
    monkeypatch.setattr("penjing.engine.forward.planned_buffers", lambda *_, **__: {})
    forward = buffers_of(model, sizes, numerics)
    assert forward.buffer_bytes == 0
    full_passes(forward, sizes)
    asked = {name: buffer.numel() for name, buffer in forward._buffers._held.items()}
    planned = buffers_planned(model, numerics)
    assert asked == {name: one.num_values for name, one in planned.items()}


def test_copies_of_pages_are_made_in_order(
    decoder: Callable[..., Decoder], plan: Callable[..., EnginePlan]
) -> None:
    """The first copy reads a page that the second one writes."""
    forward = buffers_of(decoder(), plan(page_size=4))
    for cache_SW in forward._caches:
        cache_SW.copy_(torch.arange(len(cache_SW))[:, None].expand_as(cache_SW))
    forward._copy_pages(Step(copies=[(3, 5), (9, 3)]))
    for cache_SW in forward._caches:
        assert cache_SW[20:24, 0].tolist() == [12, 13, 14, 15]
        assert cache_SW[12:16, 0].tolist() == [36, 37, 38, 39]
        assert cache_SW[16:20, 0].tolist() == [16, 17, 18, 19]


def test_the_cache_is_as_large_as_its_pages(
    decoder: Callable[..., Decoder], plan: Callable[..., EnginePlan]
) -> None:
    forward = buffers_of(decoder("latent"), plan(num_pages=10, page_size=4))
    assert [cache.shape for cache in forward._caches] == [(40, 16 + 4)] * 2


def test_the_digest_names_kernels_and_dtype(engine: Made) -> None:
    digests = {
        engine("grouped", dtype, numerics=how).digest for dtype in DTYPES for how in Numerics
    }
    assert len(digests) == 4
    assert sum(digest.endswith("-bfloat16") for digest in digests) == 2


needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device here"
)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_computes_the_same_model(decoder: Callable[..., Decoder], kind: str) -> None:
    packed = {where: pack_documents(prompts(3, 30), where) for where in ("cpu", "cuda")}
    logits = {}
    for where in packed:
        model = decoder(kind).to(where)
        arithmetic = Arithmetic(choose_kernels(torch.device(where)))
        with torch.no_grad():
            logits[where] = model.logits(model(packed[where], arithmetic), arithmetic).cpu()
    torch.testing.assert_close(logits["cuda"], logits["cpu"], atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_batch_shows_in_a_result_on_a_gpu(
    engine: Made, decoder: Callable[..., Decoder], kind: str, dtype: torch.dtype
) -> None:
    model = decoder(kind, dtype).to("cuda")
    ask = Sampling(max_tokens=20, seed=3, ignore_eos=True, logprobs=2)
    asked = prompts(6, 30)
    together = engine(model, max_batch_tokens=19).generate(asked, ask)
    alone = [engine(model).generate([prompt], ask)[0] for prompt in asked]
    assert [replace(one, num_cached=0) for one in together] == alone
