import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.engine.draws import splitmix, uniform

NUM = 20_000
ROWS: dict[str, Callable[[int], float]] = {  # what runs, with the other two fixed
    "positions": lambda i: uniform(1234, 0, i),
    "samples": lambda i: uniform(1234, i, 7),
    "seeds": lambda i: uniform(i, 0, 7),
    "far seeds": lambda i: uniform(i << 40, 3, 0),
    "diagonal": lambda i: uniform(i, i, i),
}


def test_splitmix_is_the_published_generator() -> None:
    # The first outputs of the reference implementation for seed 1234567.
    assert [splitmix(1234567, i) for i in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_draws_never_change() -> None:
    golden = {
        (0, 0, 0): 0.13870941014555427,
        (0, 0, 1): 0.9711020828012883,
        (0, 1, 0): 0.18383979100743952,
        (1, 0, 0): 0.6935121390102292,
        (-1, 5, 32767): 0.5138987944974873,
        (2**63, 1000, 10**6): 0.15977150763572168,
    }
    assert {where: uniform(*where) for where in golden} == golden


@given(st.integers(-(2**80), 2**80), st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_draw_is_a_fraction_of_53_bits_and_seeds_fold(
    seed: int, sample: int, position: int
) -> None:
    draw = uniform(seed, sample, position)
    assert 0 <= draw < 1
    assert (draw * 2**53).is_integer()
    assert uniform(seed + 2**64, sample, position) == draw


@pytest.mark.parametrize("row", ROWS)
def test_draws_are_uniform(row: str) -> None:
    draws = np.array([ROWS[row](i) for i in range(NUM)])
    counts = np.bincount((draws * 100).astype(int), minlength=100)
    chi_square = ((counts - NUM / 100) ** 2 / (NUM / 100)).sum()
    assert 55 < chi_square < 160  # 99 degrees of freedom: outside in 4 of 10,000 rows
    low_bits = np.bincount((draws * 2**53).astype(np.int64) % 64, minlength=64)
    assert 30 < ((low_bits - NUM / 64) ** 2 / (NUM / 64)).sum() < 115
    gap = np.abs(np.sort(draws) - (np.arange(NUM) + 0.5) / NUM).max()
    assert gap < 2 / NUM**0.5  # Kolmogorov-Smirnov, beyond 1 in 1,000


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("lag", [1, 2, 3, 64])
def test_neighbours_have_nothing_to_do_with_each_other(row: str, lag: int) -> None:
    draws = np.array([ROWS[row](i) for i in range(NUM)])
    assert abs(np.corrcoef(draws[:-lag], draws[lag:])[0, 1]) < 4 / NUM**0.5
    pairs = np.histogram2d(draws[:-lag], draws[lag:], bins=8, range=[[0, 1], [0, 1]])[0]
    wanted = (NUM - lag) / 64
    assert ((pairs - wanted) ** 2 / wanted).sum() < 115


@pytest.mark.parametrize(
    ("first", "second"), [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((1, 0), (0, 1))]
)
def test_streams_have_nothing_to_do_with_each_other(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    one, other = ([uniform(*who, i) for i in range(NUM)] for who in (first, second))
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / NUM**0.5
    assert not set(one) & set(other)


def test_a_draw_takes_no_time() -> None:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for i in range(1000):
            uniform(12345, 3, i)
        best = min(best, time.perf_counter() - start)
    assert best / 1000 < 20e-6  # about 2.5 µs; machines are noisy
