import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.errors import BadQuantity, Contradiction
from penjing.evaluate.intervals import Method, wilson
from penjing.evaluate.measures import Distribution, measure
from penjing.evaluate.sample import Sample
from penjing.tasks.problem import Grade, Verdict
from tests.evaluate.test_estimators import run

RUNS = st.dictionaries(
    st.sampled_from("abcdef"), st.text("cwvuf", min_size=1, max_size=5), min_size=1
).map(run)


def test_figures_of_a_run_by_hand() -> None:
    samples = run({"a": "ccwc", "b": "wwcu", "c": "uwww", "d": "cccc"})
    samples = [
        replace(s, finish_reason="length", num_thinking_tokens=50) if s.index == 3 else s
        for s in samples
    ]
    found = measure(samples)
    assert (found.num_problems, found.num_samples, found.num_correct) == (4, 16, 8)
    assert (found.num_faults, found.num_unjudged_problems) == (0, 0)
    assert found.is_complete
    assert found.fewest_samples == found.most_samples == 4
    assert {k: e.value for k, e in found.pass_at_k.items()} == {
        1: (3 / 4 + 1 / 4 + 0 + 1) / 4,
        2: (1 + 3 / 6 + 0 + 1) / 4,  # of b, the 3 pairs with its third sample
        4: 3 / 4,
    }
    assert {e.num_problems for e in found.pass_at_k.values()} == {4}
    assert found.consensus is not None
    assert found.consensus.value == 2 / 4
    assert found.ungradable_share == 2 / 16
    assert found.truncated_share == 4 / 16
    assert found.num_thinking_known == 4
    assert found.thinking_share == 50 / 103
    assert found.num_tokens == 4 * (100 + 101 + 102 + 103) == 1624
    assert found.tokens_per_problem == 406
    assert found.tokens_per_correct == 203
    assert found.num_prompt_tokens == 160
    assert found.wall_s == Distribution(num_samples=16, mean=0.5, p50=0.5, p95=0.5, max=0.5)
    assert found.lengths.mean == 101.5
    assert found.lengths.max == 103
    assert found.correct_lengths is not None
    assert found.correct_lengths.num_samples == 8
    assert found.correct_lengths.mean == (200 + 101 + 102 + 2 * 103 + 203) / 8
    assert found.wrong_lengths is not None
    assert found.wrong_lengths.num_samples == 8


def test_percentiles_lie_between_samples() -> None:
    found = Distribution.of([4, 1, 3, 2])
    assert found is not None
    assert (found.mean, found.p50, found.max) == (2.5, 2.5, 4)
    assert found.p95 == pytest.approx(3.85)  # 3 + 0.85 * (4 - 3)
    assert Distribution.of([]) is None


def test_one_sample_a_problem_has_wilsons_interval() -> None:
    found = measure(run({str(i): "c" if i < 8 else "w" for i in range(10)}))
    assert list(found.pass_at_k) == [1]
    assert found.pass_at_k[1].interval == wilson(8, 10)
    assert found.consensus is None


def test_several_samples_a_problem_are_no_more_problems() -> None:
    found = measure(run({str(i): "ccccwwww" if i % 3 else "cccccccw" for i in range(30)}))
    interval = found.pass_at_k[1].interval
    assert interval.method is Method.BOOTSTRAP
    more = measure(run({str(i): "cwcw" * 20 if i % 3 else "cccccccw" * 10 for i in range(30)}))
    assert more.pass_at_k[1].interval == interval


def test_faults_count_neither_way() -> None:
    clean, faulty = run({"a": "cw", "b": "cc"}), run({"a": "cwff", "b": "cc", "c": "f"})
    found, expected = measure(faulty), measure(clean)
    assert (found.num_faults, found.num_unjudged_problems) == (3, 1)
    assert (found.num_problems, found.num_samples) == (3, 7)
    assert found.pass_at_k == expected.pass_at_k
    assert found.consensus == expected.consensus
    assert found.ungradable_share == 0
    assert found.correct_lengths == expected.correct_lengths
    assert found.wrong_lengths == expected.wrong_lengths
    assert found.num_tokens > expected.num_tokens  # they were paid for
    assert not found.is_complete


