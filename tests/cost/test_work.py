import numpy as np
import pytest

from penjing.cost.work import EXPERT_IMBALANCE, Numerics, Pass, Phase
from penjing.models.config import WeightFormats
from penjing.models.format import BF16


def test_tokens_are_what_every_sequence_adds() -> None:
    """The cache is read, not passed through."""
    work = Pass(phase=Phase.DECODE, sequences=8.0, new=3.0, cached=4096.0)
    assert work.tokens == 24.0


def test_tokens_of_an_axis_of_batches() -> None:
    work = Pass(phase=Phase.DECODE, sequences=np.array([1.0, 2.0, 4.0]), new=2.0)
    assert np.array_equal(work.tokens, [2.0, 4.0, 8.0])


def test_one_position_a_sequence_goes_through_the_head_unless_said() -> None:
    assert Pass(phase=Phase.PREFILL, sequences=2.0, new=512.0).logits == 1.0


def test_plain_numerics_are_16_bits_and_even() -> None:
    plain = Numerics()
    assert plain.weights == WeightFormats()
    assert plain.cache is BF16
    assert plain.imbalance == 1.0


def test_imbalance_explains_what_perfect_balance_gains() -> None:
    """LMSYS, 2025-05-05, DeepSeek on 96 H100: 59.3k against 50.3k tokens/s a node.

    With two thirds of a step in the experts, the busiest rank slows it by that much.
    """
    slower = (EXPERT_IMBALANCE - 1) * 2 / 3
    assert slower == pytest.approx(59.3 / 50.3 - 1, abs=0.02)
