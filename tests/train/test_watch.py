"""Planted faults are called by their cause, noise by none."""

import math
from collections.abc import Callable, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.train.record import Facts
from penjing.train.watch import DEFAULT_ACTIONS, Action, Alarm, Cause, Thresholds, Watch

STEPS = 80


def sound(step: int, random: Random) -> dict[str, float]:
    """A step of a run that learns slowly, with the noise of 512 responses."""
    noise = random.gauss
    right = 0.4 + 0.003 * step + noise(0, 0.02)
    return {
        "step": step,
        "loss": noise(0, 0.01),
        "norm": 0.1 + abs(noise(0, 0.02)),
        "entropy": 0.5 + noise(0, 0.01),
        "reward": right + 0.15 + noise(0, 0.005),
        "reward.accuracy": right,
        "reward.format": 0.75 + noise(0, 0.02),
        "length": 50 + noise(0, 1),
        "tokens": 512 * 50,
        "faults": 0,
        "flat_groups": 12 + random.randint(-3, 3),
        "problems": 64 * (step + 1),
        "least_ratio": 0.9,
        "most_ratio": 1.1,
        "largest_gap": 0.01,
        "mean_gap": 0.001,
    }


def run(change: Callable[[int], Mapping[str, float | str]], seed: int = 0) -> list[Alarm]:
    random, watch = Random(seed), Watch()
    found: list[Alarm] = []
    for step in range(STEPS):
        found += watch.look({**sound(step, random), **change(step)})
    return found


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_sound_run_raises_nothing(seed: int) -> None:
    assert run(lambda step: {}, seed) == []


def after(step: int, value: float | str, otherwise: float) -> float | str:
    return value if step >= 40 else otherwise


FAULTS: dict[Cause, Callable[[int], Mapping[str, float | str]]] = {
    Cause.NOT_FINITE: lambda s: {"loss": after(s, math.nan, 0.0)},
    Cause.ENTROPY_COLLAPSE: lambda s: {
        "entropy": 0.5 * 0.9**s,
        "reward": 0.5,
        "reward.accuracy": 0.4,
    },
    Cause.LENGTH_WITHOUT_REWARD: lambda s: {
        "length": 50 + 1.5 * s,
        "reward": 0.5 + 0.001 * (s % 3),
        "reward.accuracy": 0.4 + 0.001 * (s % 3),
    },
    Cause.FORMAT_OVER_ACCURACY: lambda s: {
        "reward.format": after(s, 0.95, 0.6),
        "reward.accuracy": after(s, 0.2, 0.5),
        "reward": after(s, 0.3, 0.6),
    },
    Cause.EXPLODING_RATIO: lambda s: {"most_ratio": after(s, 60.0, 1.1)},
    Cause.FLAT_GROUPS: lambda s: {"flat_groups": after(s, 63, 12), "reward.accuracy": 0.01},
    Cause.JUDGE_FAULTS: lambda s: {"faults": after(s, 60, 0)},
    Cause.MISMATCH: lambda s: {"mean_gap": after(s, 0.2, 0.001)},
}


@pytest.mark.parametrize("cause", sorted(FAULTS))
def test_a_fault_is_called_by_its_cause_and_once(cause: Cause) -> None:
    found = run(FAULTS[cause])
    assert [alarm.cause for alarm in found] == [cause]
    (alarm,) = found
    assert alarm.action is DEFAULT_ACTIONS[cause]
    assert len(alarm.text) > 40


def test_numbers_read_back_from_a_record_are_seen_too() -> None:
    assert [one.cause for one in run(lambda s: {"loss": after(s, "nan", 0.0)})] == ["not_finite"]


def test_longer_responses_that_earn_more_are_sound() -> None:
    """As those of R1-Zero: arXiv 2501.12948, figures 2 and 3."""
    assert run(lambda s: {"length": 50 + 3.0 * s, "reward": 0.3 + 0.006 * s}) == []


def test_a_resumed_watch_sees_what_one_that_never_stopped_sees() -> None:
    facts: list[Facts] = []
    random = Random(1)
    for step in range(STEPS):
        facts.append({**sound(step, random), **FAULTS[Cause.FLAT_GROUPS](step)})
    straight = Watch()
    whole = [alarm for one in facts for alarm in straight.look(one)]
    for cut in (5, 30, 44, 70):
        again = Watch(history=facts[:cut])
        rest = [alarm for one in facts[cut:] for alarm in again.look(one)]
        assert rest == [alarm for alarm in whole if alarm.step >= cut]


def test_what_is_ignored_is_not_told_and_other_actions_are() -> None:
    watch = Watch({Cause.NOT_FINITE: Action.IGNORE})
    assert watch.look({"step": 0, "loss": math.nan}) == []
    (alarm,) = Watch({Cause.NOT_FINITE: Action.ROLL_BACK}).look({"step": 0, "loss": math.nan})
    assert alarm.action is Action.ROLL_BACK


@pytest.mark.parametrize(
    "wrong", [{"window": 2}, {"length_growth": 0.5}, {"flat_share": 1.5}, {"errors": math.inf}]
)
def test_thresholds_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(BadQuantity, match=next(iter(wrong))):
        Thresholds(**wrong)  # type: ignore[arg-type]
