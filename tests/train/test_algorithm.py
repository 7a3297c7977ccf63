"""From keys to parts: each arrives where it belongs, and what parts refuse names the stage."""

from typing import Any

import pytest

from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, Contradiction, UnknownName
from penjing.tasks.language import Language
from penjing.tasks.length import SoftLimit
from penjing.train.aggregation import Aggregation
from penjing.train.algorithm import (
    adam_of,
    adapter_of,
    check_stage,
    distil_config_of,
    policy_loss_of,
    reinforce_config_of,
    reward_config_of,
    sampling_of,
    schedule_of,
)
from penjing.train.clip import Cispo, Dppo, Gmpo, Ppo
from penjing.train.correction import Bound, Correction, Level
from penjing.train.covariance import ClipCov, KlCov
from penjing.train.distil import DistilConfig, Form
from penjing.train.divergence import Divergence
from penjing.train.lora import LoraConfig
from penjing.train.optimizer import AdamW
from penjing.train.policy_loss import PolicyLoss
from penjing.train.ratio import Ratio
from penjing.train.reinforce import ReinforceConfig
from penjing.train.schedule import Schedule, Shape
from penjing.train.stages import (
    DistilStage,
    Finetune,
    Pretrain,
    ReinforceStage,
    Reject,
    Trained,
)

ZERO = {
    "name": "zero",
    "kind": "reinforce",
    "start": "base",
    "task": "sums",
    "steps": 1,
    "problems": 4,
    "group_size": 2,
    "max_tokens": 100,
    "learning_rate": 1e-5,
}


def zero(**given: Any) -> ReinforceStage:
    return ReinforceStage.model_validate({**ZERO, **given})


def distil(**given: Any) -> DistilStage:
    own = {"kind": "distil", "teacher": "big"}
    return DistilStage.model_validate({**ZERO, **own, **given})


def test_the_defaults_are_those_of_before() -> None:
    config = reinforce_config_of(zero())
    assert config == ReinforceConfig(
        loss=PolicyLoss(clip=Ppo(low=0.2, high=0.28)),
        advantage=config.advantage,
        aggregation=Aggregation.CONSTANT,
    )
    assert sampling_of(zero()) == Sampling(temperature=1.0, max_tokens=100)
    assert adam_of(zero()) == AdamW(beta1=0.9, beta2=0.95, weight_decay=0.0, max_norm=1.0)
    assert schedule_of(zero()) == Schedule(peak=1e-5)
    assert adapter_of(zero()) is None


def test_every_part_of_a_loss_arrives() -> None:
    found = policy_loss_of(
        zero(
            ratio="sequence",
            clip_low=0.1,
            clip_high=0.3,
            clip_dual=3.0,
            correction={"bound": "truncate", "level": "sequence", "most": 3.0},
            divergence="corrected",
            kl=0.02,
            entropy_guard={"kind": "kl_cov", "share": 0.1, "coefficient": 2.0},
            entropy_bonus=0.003,
        )
    )
    assert found == PolicyLoss(
        ratio=Ratio.SEQUENCE,
        clip=Ppo(low=0.1, high=0.3, dual=3.0),
        correction=Correction(level=Level.SEQUENCE, bound=Bound.TRUNCATE, most=3.0),
        divergence=Divergence.CORRECTED,
        kl=0.02,
        entropy_guard=KlCov(share=0.1, coefficient=2.0),
        entropy_bonus=0.003,
    )


def test_every_clip_correction_and_guard_can_be_had() -> None:
    assert policy_loss_of(zero(clip="cispo")).clip == Cispo()
    assert policy_loss_of(zero(clip="cispo", clip_low=0.5)).clip == Cispo(low=0.5)
    assert policy_loss_of(zero(clip="dppo", clip_most=7.0)).clip == Dppo(most=7.0)
    assert policy_loss_of(zero(clip="gmpo", clip_high=0.3)).clip == Gmpo(high=0.3)
    mask = policy_loss_of(zero(correction={"bound": "mask"})).correction
    assert mask == Correction(bound=Bound.MASK, least=0.5, most=5.0)  # arXiv 2510.18855
    guard = policy_loss_of(zero(entropy_guard={"kind": "clip_cov", "high": 9.0})).entropy_guard
    assert guard == ClipCov(high=9.0)


