"""Estimators of the KL divergence: by hand, and on average over a distribution."""

import math

import pytest
import torch
from torch import Tensor

from penjing.train.divergence import Divergence, divergence

LOGITS = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
REFERENCE = torch.tensor([1.0, 0.5, 0.2, -0.4], dtype=torch.float64).log_softmax(0)


def test_by_hand() -> None:
    ours, reference = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    log_ratio = torch.tensor([math.log(3.0)])
    found = {k: divergence(ours, reference, log_ratio, k).item() for k in Divergence}
    d = math.log(2)
    assert found[Divergence.K1] == pytest.approx(d)
    assert found[Divergence.K2] == pytest.approx(d * d / 2)
    assert found[Divergence.K3] == pytest.approx(0.5 - 1 + d)  # pi_ref / pi - log(...) - 1
    assert found[Divergence.CORRECTED] == pytest.approx(3 * (0.5 - 1 + d))


def expected(kind: Divergence, sampled_from: Tensor) -> tuple[float, list[float]]:
    """The estimate's mean over all tokens drawn from ``sampled_from``, and its mean gradient."""
    logits = LOGITS.clone().requires_grad_()
    ours = logits.log_softmax(0)
    estimate = divergence(ours, REFERENCE, ours - sampled_from.log(), kind)
    mean = (sampled_from * estimate).sum()
    mean.backward()
    assert logits.grad is not None
    return mean.item(), logits.grad.tolist()


def true_divergence() -> tuple[float, list[float]]:
    logits = LOGITS.clone().requires_grad_()
    ours = logits.log_softmax(0)
    kl = (ours.exp() * (ours - REFERENCE)).sum()
    kl.backward()
    assert logits.grad is not None
    return kl.item(), logits.grad.tolist()


def test_on_policy_k1_and_k3_are_right_on_average() -> None:
    kl, gradient = true_divergence()
    ours = LOGITS.softmax(0)
    assert expected(Divergence.K1, ours)[0] == pytest.approx(kl)
    assert expected(Divergence.K3, ours)[0] == pytest.approx(kl)
    assert expected(Divergence.K2, ours)[1] == pytest.approx(gradient)
    assert expected(Divergence.K1, ours)[1] == pytest.approx([0] * 4, abs=1e-12)


def test_off_policy_the_corrected_one_is_right_on_average() -> None:
    others = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    kl, gradient = true_divergence()
    value, slope = expected(Divergence.CORRECTED, others)
    assert value == pytest.approx(kl)
    assert slope == pytest.approx(gradient)
    assert expected(Divergence.K3, others)[0] != pytest.approx(kl, rel=0.05)
