"""The whole loss: gradients by hand, a batch in pieces, and TRL's loss on the same tensors."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from penjing.errors import BadQuantity, Contradiction
from penjing.train.aggregation import Aggregation, token_weights
from penjing.train.clip import Cispo, Dppo, Gmpo, Ppo
from penjing.train.correction import Bound, Correction
from penjing.train.covariance import ClipCov, KlCov
from penjing.train.divergence import Divergence
from penjing.train.policy_loss import PolicyLoss, Tokens, policy_loss
from penjing.train.ratio import Ratio
from penjing.train.segments import Segments

LENGTHS = [3, 5, 1]
NUM = sum(LENGTHS)
LONGEST = 6
CONFIGS: dict[str, PolicyLoss] = {
    "plain": PolicyLoss(),
    "clip higher": PolicyLoss(clip=Ppo(low=0.2, high=0.28)),
    "two-sided": PolicyLoss(clip=Ppo(dual=1.5)),
    "sequence": PolicyLoss(ratio=Ratio.SEQUENCE, clip=Ppo(low=0.1, high=0.1)),
    "gmpo": PolicyLoss(clip=Gmpo()),
    "cispo": PolicyLoss(clip=Cispo(high=0.5)),
    "dppo": PolicyLoss(clip=Dppo(low=0.05, high=0.05)),
    "kl": PolicyLoss(kl=0.04),
    "corrected kl": PolicyLoss(kl=0.04, divergence=Divergence.CORRECTED),
    "engine": PolicyLoss(correction=Correction(bound=Bound.MASK, least=0.9, most=1.2)),
    "entropy": PolicyLoss(entropy_bonus=0.1),
}


def tokens(seed: int = 0, weights: Aggregation = Aggregation.SEQUENCE, **changes: Any) -> Tokens:
    drawn = torch.Generator().manual_seed(seed)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(NUM, generator=drawn, dtype=torch.float64)

    responses = Segments.of_lengths(LENGTHS)
    old_T = -1 - noise(0.5).abs()
    advantages_B = torch.tensor([1.0, -0.5, -2.0], dtype=torch.float64)
    given: dict[str, Any] = {
        "responses": responses,
        "logprobs_T": (old_T + noise(0.3)).requires_grad_(),
        "old_T": old_T,
        "rollout_T": old_T + noise(0.2),
        "advantages_T": responses.spread(advantages_B),
        "weights_T": token_weights(LENGTHS, weights, longest=LONGEST),
        "reference_T": old_T + noise(0.3),
        "entropy_T": noise(1.0).abs(),
    }
    return Tokens(**{**given, **changes})


def gradient(of: Tokens, config: PolicyLoss) -> Tensor:
    loss = policy_loss(of, config, torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad(loss.value, of.logprobs_T)
    return found


def test_on_policy_the_gradient_is_that_of_reinforce() -> None:
    """d loss / d logits = weight x A x (softmax - one hot), for GRPO on policy."""
    logits_TV = torch.randn(NUM, 5, dtype=torch.float64, requires_grad=True)
    ids_T = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
    logprobs_T = logits_TV.log_softmax(1).gather(1, ids_T[:, None])[:, 0]
    of = tokens(logprobs_T=logprobs_T, old_T=logprobs_T.detach())
    policy_loss(of, PolicyLoss()).value.backward()
    one_hot_TV = torch.nn.functional.one_hot(ids_T, 5)
    by_hand_TV = (logits_TV.softmax(1) - one_hot_TV) * (of.weights_T * of.advantages_T)[:, None]
    torch.testing.assert_close(logits_TV.grad, by_hand_TV.detach())


def test_kl_by_hand() -> None:
    """d k3 / d log pi = 1 - pi_ref / pi."""
    of = tokens(advantages_T=torch.zeros(NUM, dtype=torch.float64))
    assert of.reference_T is not None
    by_hand_T = of.weights_T * 0.04 * (1 - (of.reference_T - of.logprobs_T).exp())
    torch.testing.assert_close(gradient(of, PolicyLoss(kl=0.04)), by_hand_T.detach())


def test_a_correction_scales_what_a_token_adds() -> None:
    of = tokens()
    factor_T = (of.old_T - of.rollout_T).exp().clamp(max=1.1)
    found = gradient(of, PolicyLoss(correction=Correction(most=1.1)))
    torch.testing.assert_close(found, factor_T * gradient(of, PolicyLoss()))
    exact = tokens(rollout_T=of.old_T)
    config = PolicyLoss(correction=Correction(bound=Bound.MASK, least=1.0, most=1.0))
    assert torch.equal(gradient(exact, config), gradient(exact, PolicyLoss()))


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("weights", sorted(Aggregation))
def test_a_batch_may_be_computed_in_pieces(name: str, weights: Aggregation) -> None:
    whole = tokens(weights=weights)
    at, pieces = 0, []
    for length in LENGTHS:
        cut = slice(at, at + length)
        fields = {n: getattr(whole, n)[cut] for n in vars(whole) if n != "responses"}
        fields["logprobs_T"] = fields["logprobs_T"].detach().requires_grad_()
        piece = Tokens(responses=Segments.of_lengths([length]), **fields)
        pieces.append(gradient(piece, CONFIGS[name]))
        at += length
    torch.testing.assert_close(torch.cat(pieces), gradient(whole, CONFIGS[name]))


def test_entropy_guards() -> None:
    of = tokens()
    plain = gradient(of, PolicyLoss())
    everyone = gradient(of, PolicyLoss(entropy_guard=ClipCov(share=1.0, low=-99.0, high=99.0)))
    assert not everyone.any()
    punished = gradient(of, PolicyLoss(entropy_guard=KlCov(share=1.0, coefficient=0.5)))
    by_hand_T = of.weights_T * 0.5 * (of.logprobs_T - of.old_T).sign()
    torch.testing.assert_close(punished, plain + by_hand_T.detach())
    few = gradient(of, PolicyLoss(entropy_guard=KlCov(share=1e-9)))
    assert int((few != plain).sum()) == 1


def test_a_bonus_on_entropy_raises_it() -> None:
    entropy_T = torch.ones(NUM, dtype=torch.float64, requires_grad=True)
    of = tokens(entropy_T=entropy_T)
    policy_loss(of, PolicyLoss(entropy_bonus=0.1)).value.backward()
    torch.testing.assert_close(entropy_T.grad, (-0.1 * of.weights_T).to(torch.float64))


def test_what_is_told_of_a_loss() -> None:
    logprobs_T = torch.tensor([0.0, 0.5, -0.5], dtype=torch.float64) - 2
    of = Tokens(
        responses=Segments.of_lengths([3]),
        logprobs_T=logprobs_T,
        old_T=torch.full((3,), -2.0, dtype=torch.float64),
        rollout_T=torch.full((3,), -2.0, dtype=torch.float64),
        advantages_T=torch.ones(3, dtype=torch.float64),
        weights_T=torch.ones(3),
    )
    told = policy_loss(of, PolicyLoss())
    assert (told.num_tokens, told.num_clipped) == (3, 1)
    assert told.most_ratio == pytest.approx(1.6487, abs=1e-4)
    assert told.least_ratio == pytest.approx(0.6065, abs=1e-4)
    assert told.sum_divergence == pytest.approx(0.6065 - 0.5 + 1.6487 + 0.5 - 2 + 1 - 1, abs=1e-3)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(BadQuantity, match="kl is -1"):
        PolicyLoss(kl=-1)
    with pytest.raises(Contradiction, match="only the clip ppo takes"):
        PolicyLoss(ratio=Ratio.SEQUENCE, clip=Cispo())


TRL: dict[str, tuple[PolicyLoss, Aggregation, dict[str, Any]]] = {
    "grpo": (PolicyLoss(), Aggregation.SEQUENCE, {"loss_type": "grpo"}),
    "grpo with kl": (
        PolicyLoss(kl=0.04),
        Aggregation.SEQUENCE,
        {"loss_type": "grpo", "beta": 0.04},
    ),
    "dr_grpo": (PolicyLoss(), Aggregation.CONSTANT, {"loss_type": "dr_grpo"}),
    "dapo": (
        PolicyLoss(clip=Ppo(low=0.2, high=0.28)),
        Aggregation.TOKEN,
        {"loss_type": "dapo", "epsilon_high": 0.28},
    ),
    "two-sided": (
        PolicyLoss(clip=Ppo(dual=1.5)),
        Aggregation.TOKEN,
        {"loss_type": "dapo", "delta": 1.5},
    ),
    "gspo": (
        PolicyLoss(ratio=Ratio.SEQUENCE, clip=Ppo(low=0.1, high=0.1)),
        Aggregation.SEQUENCE,
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon_low": 0.1,
            "epsilon_high": 0.1,
        },
    ),
    "cispo": (
        PolicyLoss(clip=Cispo(high=0.2)),
        Aggregation.TOKEN,
        {"loss_type": "cispo", "epsilon_high": 1.2},
    ),
    "corrected kl": (
        PolicyLoss(kl=0.04, divergence=Divergence.CORRECTED),
        Aggregation.TOKEN,
        {"loss_type": "dapo", "beta": 0.04, "use_bias_correction_kl": True},
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(TRL))
def test_trl_computes_the_same(name: str) -> None:
    """Runs where TRL is installed (1.16): loss and gradient of its GRPOTrainer."""
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    config, weights, settings = TRL[name]
    ours = tokens(weights=weights)
    padded = {n: _padded(getattr(ours, n)) for n in ("logprobs_T", "old_T", "reference_T")}
    theirs_BT = padded["logprobs_T"].detach().requires_grad_()
    trainer = _trainer(theirs_BT, settings)
    mask_BT = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]
    inputs = {
        "prompt_ids": torch.zeros(3, 1, dtype=torch.int64),
        "prompt_mask": torch.ones(3, 1, dtype=torch.int64),
        "completion_ids": torch.zeros(3, LONGEST, dtype=torch.int64),
        "completion_mask": mask_BT.to(torch.int64),
        "advantages": ours.advantages_T[[0, 3, 8]],
        "old_per_token_logps": padded["old_T"],
        "ref_per_token_logps": padded["reference_T"],
        "num_items_in_batch": torch.tensor(float(NUM)),
    }
    loss = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    (slope_BT,) = torch.autograd.grad(loss, theirs_BT)
    assert policy_loss(ours, config).value.item() == pytest.approx(loss.item(), abs=1e-6)
    torch.testing.assert_close(gradient(ours, config), slope_BT[mask_BT], rtol=0, atol=1e-6)


def _padded(values_T: Tensor) -> Tensor:
    rows = [
        torch.nn.functional.pad(row, (0, LONGEST - len(row))) for row in values_T.split(LENGTHS)
    ]
    return torch.stack(rows)


def _trainer(logprobs_BT: Tensor, settings: dict[str, Any]) -> Any:
    """What ``_compute_loss`` asks of a trainer, with the log-probabilities given."""
    args = {"delta": None, "use_bias_correction_kl": False, "steps_per_generation": 1}
    plain = {
        "aux_loss_enabled": False,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "importance_sampling_level": "token",
        "beta": 0.0,
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "use_vllm": False,
        "max_completion_length": LONGEST,
        "current_gradient_accumulation_steps": 1,
        "_entropy_bonus_enabled": False,
        "model": SimpleNamespace(training=True),
    }
    chosen = {**plain, **{k: v for k, v in settings.items() if k not in args}}
    args |= {k: v for k, v in settings.items() if k in args}

    return SimpleNamespace(
        **chosen,
        args=SimpleNamespace(**args),
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            logprobs_BT,
            torch.zeros_like(logprobs_BT),
            None,
        ),
        accelerator=SimpleNamespace(
            gather=lambda value: value.reshape(-1),
            reduce=lambda value, **_: value,
            num_processes=1,
            sync_gradients=True,
        ),
        _metrics={"train": defaultdict(list)},
    )
