"""Which tokens drive the entropy down."""

import pytest
import torch

from penjing.errors import BadQuantity
from penjing.train.covariance import ClipCov, KlCov, covariances, drawn, highest

COVARIANCES = torch.tensor([0.0, 3.0, 9.0, 2.0, -5.0, 2.5])


def test_by_hand() -> None:
    logprobs_T = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    found_T = covariances(logprobs_T, torch.tensor([3.0, 0.0, 0.0]))
    assert found_T.tolist() == [2.0, 0.0, 1.0]
    assert not found_T.requires_grad


@pytest.mark.parametrize(("share", "chosen"), [(0.5, [1, 2, 5]), (1 / 6, [2]), (1e-9, [2])])
def test_the_highest_are_punished(share: float, chosen: list[int]) -> None:
    (found,) = torch.where(highest(COVARIANCES, KlCov(share=share)))
    assert found.tolist() == chosen


def test_clipped_ones_are_drawn_from_within_the_bounds() -> None:
    guard = ClipCov(share=1 / 3, low=1.0, high=5.0)
    seen = set()
    for seed in range(40):
        (found,) = torch.where(drawn(COVARIANCES, guard, torch.Generator().manual_seed(seed)))
        assert len(found) == 2
        seen |= set(found.tolist())
    assert seen == {1, 3, 5}
    none = drawn(COVARIANCES, ClipCov(low=10.0, high=11.0), torch.Generator())
    assert not none.any()


@pytest.mark.parametrize("share", [0.0, 1.1, -1.0])
def test_a_share_is_one(share: float) -> None:
    for kind in (KlCov, ClipCov):
        with pytest.raises(BadQuantity, match="above 0 and at most 1"):
            kind(share=share)
