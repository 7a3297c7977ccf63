"""Corrections by hand; exact numerics are left alone."""

import math

import pytest
import torch

from penjing.errors import BadQuantity
from penjing.train.correction import Bound, Correction, Level, corrections
from penjing.train.segments import Segments

RESPONSES = Segments.of_lengths([2, 2])
ROLLOUT = torch.full((4,), -2.0, dtype=torch.float64)
OLD = ROLLOUT + torch.tensor([3.0, 0.5, 0.5, 0.5], dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("level", "bound", "factors"),
    [
        (Level.TOKEN, Bound.TRUNCATE, [2, 0.5, 0.5, 0.5]),
        (Level.TOKEN, Bound.MASK, [0, 0.5, 0.5, 0.5]),
        (Level.SEQUENCE, Bound.TRUNCATE, [1.5, 1.5, 0.25, 0.25]),
        (Level.SEQUENCE, Bound.MASK, [1.5, 1.5, 0, 0]),
    ],
)
def test_by_hand(level: Level, bound: Bound, factors: list[float]) -> None:
    correction = Correction(level=level, bound=bound, least=0.4, most=2.0)
    assert corrections(OLD, ROLLOUT, RESPONSES, correction).tolist() == pytest.approx(factors)


@pytest.mark.parametrize("level", sorted(Level))
@pytest.mark.parametrize("bound", sorted(Bound))
def test_equal_probabilities_are_left_alone(level: Level, bound: Bound) -> None:
    correction = Correction(level=level, bound=bound, least=1.0, most=1.0)
    assert corrections(ROLLOUT, ROLLOUT, RESPONSES, correction).tolist() == [1] * 4


@pytest.mark.parametrize(("least", "most"), [(1.1, 2.0), (0.0, 0.9), (-0.1, 2.0), (0.0, math.nan)])
def test_bounds_enclose_one(least: float, most: float) -> None:
    with pytest.raises(BadQuantity, match="do not enclose 1"):
        Correction(least=least, most=most)
