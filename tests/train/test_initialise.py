"""Weights to begin with."""

from collections.abc import Callable

import pytest
import torch

from penjing.models.decoder import Decoder
from penjing.train.initialise import STD, initialise


@pytest.mark.parametrize("kind", ["grouped", "latent", "tied"])
def test_each_kind_of_parameter(decoder: Callable[..., Decoder], kind: str) -> None:
    model = decoder(kind)
    initialise(model, 5)
    for name, p in model.named_parameters():
        values = p.detach()
        if name.endswith("norm"):
            assert torch.equal(values, torch.ones_like(values)), name
        elif "bias" in name:
            assert not values.any(), name
        else:
            assert float(values.std()) == pytest.approx(STD, rel=0.2), name
            assert abs(float(values.mean())) < STD / 3, name


def test_the_seed_decides(decoder: Callable[..., Decoder]) -> None:
    def weights(seed: int) -> torch.Tensor:
        model = decoder()
        initialise(model, seed)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    model = decoder()
    initialise(model, 1)
    shapes = [p.detach() for p in model.parameters() if p.ndim == 2]
    same = [one for one in shapes for other in shapes if one is not other and one.equal(other)]
    assert not same
