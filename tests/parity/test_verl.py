"""Losses and advantages beside verl 0.9 on the same tensors, in fp64: values and gradients.

Runs where verl is installed, and needs nothing else of it. Where the two are not the same by
intention, a test says what the difference is, and that there is no other.
"""

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from penjing.train.advantage import Advantage, advantages
from penjing.train.aggregation import Aggregation, token_weights
from penjing.train.clip import Cispo, Dppo, Gmpo, Ppo
from penjing.train.correction import Correction
from penjing.train.covariance import ClipCov, KlCov, covariances
from penjing.train.divergence import Divergence, divergence
from penjing.train.policy_loss import PolicyLoss, Tokens, policy_loss
from penjing.train.ratio import Ratio
from penjing.train.segments import Segments
from tests.parity.verl_algorithms import ActorConfig, installed, loaded

LENGTHS = [3, 5, 1, 4]
NUM = sum(LENGTHS)
LONGEST = 6
RESPONSES = Segments.of_lengths(LENGTHS)
MASK_BT = (torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]).to(torch.float64)
UNBOUNDED = Ppo(low=1e6, high=1e6)
NO_CAP = 1e6  # verl's dual clip is never off
MODES = {
    Aggregation.SEQUENCE: "seq-mean-token-mean",
    Aggregation.TOKEN: "token-mean",
    Aggregation.CONSTANT: "seq-mean-token-sum-norm",
}


@pytest.fixture(scope="module")
def verl() -> Iterator[ModuleType]:
    package = installed()
    if package is None:
        pytest.skip("verl is not installed")
    with loaded(package) as algorithms:
        yield algorithms


def tokens(weights: Aggregation = Aggregation.TOKEN, **changes: Any) -> Tokens:
    drawn = torch.Generator().manual_seed(3)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(NUM, generator=drawn, dtype=torch.float64)

    old_T = -1 - noise(0.5).abs()
    advantages_B = torch.tensor([1.0, -0.5, -2.0, 0.7], dtype=torch.float64)
    given: dict[str, Any] = {
        "responses": RESPONSES,
        "logprobs_T": (old_T + noise(0.4)).requires_grad_(),
        "old_T": old_T,
        "rollout_T": old_T + noise(0.2),
        "advantages_T": RESPONSES.spread(advantages_B),
        "weights_T": token_weights(LENGTHS, weights, longest=LONGEST),
        "reference_T": old_T + noise(0.3),
    }
    return Tokens(**{**given, **changes})


def padded(values_T: Tensor) -> Tensor:
    """[T] to [B, LONGEST]; what pads must not matter, so it is no zero."""
    rows = values_T.split(LENGTHS)
    return torch.stack([F.pad(row, (0, LONGEST - len(row)), value=-0.3) for row in rows])


