import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from penjing.models.catalogue import load_model
from penjing.models.config import LinearScaling, Llama3Scaling, Rope, RopeScaling, Yarn
from penjing.models.rope import frequencies, magnitude, softmax_correction, turns, yarn_mscale

YARN: dict[str, Any] = {"factor": 40.0, "original_max_position_embeddings": 4096}
SCALINGS: dict[str, tuple[RopeScaling, dict[str, Any]]] = {
    "linear": (LinearScaling(factor=4.0), {"rope_type": "linear", "factor": 4.0}),
    "llama3": (
        Llama3Scaling(
            factor=8.0, original_positions=8192, low_freq_factor=1.0, high_freq_factor=4.0
        ),
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "original_max_position_embeddings": 8192,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
    ),
}
YARNS: dict[str, dict[str, Any]] = {
    "yarn": {},
    "R1": {"mscale": 1.0, "mscale_all_dim": 1.0},
    "two mscales": {"mscale": 0.7, "mscale_all_dim": 1.3},
    "one mscale": {"mscale": 0.7},
    "mscale of all": {"mscale_all_dim": 0.7},
    "given": {"attention_factor": 1.25},
    "given and two mscales": {"attention_factor": 1.25, "mscale": 0.7, "mscale_all_dim": 1.3},
    "given as 1": {"attention_factor": 1.0},
    "betas": {"beta_fast": 16.0, "beta_slow": 2.0},
    "not truncated": {"truncate": False},
    "a ramp of no length": {"beta_fast": 1.0, "beta_slow": 1.0, "truncate": False},
    "no stretch": {"factor": 1.0},
}
for _name, _change in YARNS.items():
    _keys = {**YARN, **_change}
    _ours = {k: v for k, v in _keys.items() if k != "original_max_position_embeddings"}
    SCALINGS[_name] = (Yarn(original_positions=4096, **_ours), {"rope_type": "yarn", **_keys})


@pytest.fixture(scope="session")
def theirs() -> Callable[[Rope, dict[str, Any]], tuple[Tensor, float]]:
    """What transformers computes: radians a position, and the factor on sines and cosines."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    def compute(rope: Rope, keys: dict[str, Any]) -> tuple[Tensor, float]:
        config = LlamaConfig(
            hidden_size=rope.dim,
            num_attention_heads=1,
            max_position_embeddings=163_840,
            rope_parameters={"rope_theta": rope.theta, **keys},
        )
        found, factor = ROPE_INIT_FUNCTIONS[keys["rope_type"]](config, "cpu")
        return found, float(factor)

    return compute


@pytest.mark.parametrize(("scaling", "keys"), SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize(("theta", "dim"), [(10_000.0, 64), (500_000.0, 128), (50_000.0, 8)])
def test_frequencies_and_magnitudes_are_those_of_transformers(
    scaling: RopeScaling,
    keys: dict[str, Any],
    theta: float,
    dim: int,
    theirs: Callable[[Rope, dict[str, Any]], tuple[Tensor, float]],
) -> None:
    rope = Rope(theta=theta, dim=dim, scaling=scaling)
    expected, factor = theirs(rope, keys)
    torch.testing.assert_close(frequencies(rope), expected, rtol=2e-6, atol=0)
    assert magnitude(rope) == pytest.approx(factor)


def test_without_scaling_frequencies_are_powers_of_theta() -> None:
    rope = Rope(theta=10_000.0, dim=8)
    expected = [10_000.0 ** (-i / 4) for i in range(4)]
    assert frequencies(rope).tolist() == pytest.approx(expected)
    assert magnitude(rope) == 1


def test_turns_are_cosines_then_sines() -> None:
    rope = Rope(theta=100.0, dim=4, scaling=Yarn(factor=1.0, original_positions=64))
    table = turns(rope, 50)
    assert table.shape == (50, 4)
    assert table.dtype is torch.float32
    angles = [7 * f for f in frequencies(rope).tolist()]
    expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    assert table[7].tolist() == pytest.approx(expected, abs=1e-6)


def test_turns_carry_the_magnitude() -> None:
    plain = Rope(theta=100.0, dim=4, scaling=Yarn(factor=4.0, original_positions=64, mscale=0.0))
    table = turns(plain, 10)
    squares = table[:, :2].square() + table[:, 2:].square()
    torch.testing.assert_close(squares, torch.full((10, 2), (0.1 * math.log(4) + 1) ** 2))


def test_the_first_positions_of_a_longer_table_are_the_same() -> None:
    rope = load_model("DeepSeek-R1").rope
    assert rope is not None
    assert torch.equal(turns(rope, 500)[:100], turns(rope, 100))


def test_the_correction_of_r1() -> None:
    """(0.1 ln 40 + 1)^2, and no magnitude beside it."""
    rope = load_model("DeepSeek-R1").rope
    assert rope is not None
    assert softmax_correction(rope) == pytest.approx(1.87385, abs=5e-6)
    assert magnitude(rope) == 1


@pytest.mark.parametrize("name", ["Moonlight-16B-A3B", "Llama-3.1-8B"])
def test_no_correction_without_yarn(name: str) -> None:
    assert softmax_correction(load_model(name).rope) == 1
    assert softmax_correction(None) == 1


def test_the_correction_is_that_of_all_dimensions() -> None:
    """As in DeepSeek's code: ``mscale`` alone corrects nothing."""
    yarn = Yarn(factor=40.0, original_positions=4096, mscale=0.7)
    assert softmax_correction(Rope(theta=1e4, dim=64, scaling=yarn)) == 1
    both = Yarn(factor=40.0, original_positions=4096, mscale=0.7, mscale_all_dim=0.5)
    rope = Rope(theta=1e4, dim=64, scaling=both)
    assert softmax_correction(rope) == pytest.approx((0.05 * math.log(40) + 1) ** 2)


def test_mscale_of_no_stretch_is_one() -> None:
    assert yarn_mscale(1.0, 5.0) == yarn_mscale(0.5, 5.0) == 1
    assert yarn_mscale(math.e, 2.0) == pytest.approx(1.2)