def test_what_reinforcement_and_rewards_take() -> None:
    stage = zero(
        kl=0.1,
        minibatches=4,
        masks_truncated=True,
        reference_every=5,
        rewards={"accuracy": 1.0, "language": 0.5, "over_length": 0.25},
        language="zh",
        soft_limit=0.3,
        top_p=0.9,
        temperature=0.7,
        thinking_budget=50,
    )
    config, reward = reinforce_config_of(stage), reward_config_of(stage)
    assert (config.minibatches, config.masks_truncated, config.reference_every) == (4, True, 5)
    assert reward.weights == {"accuracy": 1.0, "language": 0.5, "over_length": 0.25}
    assert reward.language is Language.CHINESE
    assert reward.soft_limit == SoftLimit(max_tokens=100, cache_tokens=30)
    assert sampling_of(stage) == Sampling(
        temperature=0.7, top_p=0.9, max_tokens=100, thinking_budget=50
    )


def test_distillation_and_adapters() -> None:
    stage = distil(
        form="full", minibatches=3, clip_high=0.5, adapter={"rank": 4, "targets": ["q_proj"]}
    )
    assert distil_config_of(stage) == DistilConfig(
        form=Form.FULL, clip=Ppo(low=0.2, high=0.5), minibatches=3
    )
    assert adapter_of(stage) == LoraConfig(rank=4, alpha=32.0, targets=("q_proj",))
    assert reward_config_of(stage).weights == {"accuracy": 1.0}
    cosine = schedule_of(zero(shape="cosine", warmup_steps=3, final_share=0.2))
    assert cosine == Schedule(peak=1e-5, shape=Shape.COSINE, warmup_steps=3, final_share=0.2)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"learning_rate": 10.0}, BadQuantity, "the learning rate is 10.0; .* 1e-7 to 1e-5"),
        ({"learning_rate": 0.11}, BadQuantity, "the learning rate is 0.11"),
        ({"learning_rate": 1e-12}, BadQuantity, "must be from 1e-10"),
        ({"learning_rate": float("nan")}, BadQuantity, "the learning rate is nan"),
        ({"warmup_steps": 2, "beta2": 1.0}, BadQuantity, "beta2 is 1.0"),
        ({"clip_dual": 1.1}, BadQuantity, "dual is 1.1"),
        ({"clip_low": -0.1}, BadQuantity, "low is -0.1"),
        ({"clip": "cispo", "clip_dual": 3.0}, Contradiction, "clip_dual is of the clip ppo"),
        ({"clip_most": 3.0}, Contradiction, "clip_most is of the clip dppo"),
        ({"clip": "cispo", "ratio": "sequence"}, Contradiction, "the ratio sequence"),
        ({"reference_every": 3}, Contradiction, "reference_every is 3, but kl 0"),
        ({"rewards": {"speed": 1.0}}, UnknownName, "unknown part of the reward 'speed'"),
        ({"rewards": {"accuracy": -1.0}}, BadQuantity, "the weight of accuracy is -1.0"),
        ({"rewards": {"language": 1.0}}, Contradiction, "not language"),
        ({"language": "en"}, Contradiction, "language but not its weight"),
        ({"soft_limit": 0.5}, Contradiction, "soft_limit but not its weight"),
        ({"correction": {"bound": "mask", "most": 0.5}}, BadQuantity, "do not enclose 1"),
        ({"entropy_guard": {"kind": "kl_cov", "share": 2}}, BadQuantity, "share is 2"),
        ({"adapter": {"rank": 0}}, BadQuantity, "rank is 0"),
    ],
)
def test_what_parts_refuse_names_the_stage(
    given: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        check_stage(zero(**given))
    assert str(caught.value).startswith("stage zero: ")
    assert "\n" not in str(caught.value)


def test_each_kind_is_checked() -> None:
    common = {"name": "one", "start": "base", "learning_rate": 5.0}
    stages: list[Trained] = [
        Pretrain.model_validate(
            {**common, "kind": "pretrain", "task": "sums", "steps": 1, "batch": 1}
        ),
        Finetune.model_validate({**common, "kind": "sft", "data": ["a"], "epochs": 1, "batch": 1}),
        distil(name="one", learning_rate=5.0),
    ]
    for stage, usual in zip(stages, ("to pretrain", "to fine-tune", "1e-7 to 1e-5"), strict=True):
        with pytest.raises(BadQuantity, match=f"stage one: the learning rate is 5.0; .*{usual}"):
            check_stage(stage)
    rejection = {k: v for k, v in ZERO.items() if k not in ("steps", "group_size", "learning_rate")}
    check_stage(Reject.model_validate({**rejection, "kind": "reject", "samples": 2}))