def test_a_run_of_faults_measures_no_correctness() -> None:
    found = measure(run({"a": "ff", "b": "f"}))
    assert found.num_unjudged_problems == found.num_problems == 2
    assert found.pass_at_k == {}
    assert found.consensus is None
    assert found.ungradable_share is None
    assert found.correct_lengths is None
    assert found.tokens_per_correct is None
    assert found.lengths.num_samples == 3


def test_an_incomplete_run_says_what_each_figure_rests_on() -> None:
    found = measure(run({"a": "ccw", "b": "c", "c": "ww"}))
    assert not found.is_complete
    assert (found.fewest_samples, found.most_samples) == (1, 3)
    assert {k: e.num_problems for k, e in found.pass_at_k.items()} == {1: 3, 2: 2, 3: 1}
    assert found.pass_at_k[1].value == pytest.approx((2 / 3 + 1 + 0) / 3)  # each problem once
    assert found.pass_at_k[2].value == 1 / 2


def test_no_vote_is_taken_where_the_judge_names_no_answers() -> None:
    silent = Grade(verdict=Verdict.CORRECT, reason="it is right")
    samples = run({"a": "cw", "b": "cc"})
    assert measure(samples).consensus is not None
    assert measure([replace(samples[0], grade=silent), *samples[1:]]).consensus is None


def test_thinking_that_nobody_counted_is_no_thinking_of_0() -> None:
    assert measure(run({"a": "c"})).thinking_share is None
    none = [replace(s, num_thinking_tokens=0) for s in run({"a": "c"})]
    assert measure(none).thinking_share == 0
    empty = [replace(s, num_thinking_tokens=0, num_tokens=0) for s in run({"a": "w"})]
    assert measure(empty).thinking_share is None


def test_what_cannot_be_measured() -> None:
    with pytest.raises(BadQuantity, match="there are no samples to measure"):
        measure([])
    with pytest.raises(Contradiction, match="is there twice"):
        measure(run({"a": "c"}) * 2)


@settings(deadline=None, max_examples=40)
@given(RUNS)
def test_the_order_of_samples_changes_nothing(samples: list[Sample]) -> None:
    assert measure(samples) == measure(samples[::-1])


@settings(deadline=None, max_examples=40)
@given(RUNS)
def test_figures_lie_in_bounds_and_in_their_intervals(samples: list[Sample]) -> None:
    found = measure(samples)
    estimates = [*found.pass_at_k.values(), *filter(None, [found.consensus])]
    for e in estimates:
        assert 0 <= e.interval.low <= e.value <= e.interval.high <= 1
    if found.is_complete:
        values = [e.value for e in found.pass_at_k.values()]
        assert values == sorted(values)
    assert found.num_correct <= found.num_samples - found.num_faults
    assert 0 <= found.truncated_share <= 1
    assert found.lengths.p50 <= found.lengths.p95 <= found.lengths.max


@settings(deadline=None, max_examples=20)
@given(RUNS)
def test_measures_are_plain_json(samples: list[Sample]) -> None:
    values = measure(samples).to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_the_shape_of_the_json() -> None:
    values = measure(run({"a": "cw", "b": "cc"})).to_json()
    assert values["pass_at_k"]["1"] == {
        "value": 0.75,
        "interval": {
            "low": pytest.approx(wilson(1.5, 2).low),
            "high": pytest.approx(wilson(1.5, 2).high),
            "method": "wilson",
            "confidence": 0.95,
        },
        "standard_error": pytest.approx(0.25),
        "num_problems": 2,
    }
    assert list(values["pass_at_k"]) == ["1", "2"]
    assert values["lengths"] == {
        "num_samples": 4,
        "mean": 100.5,
        "p50": 100.5,
        "p95": 101.0,
        "max": 101.0,
    }
