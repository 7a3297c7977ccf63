from typing import Any

import pytest

from penjing.errors import BadFile, BadQuantity, Contradiction, PenjingError, UnknownName
from penjing.models.config import LinearScaling, Llama3Scaling, Rope, Yarn
from penjing.models.config_json import ConfigJson
from penjing.models.rope_config import rope_from

YARN = {"rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def _rope(dim: int = 64, **keys: Any) -> Rope:
    return rope_from(ConfigJson(keys, "Toy"), dim)


@pytest.mark.parametrize(
    ("section", "scaling"),
    [
        (YARN, Yarn(factor=40, original_positions=4096)),
        (
            YARN
            | {"beta_fast": 1, "beta_slow": 2, "mscale": 0.7, "mscale_all_dim": 0.5}
            | {"attention_factor": 1.2, "truncate": False},
            Yarn(
                factor=40,
                original_positions=4096,
                beta_fast=1,
                beta_slow=2,
                mscale=0.7,
                mscale_all_dim=0.5,
                attention_factor=1.2,
                truncate=False,
            ),
        ),
        (
            LLAMA3,
            Llama3Scaling(factor=8, original_positions=8192, low_freq_factor=1, high_freq_factor=4),
        ),
        ({"type": "linear", "factor": 4}, LinearScaling(factor=4)),
        ({"rope_type": "default"}, None),
        ({"type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True}, None),
        (None, None),
    ],
)
def test_both_spellings_give_the_same_rope(section: dict[str, Any] | None, scaling: object) -> None:
    old = _rope(rope_theta=1e6, rope_scaling=section)
    new = _rope(rope_parameters={"rope_theta": 1e6} | (section or {}))
    both = _rope(
        rope_theta=1e6, rope_scaling=section, rope_parameters={"rope_theta": 1e6} | (section or {})
    )
    assert old == new == both
    assert old == Rope(theta=1e6, dim=64, scaling=scaling)  # type: ignore[arg-type]


def test_type_and_rope_type_are_one_key() -> None:
    word = {k: v for k, v in YARN.items() if k != "rope_type"} | {"type": "yarn"}
    assert _rope(rope_theta=1, rope_scaling=word) == _rope(rope_theta=1, rope_scaling=YARN)
    with pytest.raises(Contradiction, match="another spelling"):
        _rope(rope_theta=1, rope_scaling=YARN | {"type": "linear"})


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({}, BadFile, "rope_theta is missing"),
        ({"rope_theta": 1, "rope_parameters": {"rope_theta": 2}}, Contradiction, "rope_theta is 1"),
        ({"rope_theta": 1, "rope_scaling": {"rope_type": "yarn"}}, BadFile, "factor is missing"),
        (
            {"rope_theta": 1, "rope_scaling": {"rope_type": "yarn", "factor": 4}},
            BadFile,
            "original_max_position_embeddings is missing",
        ),
        ({"rope_theta": 1, "rope_scaling": YARN | {"factor": -4}}, BadQuantity, "factor is -4"),
        ({"rope_theta": 1, "rope_scaling": {"type": "longrope"}}, UnknownName, "llama3"),
        ({"rope_theta": 1, "rope_scaling": YARN | {"mscal": 2}}, UnknownName, "nearest: mscale"),
        ({"rope_theta": 1, "rope_scaling": "yarn"}, BadFile, "an object"),
        (
            {"rope_theta": 1, "rope_scaling": YARN, "rope_parameters": LLAMA3},
            Contradiction,
            "disagree",
        ),
        (
            {"rope_theta": 1, "rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}},
            Contradiction,
            "must be below",
        ),
        (
            {"rope_theta": 1, "rope_parameters": {"partial_rotary_factor": 0.5}},
            UnknownName,
            "partial_rotary_factor",
        ),
    ],
)
def test_what_does_not_hold_is_named(
    keys: dict[str, Any], error: type[PenjingError], match: str
) -> None:
    with pytest.raises(error, match=match):
        _rope(**keys)


@pytest.mark.parametrize("dim", [63, 1])
def test_an_odd_width_cannot_turn(dim: int) -> None:
    with pytest.raises(Contradiction, match="must be even"):
        _rope(dim, rope_theta=1e4)


def test_only_a_share_of_the_head_turns_where_the_family_says_so() -> None:
    def share(**keys: Any) -> int:
        return rope_from(ConfigJson(keys | {"rope_theta": 1e6}, "Toy"), 128, default_share=0.5).dim

    assert share() == 64
    assert share(partial_rotary_factor=0.25) == 32
    assert share(rope_parameters={"partial_rotary_factor": 0.25}) == 32
    with pytest.raises(Contradiction, match=r"0.25 but 0.5 in rope_parameters"):
        share(partial_rotary_factor=0.25, rope_parameters={"partial_rotary_factor": 0.5})
    with pytest.raises(Contradiction, match="at most 1"):
        share(partial_rotary_factor=2.0)
