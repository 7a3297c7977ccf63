"""Weights of tokens, and that a batch may be split."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.train.aggregation import Aggregation, token_weights

BY_HAND = {
    Aggregation.SEQUENCE: [1 / 4, 1 / 4, 1 / 2],
    Aggregation.TOKEN: [1 / 3, 1 / 3, 1 / 3],
    Aggregation.CONSTANT: [1 / 20, 1 / 20, 1 / 20],
}


@pytest.mark.parametrize("kind", sorted(Aggregation))
def test_by_hand(kind: Aggregation) -> None:
    found_T = token_weights([2, 1], kind, longest=10)
    assert found_T.tolist() == pytest.approx(BY_HAND[kind])
    assert found_T.dtype is torch.float32


def test_a_masked_response_weighs_nothing() -> None:
    """As in TRL: it leaves the count of tokens, not the count of responses."""
    masked = [False, True]
    found = {k: token_weights([2, 1], k, longest=10, counts=masked).tolist() for k in Aggregation}
    assert found[Aggregation.SEQUENCE] == [0, 0, 0.5]
    assert found[Aggregation.TOKEN] == [0, 0, 1]
    assert found[Aggregation.CONSTANT] == pytest.approx([0, 0, 0.05])
    assert token_weights([2, 1], Aggregation.TOKEN, counts=[False] * 2).tolist() == [0, 0, 0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_weights_add_up(lengths: list[int]) -> None:
    longest = 6
    by_sequence = float(token_weights(lengths, Aggregation.SEQUENCE).sum())
    assert by_sequence == pytest.approx(sum(n > 0 for n in lengths) / len(lengths))
    assert float(token_weights(lengths, Aggregation.TOKEN).sum()) == pytest.approx(
        float(any(lengths))
    )
    constant = token_weights(lengths, Aggregation.CONSTANT, longest=longest).sum()
    assert float(constant) == pytest.approx(sum(lengths) / (longest * len(lengths)))


def test_a_constant_must_be_given() -> None:
    with pytest.raises(BadQuantity, match="most tokens of a response"):
        token_weights([1], Aggregation.CONSTANT)
