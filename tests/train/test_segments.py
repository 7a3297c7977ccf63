"""Sums over responses and groups."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.train.segments import Segments

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@given(LENGTHS)
def test_sums_and_means_are_those_of_each_slice(lengths: list[int]) -> None:
    segments = Segments.of_lengths(lengths)
    values_T = torch.arange(1.0, 1 + sum(lengths), dtype=torch.float64)
    slices = values_T.split(lengths)
    assert segments.sizes_B.tolist() == lengths
    assert segments.sum(values_T).tolist() == [float(s.sum()) for s in slices]
    means = [float(s.mean()) if len(s) else 0.0 for s in slices]
    assert segments.mean(values_T).tolist() == means
    spread_T = segments.spread(torch.arange(float(len(lengths))))
    assert spread_T.tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]


def test_gradients_reach_each_value_once() -> None:
    segments = Segments.of_lengths([1, 3])
    values_T = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (segments.mean(values_T) * torch.tensor([1.0, 6.0])).sum().backward()
    assert values_T.grad is not None
    assert values_T.grad.tolist() == [1, 2, 2, 2]
