from collections.abc import Callable

import pytest
import torch

from penjing.engine.engine import Engine
from penjing.engine.gap import Gap, measure_gap
from penjing.engine.sampling import Sampling
from penjing.models.decoder import Decoder

Made = Callable[..., Engine]

PROMPTS = [[1, 2, 3], list(range(40)), [7]]
ASK = Sampling(max_tokens=20, seed=1, ignore_eos=True, n=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_exact_numerics_have_no_gap(engine: Made, kind: str, dtype: torch.dtype) -> None:
    made = engine(kind, dtype)
    found = made.gap(made.generate(PROMPTS, ASK))
    assert found == Gap(num_tokens=120, largest=0.0, mean=0.0, num_different=0)


@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_fast_numerics_have_one_and_it_is_small(engine: Made, kind: str) -> None:
    made = engine(kind, torch.bfloat16, numerics="fast")
    found = made.gap(made.generate(PROMPTS, ASK))
    assert found.num_tokens == 120
    assert 0 < found.mean < 0.1  # of single tokens it may be more, where one goes to other experts
    assert found.mean < found.largest
    assert 0 < found.num_different <= 120


def test_a_gap_of_the_last_bits_is_one(engine: Made) -> None:
    made = engine(numerics="fast")
    found = made.gap(made.generate(PROMPTS, ASK))
    assert found.largest < 1e-3
    assert 0 < found.num_different < 120


def test_the_gap_of_other_weights_is_theirs(engine: Made, decoder: Callable[..., Decoder]) -> None:
    model = decoder()
    made = engine(model)
    done = made.generate(PROMPTS, ASK)
    with torch.no_grad():
        model.norm.mul_(1.5)
    found, rescored = made.gap(done), made.score([one.prompt_ids + one.ids for one in done])
    differences = [
        abs(before - after)
        for one, scores in zip(done, rescored, strict=True)
        for before, after in zip(one.logprobs, scores[len(one.prompt_ids) :], strict=True)
        if after is not None
    ]
    assert found.largest == max(differences) > 0.1
    assert found.mean == pytest.approx(sum(differences) / 120)
    assert found.num_different == sum(difference != 0 for difference in differences)


def test_nothing_has_no_gap(decoder: Callable[..., Decoder]) -> None:
    nothing = Gap(num_tokens=0, largest=0.0, mean=0.0, num_different=0)
    assert measure_gap(decoder(), []) == nothing