def of_both(
    verl: ModuleType,
    name: str,
    ours: Tokens,
    config: PolicyLoss,
    mode: str = "token-mean",
    factors_T: Tensor | None = None,
    **settings: Any,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(value, gradient [T]) of ours and of theirs."""
    loss = policy_loss(ours, config, torch.Generator().manual_seed(1)).value
    (slope_T,) = torch.autograd.grad(loss, ours.logprobs_T)
    logprobs_BT = padded(ours.logprobs_T.detach()).requires_grad_()
    torch.manual_seed(1)
    found, _ = verl.get_policy_loss_fn(name)(
        padded(ours.old_T),
        logprobs_BT,
        padded(ours.advantages_T),
        MASK_BT,
        mode,
        ActorConfig(**settings),
        None if factors_T is None else padded(factors_T),
    )
    (slope_BT,) = torch.autograd.grad(found, logprobs_BT)
    assert not slope_BT[MASK_BT == 0].any()
    return (loss.detach(), slope_T), (found.detach(), slope_BT[MASK_BT > 0])


def assert_same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, check_dtype=False)


LOSSES: dict[str, tuple[str, PolicyLoss, dict[str, Any]]] = {
    "ppo": ("vanilla", PolicyLoss(), {"clip_ratio_c": NO_CAP}),
    "clip higher": (
        "vanilla",
        PolicyLoss(clip=Ppo(low=0.1, high=0.28)),
        {"clip_ratio_low": 0.1, "clip_ratio_high": 0.28, "clip_ratio_c": NO_CAP},
    ),
    "dual clip": ("vanilla", PolicyLoss(clip=Ppo(dual=1.3)), {"clip_ratio_c": 1.3}),
    # Theirs has the gradient of GSPO-token, ours of GSPO: the same for one advantage a response.
    "gspo": (
        "gspo",
        PolicyLoss(ratio=Ratio.SEQUENCE, clip=Ppo(low=0.02, high=0.05)),
        {"clip_ratio_low": 0.02, "clip_ratio_high": 0.05},
    ),
    "cispo": (
        "cispo",
        PolicyLoss(clip=Cispo(low=0.1, high=0.2)),
        {"clip_ratio_low": 0.1, "clip_ratio_high": 0.2},
    ),
    "dppo": (
        "dppo_tv",
        PolicyLoss(clip=Dppo(low=0.03, high=0.04, most=1.2)),
        {"clip_ratio_low": 0.03, "clip_ratio_high": 0.04, "clip_ratio_c": 1.2},
    ),
}


@pytest.mark.parametrize("weights", sorted(Aggregation))
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_policy_losses(verl: ModuleType, name: str, weights: Aggregation) -> None:
    theirs, config, settings = LOSSES[name]
    assert_same(*of_both(verl, theirs, tokens(weights), config, MODES[weights], **settings))


def test_the_losses_clip_here() -> None:
    """Or the comparison would not see a clip that is wrong."""
    for name, (_, config, _) in LOSSES.items():
        count = policy_loss(tokens(), config).num_clipped
        assert 0 < count < NUM, name


def test_gmpo(verl: ModuleType) -> None:
    """Theirs ignores the aggregation: the mean over responses, as ours of SEQUENCE."""
    config = PolicyLoss(clip=Gmpo(low=0.2, high=0.3))
    bounds: dict[str, Any] = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.3}
    ours, theirs = of_both(verl, "geo_mean", tokens(Aggregation.SEQUENCE), config, **bounds)
    assert_same(ours, theirs)


def test_gpg_is_our_objective_on_policy(verl: ModuleType) -> None:
    """A log pi has no ratio. Ours of that form, CISPO, has it as a factor, which is 1 on policy."""
    logprobs_T = tokens().logprobs_T
    ours = tokens(old_T=logprobs_T.detach())
    assert_same(*of_both(verl, "gpg", ours, PolicyLoss(clip=Cispo())))


def test_a_correction_for_the_engine(verl: ModuleType) -> None:
    ours, correction = tokens(), Correction(most=1.1)
    factors_T = (ours.old_T - ours.rollout_T).exp().clamp(max=1.1)
    config = PolicyLoss(correction=correction)
    found = of_both(verl, "vanilla", ours, config, factors_T=factors_T, clip_ratio_c=NO_CAP)
    assert_same(*found)


def test_kl_cov(verl: ModuleType) -> None:
    """Theirs never clips, so ours is told not to."""
    guard = KlCov(share=0.4, coefficient=0.7)
    config = PolicyLoss(clip=UNBOUNDED, entropy_guard=guard)
    chosen = SimpleNamespace(kl_cov_ratio=0.4, ppo_kl_coef=0.7)
    assert_same(*of_both(verl, "kl_cov", tokens(), config, policy_loss=chosen))


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_clip_cov(verl: ModuleType, share: float) -> None:
    """Held tokens stay in the value of our loss and not of theirs; their gradient is 0 in both.

    Theirs draws among tokens that the clip leaves alone, so that no draw is lost on one without a
    gradient; as here nothing is clipped, and the generators are alike, the draws are too.
    """
    guard = ClipCov(share=share, low=-0.1, high=1.0)
    config = PolicyLoss(clip=UNBOUNDED, entropy_guard=guard)
    chosen = SimpleNamespace(clip_cov_ratio=share, clip_cov_lb=-0.1, clip_cov_ub=1.0)
    settings: dict[str, Any] = {"clip_ratio": 1e6, "policy_loss": chosen}
    ours, theirs = of_both(verl, "clip_cov", tokens(), config, **settings)
    assert_same(ours[1], theirs[1])
    of = tokens()
    is_held_T = ours[1] == 0
    assert 0 < int(is_held_T.sum()) < NUM
    costs_T = -of.advantages_T * (of.logprobs_T - of.old_T).exp().detach()
    assert_same(ours[0] - (of.weights_T * costs_T * is_held_T).sum(), theirs[0])


def test_clip_cov_with_a_clip(verl: ModuleType) -> None:
    """With every candidate held it does not matter that theirs leaves out clipped ones."""
    guard = ClipCov(share=1.0, low=-0.1, high=1.0)
    chosen = SimpleNamespace(clip_cov_ratio=1.0, clip_cov_lb=-0.1, clip_cov_ub=1.0)
    config = PolicyLoss(entropy_guard=guard)
    ours, theirs = of_both(verl, "clip_cov", tokens(), config, policy_loss=chosen)
    assert_same(ours[1], theirs[1])
    of = tokens()
    held_T = covariances(of.logprobs_T, of.advantages_T)
    assert 0 < int(((held_T > -0.1) & (held_T < 1.0)).sum()) < NUM


@pytest.mark.parametrize("mode", [*sorted(MODES.values()), "seq-mean-token-sum"])
def test_aggregation(verl: ModuleType, mode: str) -> None:
    """Ours has no sum over the tokens of a response alone: it is CONSTANT with a longest of 1."""
    kinds = {theirs: ours for ours, theirs in MODES.items()}
    kind = kinds.get(mode, Aggregation.CONSTANT)
    weights_T = token_weights(LENGTHS, kind, longest=LONGEST if mode in kinds else 1)
    costs_T = tokens().old_T
    assert_same((weights_T * costs_T).sum(), verl.agg_loss(padded(costs_T), MASK_BT, mode))


@pytest.mark.parametrize("kind", sorted(Aggregation))
def test_a_masked_response(verl: ModuleType, kind: Aggregation) -> None:
    """Ours counts it among the responses, as TRL does; theirs where it is told the whole number."""
    counts = [True, False, True, True]
    mask_BT = MASK_BT * torch.tensor(counts)[:, None]
    costs_T = tokens().old_T
    weights_T = token_weights(LENGTHS, kind, longest=LONGEST, counts=counts)
    ours = (weights_T * costs_T).sum()
    told = verl.agg_loss(padded(costs_T), mask_BT, MODES[kind], global_batch_size=len(LENGTHS))
    assert_same(ours, told)
    alone = verl.agg_loss(padded(costs_T), mask_BT, MODES[kind])
    share = 1.0 if kind is Aggregation.TOKEN else sum(counts) / len(counts)
    assert_same(ours, alone * share)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_divergence(verl: ModuleType, kind: str) -> None:
    of = tokens()
    assert of.reference_T is not None
    ours_T = divergence(of.logprobs_T, of.reference_T, of.old_T, Divergence(kind))
    theirs_T = verl.kl_penalty(of.logprobs_T, of.reference_T, kind)
    assert_same(ours_T, theirs_T)
    slopes = [torch.autograd.grad(x.sum(), of.logprobs_T)[0] for x in (ours_T, theirs_T)]
    assert_same(*slopes)


def test_a_loss_with_a_divergence(verl: ModuleType) -> None:
    ours = tokens(Aggregation.SEQUENCE)
    mode = MODES[Aggregation.SEQUENCE]
    settings: dict[str, Any] = {"clip_ratio_c": NO_CAP}
    (value, slope_T), _ = of_both(verl, "vanilla", ours, PolicyLoss(kl=0.04), mode, **settings)
    _, (plain, plain_T) = of_both(verl, "vanilla", ours, PolicyLoss(), mode, **settings)
    assert ours.reference_T is not None
    moved_T = verl.kl_penalty(ours.logprobs_T, ours.reference_T, "low_var_kl")
    moved = verl.agg_loss(padded(moved_T), MASK_BT, mode)
    (moved_slope_T,) = torch.autograd.grad(moved, ours.logprobs_T)
    assert_same((value, slope_T), (plain + 0.04 * moved.detach(), plain_T + 0.04 * moved_slope_T))


def test_theirs_bounds_what_is_far_off(verl: ModuleType) -> None:
    """Ratios at e^20, k3 at 10: no gradient beyond. Ours has no such bounds, which hide a fault."""
    near, far = torch.tensor([-1.0, -30.0], dtype=torch.float64, requires_grad=True)
    theirs = verl.kl_penalty(far, near.detach(), "k3")
    ours = divergence(far, near.detach(), far, Divergence.K3)
    assert theirs.item() == 10
    assert ours.item() == pytest.approx(np.exp(29.0) - 30.0)


# Two groups whose rewards differ, and one where they do not.
REWARDS_B = torch.tensor([1.0, 0.0, 0.25, 1.0, 3.0, 1.0, -0.5, -0.5], dtype=torch.float64)
GROUPS = Segments.of_lengths([4, 2, 2])
GROUP_OF_B = GROUPS.index_T.numpy()
ESTIMATORS = {
    "grpo": Advantage.GRPO,
    "grpo_vectorized": Advantage.GRPO,  # fp32 inside
    "rloo": Advantage.RLOO,
    "rloo_vectorized": Advantage.RLOO,
    "reinforce_plus_plus_baseline": Advantage.REINFORCE_BASELINE,
    "gdpo": Advantage.GDPO,
}


EPSILON = 1e-10  # else ours and verl's whitening differ by it: theirs has its own, below the root


def ours_of(
    rewards_B: Tensor, kind: Advantage, groups: Segments = GROUPS, epsilon: float = EPSILON
) -> Tensor:
    return advantages({"accuracy": rewards_B}, {"accuracy": 1.0}, groups, kind, epsilon=epsilon)


def theirs_of(
    verl: ModuleType, rewards_B: Tensor, name: str, group_of_B: Any = GROUP_OF_B, **settings: Any
) -> Tensor:
    """Of responses of one token each."""
    mask_B1 = torch.ones(len(rewards_B), 1, dtype=rewards_B.dtype)
    settings = {"epsilon": EPSILON, "response_mask": mask_B1, "index": group_of_B, **settings}
    found_B1, _ = verl.get_adv_estimator_fn(name)(rewards_B[:, None].clone(), **settings)
    found_B: Tensor = found_B1[:, 0]
    return found_B


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_advantages(verl: ModuleType, name: str) -> None:
    """Of responses of one length. See the next test for others."""
    theirs_B = theirs_of(verl, REWARDS_B, name)
    assert_same(ours_of(REWARDS_B, ESTIMATORS[name]), theirs_B)


def test_grpo_by_default(verl: ModuleType) -> None:
    theirs_B = theirs_of(verl, REWARDS_B, "grpo", epsilon=1e-6)
    ours_B = advantages({"accuracy": REWARDS_B}, {"accuracy": 1.0}, GROUPS, Advantage.GRPO)
    torch.testing.assert_close(ours_B, theirs_B, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Advantage.REINFORCE_BASELINE, Advantage.GDPO])
def test_what_is_whitened(verl: ModuleType, kind: Advantage) -> None:
    """Theirs whitens over the tokens of the batch, ours over its responses, as REINFORCE++ does.

    So a long response weighs more there. It is ours of every token as a response of its own.
    """
    name = {v: k for k, v in ESTIMATORS.items()}[kind]
    lengths_B = torch.tensor([3, 5, 1, 4, 2, 2, 6, 1])
    mask_BT = (torch.arange(6) < lengths_B[:, None]).to(torch.float64)
    rewards_BT = torch.zeros_like(mask_BT)
    rewards_BT[torch.arange(8), lengths_B - 1] = REWARDS_B
    estimator = verl.get_adv_estimator_fn(name)
    theirs_BT, _ = estimator(rewards_BT, mask_BT, index=GROUP_OF_B, epsilon=EPSILON)
    inner = Advantage.DR_GRPO if kind is Advantage.REINFORCE_BASELINE else Advantage.GRPO
    once_T = ours_of(REWARDS_B, inner).repeat_interleave(lengths_B)
    together = Segments.of_lengths([len(once_T)])
    ours_T = ours_of(once_T, Advantage.REINFORCE_BASELINE, together)
    assert_same(ours_T, theirs_BT[mask_BT > 0])


def test_gdpo_of_several_parts(verl: ModuleType) -> None:
    """Their parts come in fp32, by another way than the reward."""
    parts = {"accuracy": REWARDS_B, "format": REWARDS_B.flip(0).square()}
    weights = {"accuracy": 1.0, "format": 0.5}
    ours_B = advantages(parts, weights, GROUPS, Advantage.GDPO, epsilon=EPSILON)
    rows = {"prompts": torch.zeros(8, 1), "attention_mask": torch.ones(8, 2, dtype=torch.int64)}
    theirs_B = theirs_of(
        verl,
        REWARDS_B,
        "gdpo",
        config={"gdpo_reward_keys": list(parts), "gdpo_reward_weights": list(weights.values())},
        non_tensor_batch={name: part.numpy() for name, part in parts.items()},
        batch=rows,
    )
    torch.testing.assert_close(ours_B.float(), theirs_B.float(), rtol=0, atol=2e-6)


def test_dr_grpo_and_gpg(verl: ModuleType) -> None:
    """GPG scales what Dr. GRPO has by responses over those whose reward is not 0."""
    ours_B = ours_of(REWARDS_B, Advantage.DR_GRPO)
    dr_B = theirs_of(verl, REWARDS_B, "grpo", norm_adv_by_std_in_grpo=False)
    assert_same(ours_B, dr_B)
    assert_same(ours_B * 8 / 7, theirs_of(verl, REWARDS_B, "gpg"))


def test_a_response_without_siblings(verl: ModuleType) -> None:
    """Its reward is compared with nothing: 0 for ours, the reward itself for theirs."""
    alone = Segments.of_lengths([1])
    reward_1 = torch.tensor([0.5], dtype=torch.float64)
    for name, theirs in {"grpo": 0.5, "rloo": 0.5, "rloo_vectorized": 0.0}.items():
        found_1 = theirs_of(verl, reward_1, name, np.array([0]))
        assert found_1.tolist() == pytest.approx([theirs], abs=1e-9)
        assert ours_of(reward_1, ESTIMATORS[name], alone).tolist() == [0.0]


def test_equal_rewards_in_fp32(verl: ModuleType) -> None:
    """A mean that is off by a rounding, over a deviation of 0: exact zeros in ours alone."""
    rewards_B = torch.full((7,), 0.1)
    together = Segments.of_lengths([7])
    assert not ours_of(rewards_B, Advantage.GRPO, together, epsilon=1e-6).any()
    theirs_B = theirs_of(verl, rewards_B, "grpo", np.zeros(7, int), epsilon=1e-6)
    assert 0 < theirs_B.abs().max() < 0.02
