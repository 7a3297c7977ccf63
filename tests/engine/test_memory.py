"""What is said before a load, in bytes, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.engine.engine import Engine
from penjing.engine.memory import (
    PAGE_SIZE,
    EnginePlan,
    Limits,
    buffer_bytes,
    engine_weight_bytes,
    plan_engine,
    planned_buffers,
    turn_bytes,
)
from penjing.errors import BadQuantity, DoesNotFit
from penjing.models.cache import cache_bytes_per_token
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.models.decoder import Decoder
from penjing.models.format import BF16, FP32, Format

# Values a token of what goes into the widest product: latents of all heads, or inner ones.
WIDEST = {"grouped": 48, "latent": 64, "full-rank": 64, "routed": 36, "tied": 48}
PLENTY = 1e9


@pytest.fixture(scope="module")
def config(decoder: Callable[..., Decoder]) -> ModelConfig:
    return decoder().config


@pytest.mark.parametrize("form", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", WIDEST)
def test_bytes_are_those_of_the_tensors(
    decoder: Callable[..., Decoder], kind: str, form: Format
) -> None:
    model = decoder(kind, torch.float32 if form is FP32 else torch.bfloat16)
    planned = plan_engine(
        model.config,
        form,
        Limits(max_batch_tokens=32, max_sequences=4, max_length=100),
        available_bytes=PLENTY,
    )
    assert planned.weight_bytes == sum(one.nbytes for one in model.parameters())
    made = Engine(model, plan=planned)
    assert planned.cache_bytes == sum(cache.nbytes for cache in made.core.forward._caches)
    turns = model._turns_PR.nbytes
    assert turns == turn_bytes(model.config) > 0
    copies = planned.buffer_bytes - turns - made.core.forward.buffer_bytes
    assert copies == (0 if form is FP32 else 32 * 4 * WIDEST[kind])
    assert planned.peak_bytes >= taken(planned)


def taken(plan: EnginePlan) -> float:
    return plan.weight_bytes + plan.cache_bytes + plan.buffer_bytes


def test_weights_that_are_there_already_take_no_room(config: ModelConfig) -> None:
    whole = plan_engine(config, FP32, Limits(), available_bytes=PLENTY, base_bytes=7.0)
    held = plan_engine(
        config, FP32, Limits(), available_bytes=PLENTY, base_bytes=7.0, weights_held=True
    )
    assert (whole.base_bytes, held.base_bytes) == (7.0, 7.0)
    assert whole.peak_bytes - held.peak_bytes == engine_weight_bytes(config, FP32)


def test_correction_biases_stay_wide(decoder: Callable[..., Decoder]) -> None:
    config = decoder("latent").config
    without = engine_weight_bytes(config, FP32) / 2
    assert engine_weight_bytes(config, BF16) == without + 8 * 2


def test_logits_are_planned_for_a_few_rows_only(config: ModelConfig) -> None:
    assert planned_buffers(config, 4096)["logits"].num_values == 64 * config.vocab_size
    assert planned_buffers(config, 5)["logits"].num_values == 5 * config.vocab_size
    assert buffer_bytes(config, FP32, 5) < buffer_bytes(config, FP32, 4096)


@given(
    available=st.floats(0, 2e6),
    max_length=st.none() | st.integers(1, 128),
    max_sequences=st.integers(1, 80),
    max_batch_tokens=st.integers(1, 256),
    cache_bytes=st.none() | st.floats(1, 1e6),
)
def test_a_plan_keeps_every_limit(
    config: ModelConfig,
    available: float,
    max_length: int | None,
    max_sequences: int,
    max_batch_tokens: int,
    cache_bytes: float | None,
) -> None:
    limits = Limits(
        max_length=max_length,
        max_sequences=max_sequences,
        max_batch_tokens=max_batch_tokens,
        cache_bytes=cache_bytes,
    )
    plan = fitting(config, limits, available)
    if plan is None:
        return
    assert taken(plan) <= 0.9 * available
    assert plan.cache_bytes <= (cache_bytes or PLENTY)
    assert plan.max_length == max_length or max_length is None
    assert 1 <= plan.max_length <= min(plan.num_pages * plan.page_size, config.max_positions)
    assert plan.num_pages <= plan.pages_per_sequence * max_sequences
    assert plan.max_batch_tokens >= plan.max_sequences == max_sequences


def fitting(config: ModelConfig, limits: Limits, available: float) -> EnginePlan | None:
    try:
        return plan_engine(config, FP32, limits, available_bytes=available)
    except DoesNotFit as error:
        refused = error
    assert refused.shortfall_bytes > 0
    assert "\n" not in str(refused)
    return None


def exactly(config: ModelConfig, length: int) -> float:
    """Free bytes of which a plan for one sequence of that length may use just enough."""
    limits = Limits(max_length=length, max_sequences=1)
    return taken(plan_engine(config, FP32, limits, available_bytes=PLENTY)) / 0.9


def test_one_byte_decides(config: ModelConfig) -> None:
    limits = Limits(max_length=128, max_sequences=1)
    enough = exactly(config, 128) + 1
    assert plan_engine(config, FP32, limits, available_bytes=enough).num_pages == 8
    with pytest.raises(
        DoesNotFit,
        match=r"tiny needs .* \(weights .*, cache .*, buffers .*\), but of .* free memory 90% may "
        r"be used; nearest that fits: 112 tokens",
    ) as caught:
        plan_engine(config, FP32, limits, available_bytes=enough - 2)
    assert caught.value.nearest == "112 tokens"
    assert 0 < caught.value.shortfall_bytes < 2


def test_without_a_length_what_fits_is_taken(config: ModelConfig) -> None:
    some = plan_engine(config, FP32, Limits(), available_bytes=PLENTY)
    assert (some.max_length, some.num_pages) == (128, 8 * 64)
    page = PAGE_SIZE * cache_bytes_per_token(config, FP32)
    little = plan_engine(config, FP32, Limits(cache_bytes=3.5 * page), available_bytes=PLENTY)
    assert (little.max_length, little.num_pages) == (48, 3)
    with pytest.raises(DoesNotFit, match="nearest that fits: a smaller model or dtype"):
        plan_engine(config, FP32, Limits(), available_bytes=1000)


def test_a_cache_that_was_asked_for_and_is_too_small_is_named(config: ModelConfig) -> None:
    page = PAGE_SIZE * cache_bytes_per_token(config, FP32)
    limits = Limits(cache_bytes=2 * page, max_length=100)
    with pytest.raises(
        DoesNotFit, match=r"cache_bytes is .*, but one sequence of 100 tokens takes .*; give at"
    ) as caught:
        plan_engine(config, FP32, limits, available_bytes=PLENTY)
    assert (caught.value.shortfall_bytes, caught.value.nearest) == (5 * page, "32 tokens")


def test_a_length_that_was_asked_for_may_take_a_large_cache() -> None:
    """131,072 tokens of this model take 17 GB, where unasked it would get 4 GiB."""
    config = load_model("llama-3.1-8b")
    plan = plan_engine(config, BF16, Limits(max_length=131_072), available_bytes=80e9)
    assert plan.max_length == 131_072
    assert plan.cache_bytes == 131_072 * cache_bytes_per_token(config, BF16) > 4 * 2**30
    unasked = plan_engine(config, BF16, Limits(), available_bytes=80e9)
    assert unasked.cache_bytes <= 4 * 2**30


@pytest.mark.parametrize("name", ["max_length", "max_sequences", "max_batch_tokens", "cache_bytes"])
def test_limits_are_at_least_one(name: str) -> None:
    given: dict[str, Any] = {name: 0}
    with pytest.raises(BadQuantity, match=f"{name} is 0; it must be at least 1"):
        Limits(**given)


def test_a_length_beyond_the_model_is_refused(config: ModelConfig) -> None:
    with pytest.raises(BadQuantity, match="max_length is 129, but tiny has 128 positions"):
        plan_engine(config, FP32, Limits(max_length=129), available_bytes=PLENTY)


def test_pages_of_a_sequence_are_whole(plan: Callable[..., EnginePlan]) -> None:
    assert plan(max_length=33, page_size=16).pages_per_sequence == 3
    assert replace(plan(), max_length=32).pages_per_sequence == 2
