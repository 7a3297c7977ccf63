"""Figures of steps: gaps, means, thinning."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.report.run import StageRun
from penjing.report.series import Series, every, series
from tests.report.conftest import rl_step

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=600)


def line(values: list[float]) -> Series:
    return Series(steps=tuple(float(i + 1) for i in range(len(values))), values=tuple(values))


def test_steps_count_from_one_and_gaps_are_left_out() -> None:
    rows = (rl_step(0, reward=1.0), rl_step(1, reward="inf"), rl_step(2, reward=3.0))
    stage = StageRun(name="a", kind="reinforce", start="b", steps=rows)
    assert series(stage, "reward") == Series(steps=(1.0, 3.0), values=(1.0, 3.0))
    assert series(stage, "no such") is None
    assert every(stage, "no such") == ()


def test_ends_are_means_of_a_tenth() -> None:
    assert line([float(i) for i in range(20)]).ends == (0.5, 18.5)
    assert line([4.0]).ends == (4.0, 4.0)


@given(VALUES)
def test_a_running_mean_stays_between_the_extremes(values: list[float]) -> None:
    smooth = line(values).smooth()
    assert len(smooth.values) == len(values)
    assert min(values) - 1e-3 <= min(smooth.values)
    assert max(smooth.values) <= max(values) + 1e-3


def test_a_running_mean_of_a_straight_line_is_that_line() -> None:
    straight = [3.0 * i for i in range(60)]
    assert line(straight).smooth().values == pytest.approx(straight)


def test_a_running_mean_takes_a_tenth() -> None:
    spike = [0.0] * 15 + [5.0] + [0.0] * 15
    assert line(spike).smooth().values[13:18] == pytest.approx([0, 5 / 3, 5 / 3, 5 / 3, 0])


@given(VALUES)
def test_thinning_keeps_the_mean(values: list[float]) -> None:
    thin = line(values).thinned(most=50)
    assert len(thin.values) <= 50
    assert min(values) - 1e-6 <= min(thin.values)
    if len(values) % 50 == 0 or len(values) <= 50:
        assert fmean(thin.values) == pytest.approx(fmean(values), abs=1e-6)
