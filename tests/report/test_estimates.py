"""Figures of an evaluation, and what the start of a stage has to do with them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.report.estimates import (
    Share,
    against_its_start,
    consensus,
    mean_length,
    pass_at_one,
    pass_at_one_of_others,
    thinking_share,
)
from penjing.report.run import Run, read_run
from tests.report.conftest import sample, write_samples


def test_shares_are_those_that_were_measured(run: Run) -> None:
    found = pass_at_one(run.stages[1])
    assert found is not None
    assert found.value == pytest.approx(4 / 6)
    assert found.low < found.value < found.high
    assert consensus(run.stages[1]) is not None
    assert mean_length(run.stages[1]) == 7.0
    assert thinking_share(run.stages[1]) == pytest.approx(3 / 7)


def test_a_stage_is_held_against_its_start(run: Run) -> None:
    found = against_its_start(run, run.stages[1])
    assert found is not None
    assert found.difference == pytest.approx(0.5)  # 4 of 6 after 1 of 6
    assert (found.num_better, found.num_worse) == (3, 0)


def test_without_a_start_that_was_measured_there_is_nothing_to_hold_it_against(run: Run) -> None:
    assert against_its_start(run, run.stages[0]) is None  # from a new model
    assert against_its_start(run, run.stages[2]) is None  # of problems of training


def test_other_problems_are_no_comparison(folder: Path) -> None:
    write_samples(folder / "zero", [sample("elsewhere", 0, right=True)])
    run = read_run(folder)
    assert against_its_start(run, run.stages[1]) is None


def test_samples_that_are_there_twice_are_no_comparison(folder: Path) -> None:
    write_samples(folder / "zero", [sample("p0", 0, right=True)] * 2)
    run = read_run(folder)
    assert against_its_start(run, run.stages[1]) is None


def test_other_tasks_stand_beside(folder: Path, change: Callable[..., None]) -> None:
    interval = {"low": 0.2, "high": 0.4}
    words = {"pass_at_k": {"1": {"value": 0.3, "interval": interval}}}
    change("zero/done.json", others={"words": words, "broken": {"pass_at_k": 3}})
    stage = read_run(folder).stages[1]
    assert pass_at_one_of_others(stage) == {"words": Share(value=0.3, low=0.2, high=0.4)}


@pytest.mark.parametrize("measures", [None, 3, {"pass_at_k": {"1": {"value": "high"}}}])
def test_measures_of_other_shapes_are_none(
    folder: Path, change: Callable[..., None], measures: object
) -> None:
    change("zero/done.json", measures=measures, others=measures)
    stage = read_run(folder).stages[1]
    assert pass_at_one(stage) is None
    assert pass_at_one_of_others(stage) == {}
    assert mean_length(stage) is None
