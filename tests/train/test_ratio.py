"""Ratios of tokens and of responses."""

import pytest
import torch

from penjing.train.ratio import Ratio, log_ratios
from penjing.train.segments import Segments

RESPONSES = Segments.of_lengths([2, 1])
OLD = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)


def test_by_hand() -> None:
    new = torch.tensor([-0.5, -3.0, -1.0], dtype=torch.float64)
    assert log_ratios(new, OLD, RESPONSES, Ratio.TOKEN).tolist() == [0.5, -1.0, 2.0]
    assert log_ratios(new, OLD, RESPONSES, Ratio.SEQUENCE).tolist() == [-0.25, -0.25, 2.0]


@pytest.mark.parametrize("kind", list(Ratio))
def test_on_policy_it_is_one_to_the_bit(kind: Ratio) -> None:
    new = OLD.clone().requires_grad_()
    ratio_T = log_ratios(new, OLD, RESPONSES, kind).exp()
    assert ratio_T.tolist() == [1, 1, 1]
    ratio_T.sum().backward()
    assert new.grad is not None
    assert new.grad.tolist() == [1, 1, 1]
