"""Presets: numbers as the papers have them, each with its source, and stages that take them."""

import re
from typing import Any

import pytest

from penjing.errors import UnknownName
from penjing.train.algorithm import check_stage
from penjing.train.presets import DEFAULT, preset, preset_names
from penjing.train.stages import ReinforceStage

WHOLE = {"name": "zero", "kind": "reinforce", "start": "base", "task": "sums", "steps": 1}
SIZES = {"problems": 1, "group_size": 2, "max_tokens": 10, "learning_rate": 1e-5}


def stage(**given: Any) -> ReinforceStage:
    return ReinforceStage.model_validate({**WHOLE, **given})


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_stage_with_sources(name: str) -> None:
    sizes = SIZES if name == DEFAULT else {}
    made = stage(preset=name, **sizes)
    check_stage(made)
    for key, sourced in preset(name).items():
        assert made.model_dump(mode="json")[key] == sourced.value
        assert len(sourced.source) > 20, key
    if name != DEFAULT:
        papers = [s.source for s in preset(name).values()]
        cited = [s for s in papers if re.search(r"arXiv \d{4}\.\d{5}|Nature 645|examples/", s)]
        unpublished = [s for s in papers if s.startswith("not ")]
        assert len(cited) + len(unpublished) >= len(papers)


def test_the_default_is_what_a_stage_does_without_a_preset() -> None:
    plain = stage(**SIZES)
    assert plain.preset == DEFAULT
    assert plain == stage(preset=DEFAULT, **SIZES)
    for key, sourced in preset(DEFAULT).items():
        assert ReinforceStage.model_fields[key].description == sourced.source
    # Dr. GRPO, clip-higher, no divergence: the mode that loses least, by papers of 2025
    assert (plain.advantage, plain.aggregation) == ("dr_grpo", "constant")
    assert (plain.clip_low, plain.clip_high, plain.kl) == (0.2, 0.28, 0.0)
    assert plain.rewards == {"accuracy": 1.0}


def test_r1_has_the_numbers_of_nature() -> None:
    """Nature 645, Methods: 512 outputs an update, 16 updates of 8,192, the reference every 400."""
    r1 = stage(preset="r1_paper")
    assert (r1.learning_rate, r1.kl, r1.group_size, r1.max_tokens) == (3e-6, 0.001, 16, 32768)
    assert r1.problems * r1.group_size == 8192
    assert r1.problems * r1.group_size / r1.minibatches == 512
    assert r1.reference_every * r1.minibatches == 400
    assert (r1.clip_low, r1.clip_high, r1.temperature) == (10, 10, 1)
    assert (r1.advantage, r1.divergence) == ("grpo", "k3")
    assert r1.rewards == {"accuracy": 1.0, "format": 1.0}


def test_dapo_has_the_numbers_of_its_paper() -> None:
    """arXiv 2503.14476, section 4.1."""
    dapo = stage(preset="dapo")
    assert (dapo.learning_rate, dapo.warmup_steps) == (1e-6, 20)
    assert (dapo.problems, dapo.group_size, dapo.minibatches) == (512, 16, 16)
    assert (dapo.max_tokens, dapo.soft_limit * dapo.max_tokens) == (20480, 4096)
    assert (dapo.clip_low, dapo.clip_high, dapo.kl) == (0.2, 0.28, 0)
    assert (dapo.advantage, dapo.aggregation) == ("grpo", "token")


def test_dr_grpo_has_the_numbers_of_its_script() -> None:
    """sail-sg/understand-r1-zero, examples/qwen2.5-math-7b.sh."""
    dr = stage(preset="dr_grpo")
    assert (dr.learning_rate, dr.problems, dr.group_size, dr.max_tokens) == (1e-6, 128, 8, 3000)
    assert (dr.advantage, dr.aggregation, dr.kl) == ("dr_grpo", "constant", 0)


def test_what_a_stage_gives_stands_above_its_preset() -> None:
    made = stage(preset="dapo", kl=0.01, max_tokens=100)
    assert (made.kl, made.max_tokens, made.group_size) == (0.01, 100, 16)


def test_an_unknown_preset_has_a_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown preset 'dappo'; nearest: dapo"):
        preset("dappo")
    with pytest.raises(UnknownName, match="nearest: dapo"):
        stage(preset="dappo")
