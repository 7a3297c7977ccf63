"""From the keys of a stage to the parts of its algorithm, which check what they are given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, Contradiction, RequestError
from penjing.tasks.length import SoftLimit
from penjing.tasks.reward import Part, RewardConfig
from penjing.train.clip import Cispo, Clip, Dppo, Gmpo, Ppo
from penjing.train.correction import Bound, Correction
from penjing.train.covariance import ClipCov, EntropyGuard, KlCov
from penjing.train.distil import DistilConfig
from penjing.train.lora import LoraConfig
from penjing.train.optimizer import AdamW
from penjing.train.policy_loss import PolicyLoss
from penjing.train.reinforce import ReinforceConfig
from penjing.train.schedule import Schedule
from penjing.train.stages import (
    AnyStage,
    ClipCovChoice,
    ClipKind,
    DistilStage,
    Finetune,
    KlCovChoice,
    Mask,
    Pretrain,
    ReinforceStage,
    Reject,
    Trained,
    Truncate,
)

LEAST_RATE, MOST_RATE = 1e-10, 0.1


def policy_loss_of(stage: ReinforceStage) -> PolicyLoss:
    """Raises what the parts raise, with the stage named: so does every function here."""
    with _named(stage):
        return PolicyLoss(
            ratio=stage.ratio,
            clip=_clip(stage),
            correction=_correction(stage.correction),
            divergence=stage.divergence,
            kl=stage.kl,
            entropy_guard=_guard(stage.entropy_guard),
            entropy_bonus=stage.entropy_bonus,
        )


def reinforce_config_of(stage: ReinforceStage) -> ReinforceConfig:
    loss = policy_loss_of(stage)
    with _named(stage):
        if stage.reference_every and not stage.kl:
            raise Contradiction(
                f"reference_every is {stage.reference_every}, but kl 0, so that there is no "
                "reference; give kl too, or leave it out"
            )
        return ReinforceConfig(
            loss=loss,
            advantage=stage.advantage,
            aggregation=stage.aggregation,
            minibatches=stage.minibatches,
            masks_truncated=stage.masks_truncated,
            reference_every=stage.reference_every,
        )


def reward_config_of(stage: ReinforceStage | DistilStage) -> RewardConfig:
    """Of a distillation: what is told of the student, and not learnt from."""
    if isinstance(stage, DistilStage):
        return RewardConfig(weights={Part.ACCURACY: 1.0})
    has_limit = Part.OVER_LENGTH in stage.rewards or "soft_limit" in stage.model_fields_set
    with _named(stage):
        return RewardConfig(
            weights=stage.rewards,
            language=stage.language,
            soft_limit=_soft_limit(stage) if has_limit else None,
        )


def sampling_of(stage: ReinforceStage | DistilStage | Reject) -> Sampling:
    with _named(stage):
        return Sampling(
            temperature=stage.temperature,
            top_p=stage.top_p,
            max_tokens=stage.max_tokens,
            thinking_budget=stage.thinking_budget,
        )


def distil_config_of(stage: DistilStage) -> DistilConfig:
    with _named(stage):
        return DistilConfig(
            form=stage.form,
            clip=Ppo(low=stage.clip_low, high=stage.clip_high),
            aggregation=stage.aggregation,
            minibatches=stage.minibatches,
        )


def schedule_of(stage: Trained) -> Schedule:
    rate = stage.learning_rate
    with _named(stage):
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise BadQuantity(
                f"the learning rate is {rate}; it must be from {LEAST_RATE:g} to {MOST_RATE:g}, "
                f"and {_usual(stage)} is usual"
            )
        return Schedule(
            peak=rate,
            shape=stage.shape,
            warmup_steps=stage.warmup_steps,
            final_share=stage.final_share,
        )


def adam_of(stage: Trained) -> AdamW:
    with _named(stage):
        return AdamW(
            beta1=0.9,
            beta2=stage.beta2,
            weight_decay=stage.weight_decay,
            max_norm=stage.max_norm,
        )


def adapter_of(stage: Trained) -> LoraConfig | None:
    asked = stage.adapter
    if asked is None:
        return None
    with _named(stage):
        return LoraConfig(
            rank=asked.rank,
            alpha=asked.alpha,
            targets=tuple(asked.targets),
            experts=asked.experts,
            rslora=asked.rslora,
        )


def check_stage(stage: AnyStage) -> None:
    """All that the parts have to say, before anything runs."""
    match stage:
        case ReinforceStage():
            reinforce_config_of(stage)
            reward_config_of(stage)
            sampling_of(stage)
        case DistilStage():
            distil_config_of(stage)
            sampling_of(stage)
        case Reject():
            sampling_of(stage)
            return
        case Pretrain() | Finetune():
            pass
        case _:
            assert_never(stage)
    schedule_of(stage)
    adam_of(stage)
    adapter_of(stage)


def _clip(stage: ReinforceStage) -> Clip:
    low, high = stage.clip_low, stage.clip_high
    for name, kind in (("clip_dual", ClipKind.PPO), ("clip_most", ClipKind.DPPO)):
        if getattr(stage, name) is not None and stage.clip is not kind:
            raise Contradiction(
                f"{name} is of the clip {kind}, and the clip is {stage.clip}; leave it out"
            )
    if stage.clip is ClipKind.CISPO:
        return Cispo(low=low, high=high)
    assert low is not None, "TOML has no word for none, and every other clip has a default"
    match stage.clip:
        case ClipKind.PPO:
            return Ppo(low=low, high=high, dual=stage.clip_dual)
        case ClipKind.DPPO:
            assert stage.clip_most is not None, "as above"
            return Dppo(low=low, high=high, most=stage.clip_most)
        case ClipKind.GMPO:
            return Gmpo(low=low, high=high)
        case _:
            assert_never(stage.clip)


def _correction(asked: Truncate | Mask | None) -> Correction | None:
    match asked:
        case None:
            return None
        case Truncate():
            return Correction(level=asked.level, bound=Bound.TRUNCATE, most=asked.most)
        case Mask():
            return Correction(
                level=asked.level, bound=Bound.MASK, least=asked.least, most=asked.most
            )
        case _:
            assert_never(asked)


def _guard(asked: KlCovChoice | ClipCovChoice | None) -> EntropyGuard | None:
    match asked:
        case None:
            return None
        case KlCovChoice():
            return KlCov(share=asked.share, coefficient=asked.coefficient)
        case ClipCovChoice():
            return ClipCov(share=asked.share, low=asked.low, high=asked.high)
        case _:
            assert_never(asked)


def _soft_limit(stage: ReinforceStage) -> SoftLimit:
    cache = max(1, round(stage.soft_limit * stage.max_tokens))
    return SoftLimit(max_tokens=stage.max_tokens, cache_tokens=cache)


def _usual(stage: Trained) -> str:
    match stage:
        case Pretrain():
            return "1e-4 to 1e-2 to pretrain"
        case Finetune():
            return "1e-6 to 1e-4 to fine-tune (1e-3 a small model)"
        case ReinforceStage() | DistilStage():
            return "1e-7 to 1e-5 (1e-3 for a small model, ten times more for an adapter)"
        case _:
            assert_never(stage)


@contextmanager
def _named(stage: AnyStage) -> Iterator[None]:
    """Says of what is refused whose it is."""
    try:
        yield
    except RequestError as error:
        error.args = (f"stage {stage.name}: {error}",)
        raise
