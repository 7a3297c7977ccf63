"""Bytes that training holds, beside what torch really keeps."""

from collections.abc import Callable

import pytest
import torch

from penjing.models.arithmetic import Arithmetic
from penjing.models.catalogue import load_model
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import choose_kernels
from penjing.train.footprint import Batch, activation_bytes, layer_bytes, training_footprint
from penjing.train.lora import LoraConfig
from penjing.train.scores import Document, scores


def kept_bytes(model: Decoder, tokens: int, *, recompute: bool = False) -> int:
    """Of what autograd holds after a forward pass in which the last token alone is learnt."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}
    held = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no memory is given out twice
        return tensor

    document = Document(
        ids=tuple(i % 50 for i in range(tokens)), is_learnt=(False,) * (tokens - 1) + (True,)
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores(model, [document], Arithmetic(choose_kernels(torch.device("cpu"))))
    return sum(found.values())


@pytest.mark.parametrize("kind", ["grouped", "latent", "routed"])
def test_what_a_token_leaves_is_counted(decoder: Callable[..., Decoder], kind: str) -> None:
    model = decoder(kind)
    measured = (kept_bytes(model, 60) - kept_bytes(model, 40)) / 20
    counted = sum(layer_bytes(layer, model.config.width, 4) for layer in model.config.layers)
    assert counted == pytest.approx(measured, rel=0.03)


def test_kinds_add_up() -> None:
    config = load_model("qwen2.5-0.5b")
    batch = Batch(tokens=1024, learnt=512, longest=256)
    plain = training_footprint(config, batch)
    assert plain.weights == plain.gradients == pytest.approx(4 * 494.0e6, rel=1e-3)
    assert plain.optimizer == 2 * plain.weights
    kinds = (plain.weights, plain.gradients, plain.optimizer, plain.activations)
    assert plain.total == sum(kinds)
    narrow = training_footprint(config, batch, value_bytes=2)
    assert narrow.weights + narrow.gradients + narrow.optimizer == pytest.approx(
        16 * 494.0e6, rel=1e-3
    )
    assert training_footprint(config, batch, has_reference=True).reference == plain.weights


def test_recomputing_keeps_less_and_more_tokens_take_more() -> None:
    config = load_model("qwen2.5-0.5b")
    batch = Batch(tokens=4096, learnt=2048, longest=512)
    plain = activation_bytes(config, batch)
    assert activation_bytes(config, batch, recompute=True) < plain / 2
    assert activation_bytes(config, Batch(tokens=8192, learnt=4096, longest=512)) > 1.9 * plain
    assert activation_bytes(config, batch, 2) < plain


def test_logits_are_bounded_by_their_chunk() -> None:
    config = load_model("qwen2.5-0.5b")
    few = activation_bytes(config, Batch(tokens=10_000, learnt=1_000, longest=10))
    many = activation_bytes(config, Batch(tokens=10_000, learnt=9_000, longest=10))
    assert many - few == 8_000 * 2 * config.width * 4


def test_an_adapter_has_gradients_and_moments_of_its_factors() -> None:
    """PEFT counts 8,798,208 trainable parameters at rank 16, all linear layers."""
    config = load_model("qwen2.5-0.5b")
    batch = Batch(tokens=1024, learnt=512, longest=256)
    plain = training_footprint(config, batch, value_bytes=2)
    found = training_footprint(
        config, batch, value_bytes=2, adapter=LoraConfig(rank=16, alpha=32.0)
    )
    assert found.optimizer == 3 * 4 * 8_798_208
    assert found.gradients < plain.gradients / 20
    linear = plain.weights - 2 * 151_936 * config.width  # all but the embedding, norms and biases
    assert found.frozen == pytest.approx(linear, rel=1e-3)
    assert found.total < plain.total
