import json
from itertools import product
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.errors import Contradiction
from penjing.evaluate.compare import (
    MOST_CHANGED,
    Change,
    Comparison,
    SignificanceTest,
    compare,
    sign_flip,
)
from penjing.evaluate.intervals import Method
from penjing.evaluate.sample import Sample
from tests.evaluate.test_estimators import run

NAMES = [f"p{i:02}" for i in range(16)]
RUNS = st.fixed_dictionaries({name: st.text("cwuf", min_size=1, max_size=3) for name in NAMES}).map(
    lambda problems: run(problems | {"last": "c"})
)


def test_a_comparison_by_hand() -> None:
    first = run({"a": "cw", "b": "ww", "c": "cc", "d": "wc", "e": "c", "f": "ff"})
    second = run({"a": "cc", "b": "ww", "c": "wf", "d": "cc", "g": "c", "f": "cc"})
    found = compare(first, second)
    assert (found.num_problems, found.num_only_first, found.num_only_second) == (4, 1, 1)
    assert (found.num_unjudged, found.num_first_faults, found.num_second_faults) == (1, 2, 1)
    assert (found.first, found.second, found.difference) == (0.5, 0.5, 0)
    assert (found.num_better, found.num_worse, found.num_equal) == (2, 1, 1)
    assert found.changed == (
        Change(problem="c", first=1, second=0),
        Change(problem="a", first=0.5, second=1),
        Change(problem="d", first=0.5, second=1),
    )
    assert found.test is SignificanceTest.SIGN_FLIP
    assert found.p_value == pytest.approx(1)  # a sum of 0 is as near 0 as can be


@pytest.mark.parametrize(
    ("num_better", "num_worse", "p_value"),
    [  # scipy 1.17.1, binomtest(num_better, num_better + num_worse).pvalue
        (15, 5, 0.04138946533203125),
        (86, 150, 3.7159361395713866e-05),  # prime minister's ratings, Agresti 1990, p. 350
        (6, 0, 0.03125),
        (1, 9, 0.021484375),
        (0, 0, 1.0),
    ],
)
def test_one_sample_a_problem_is_mcnemars_exact_test(
    num_better: int, num_worse: int, p_value: float
) -> None:
    letters = "wc" * num_better + "cw" * num_worse + "cc" * 3 + "ww" * 4
    pairs = [letters[i : i + 2] for i in range(0, len(letters), 2)]
    found = compare(
        run({str(i): pair[0] for i, pair in enumerate(pairs)}),
        run({str(i): pair[1] for i, pair in enumerate(pairs)}),
    )
    assert found.test is SignificanceTest.MCNEMAR
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert (found.num_better, found.num_worse, found.num_equal) == (num_better, num_worse, 7)
    assert found.difference == pytest.approx((num_better - num_worse) / len(pairs))


@settings(deadline=None)
@given(st.lists(st.integers(-8, 8).map(lambda d: d / 7), max_size=10))
def test_the_test_is_the_share_of_all_choices_of_signs(differences: list[float]) -> None:
    observed = abs(fsum(differences)) - 1e-9
    sums = [
        abs(fsum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    p_value, test = sign_flip(differences)
    assert p_value == pytest.approx(sum(s >= observed for s in sums) / len(sums))
    assert test is SignificanceTest.SIGN_FLIP


def test_many_differences_are_flipped_by_draws() -> None:
    # scipy 1.17.1, permutation_test(..., permutation_type="samples", n_resamples=400_000): 0.0014
    p_value, test = sign_flip(np.linspace(-0.5, 1, 40).tolist())
    assert test is SignificanceTest.SIGN_FLIP_DRAWN
    assert p_value == pytest.approx(0.0014, abs=0.0006)
    sure, _ = sign_flip([1 + i / 100 for i in range(60)])
    assert sure == pytest.approx(1 / 20_001)  # never 0: the observed sum is a draw too


def test_the_test_is_wrong_as_rarely_as_it_says() -> None:
    random = np.random.default_rng(0)
    p_values = []
    for _ in range(200):  # two runs of one model
        shares = random.beta(1, 1, 40)
        differences = (random.binomial(4, shares) - random.binomial(4, shares)) / 4
        p_values.append(sign_flip(differences.tolist())[0])
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.1)


def mirrored(found: Comparison) -> tuple[object, ...]:
    return (
        -found.difference,
        -found.interval.high,
        -found.interval.low,
        found.second,
        found.first,
        found.p_value,
        found.num_worse,
        found.num_better,
        [(c.problem, c.second, c.first) for c in found.changed],
    )


@settings(deadline=None, max_examples=40)
@given(RUNS, RUNS)
def test_runs_may_change_places(first: list[Sample], second: list[Sample]) -> None:
    found, back = compare(first, second), compare(second, first)
    assert mirrored(found) == (
        back.difference,
        back.interval.low,
        back.interval.high,
        back.first,
        back.second,
        back.p_value,
        back.num_better,
        back.num_worse,
        [(c.problem, c.first, c.second) for c in back.changed],
    )


@settings(deadline=None, max_examples=40)
@given(RUNS, RUNS)
def test_a_comparison_stays_in_bounds(first: list[Sample], second: list[Sample]) -> None:
    found = compare(first, second)
    assert -1 <= found.interval.low <= found.difference <= found.interval.high <= 1
    assert 0 < found.p_value <= 1
    assert found.difference == pytest.approx(found.second - found.first)
    assert found.num_better + found.num_worse + found.num_equal == found.num_problems
    assert found == compare(first[::-1], second[::-1])
    values = found.to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values | {
        "changed": list(values["changed"])
    }


def test_a_run_does_not_differ_from_itself() -> None:
    samples = run({str(i): "cwcc" if i % 2 else "ww" for i in range(100)})
    found = compare(samples, samples)
    assert (found.difference, found.p_value, found.changed) == (0, 1, ())
    assert found.interval.low == -found.interval.high
    assert 0 < found.interval.high < 0.04  # of 100 problems alike, the next may be unlike


def test_pairs_tell_more_than_two_runs_apart() -> None:
    problems = {str(i): "c" * (i % 8) + "w" * (8 - i % 8) for i in range(80)}
    better = {i: letters.replace("w", "c", 1 + int(i) % 2) for i, letters in problems.items()}
    found = compare(run(problems), run(better))
    assert found.interval.method is Method.BOOTSTRAP
    assert found.interval.low > 0.1
    assert found.p_value < 0.001
    assert found.num_worse == 0


def test_only_the_problems_that_changed_most_are_named() -> None:
    names = [f"{i:03}" for i in range(50)]
    first = run(dict.fromkeys(names, "cw") | {"049": "ww"})
    second = run(dict.fromkeys(names, "ww") | {"049": "cc"})
    found = compare(first, second)
    assert len(found.changed) == MOST_CHANGED
    assert [c.problem for c in found.changed[:3]] == ["049", "000", "001"]


def test_runs_that_share_nothing() -> None:
    with pytest.raises(Contradiction, match="the runs have no problem in common"):
        compare(run({"a": "c"}), run({"b": "c"}))
    with pytest.raises(Contradiction, match="of 1 problems in both runs none was judged in both"):
        compare(run({"a": "c"}), run({"a": "f"}))
    with pytest.raises(Contradiction, match="no problem in common"):
        compare([], [])
