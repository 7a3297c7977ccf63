"""Runs that are sound raise nothing, and every planted fault is called by its name and no other."""

import json
import math
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.train.record import Facts
from penjing.train.watch import DEFAULT_ACTIONS, Action, Alarm, Cause, Thresholds, Watch

Course = Callable[[int], Mapping[str, Any]]
"""What the steps of a run are about, before the noise: see ``noisy``."""

FAULT = 60  # the step from which a fault is there

# The first reinforcement of the quickstart, 60 steps of 64 x 8 responses: a run as it should be.
ACCURACY = """
.412 .307 .416 .438 .432 .424 .465 .492 .488 .490 .494 .529 .549 .590 .545 .598 .572 .666 .715 .672
.672 .670 .666 .730 .656 .713 .699 .744 .641 .697 .666 .713 .682 .695 .742 .768 .756 .674 .744 .795
.738 .709 .742 .805 .781 .832 .779 .764 .783 .721 .789 .812 .760 .850 .836 .762 .816 .797 .768 .766
"""
FORMAT = """
.473 .500 .580 .531 .629 .602 .625 .662 .691 .701 .742 .729 .820 .830 .822 .877 .893 .889 .922 .928
.883 .932 .957 .951 .953 .947 .969 .963 .973 .951 .984 .979 .977 .986 .947 .973 .984 .986 .984 .971
.979 .986 .990 .984 .990 .977 .996 .982 .994 .998 .982 .992 .990 .992 .992 .986 .992 .982 .996 .977
"""
LENGTH = """
15.3 15.2 17.4 16.1 18.2 17.4 18.1 18.6 20.1 19.8 20.5 20.3 22.4 22.7 22.0 24.0 23.6 24.1 24.8 24.7
25.3 25.3 25.1 24.7 25.2 25.1 25.5 25.3 25.6 25.7 25.8 25.6 25.4 25.7 25.2 26.2 25.7 26.1 26.0 25.5
26.1 25.8 25.7 25.7 26.1 25.8 26.0 25.7 26.1 26.2 25.6 25.8 26.0 25.2 26.0 26.1 25.9 26.2 26.0 25.9
"""
ENTROPY = """
.169 .165 .148 .146 .130 .136 .119 .116 .109 .106 .096 .092 .080 .080 .076 .075 .069 .060 .051 .055
.060 .054 .050 .045 .049 .046 .044 .044 .047 .040 .046 .042 .040 .041 .038 .036 .034 .039 .035 .030
.036 .038 .037 .029 .033 .029 .032 .031 .026 .027 .025 .026 .032 .024 .027 .030 .024 .027 .027 .026
"""
FLAT = """
0 0 0 0 0 0 1 0 0 0 3 2 3 5 3 8 7 4 12 15 11 25 15 18 19 16 17 18 18 23
20 28 19 16 24 26 20 21 26 24 23 24 29 32 30 34 33 30 30 35 36 32 31 31 32 23 29 40 40 36
"""


def quickstart() -> list[dict[str, Any]]:
    columns = [[float(v) for v in c.split()] for c in (ACCURACY, FORMAT, LENGTH, ENTROPY, FLAT)]
    return [
        {
            "step": step,
            "reward": accuracy + 0.2 * form,
            "reward.accuracy": accuracy,
            "reward.format": form,
            "length": length,
            "tokens": round(length * 512),
            "entropy": entropy,
            "flat_groups": flat,
            "faults": 0,
            "problems": 64 * (step + 1),
            "most_ratio": 1.0,
            "largest_gap": 0.0,
            "mean_gap": 0.0,
        }
        for step, (accuracy, form, length, entropy, flat) in enumerate(zip(*columns, strict=True))
    ]


def noisy(course: Course, steps: int, seed: int, wild: float = 0.0) -> list[dict[str, Any]]:
    """A run of 32 groups of 16, with the noise of so many responses and a half more.

    ``wild`` is the share of figures that are six times as far off as usual.
    """
    chance = random.Random(seed)

    def around(mean: float, deviation: float) -> float:
        size = 6 if chance.random() < wild else 1
        return mean + size * deviation * chance.gauss(0, 1)

    def share(mean: float) -> float:
        found = around(mean, 1.5 * math.sqrt(max(mean * (1 - mean), 1e-6) / 512))
        return round(512 * min(max(found, 0.0), 1.0)) / 512

    run = []
    for step in range(steps):
        fixed = {"accuracy": 0.4, "format": 0.6, "length": 500.0, "entropy": 0.4, **course(step)}
        means = {name: fixed.pop(name) for name in ("accuracy", "format", "length", "entropy")}
        accuracy, form = share(means["accuracy"]), share(means["format"])
        length = max(around(means["length"], 0.04 * means["length"]), 1.0)
        facts = {
            "step": step,
            "flat_groups": round(32 * min(max(around(0.3, 0.08), 0.0), 1.0)),
            "faults": int(chance.random() < 0.2),
            "tokens": round(512 * length),
            "problems": 32 * (step + 1),
            "reward": accuracy + 0.2 * form,
            "reward.accuracy": accuracy,
            "reward.format": form,
            "length": length,
            "loss": chance.gauss(0, 0.01),
            "norm": abs(chance.gauss(0.2, 0.05)),
            "entropy": max(around(means["entropy"], 0.05 * means["entropy"]), 1e-4),
            "least_ratio": 1e-3,
            "most_ratio": math.exp(abs(around(0.5, 0.3))),
            "largest_gap": abs(around(0.1, 0.05)),
            "mean_gap": 0.008,
        }
        run.append({**facts, **fixed})
    return run


def alarms(run: Sequence[Facts], watch: Watch | None = None) -> list[Alarm]:
    watch = watch or Watch()
    return [alarm for facts in run for alarm in watch.look(facts)]


def after(step: int) -> float:
    return float(max(step - FAULT, 0))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    accuracy=st.sampled_from([0.0, 0.02, 0.4, 0.85, 1.0]),
    form=st.sampled_from([0.1, 0.6, 1.0]),
    wild=st.sampled_from([0.0, 0.1]),
)
def test_noise_raises_nothing(seed: int, accuracy: float, form: float, wild: float) -> None:
    run = noisy(lambda step: {"accuracy": accuracy, "format": form}, 200, seed, wild)
    assert alarms(run) == []


def r1_zero(step: int) -> dict[str, float]:
    """Accuracy from 15 to 70 % while responses grow to 20 times their length and entropy falls."""
    share = step / 500
    return {
        "accuracy": 0.15 + 0.55 * share,
        "format": min(0.1 + step / 100, 0.99),
        "length": 500 * 20**share,
        "entropy": 0.5 * math.exp(-4 * share),
    }


def format_first(step: int) -> dict[str, float]:
    return {"accuracy": 0.01 + 0.3 * after(step) / 140, "format": min(0.1 + step / 60, 0.99)}


def solved(step: int) -> dict[str, float]:
    """Everything right, and nothing left to learn."""
    share = min(step / 60, 1.0)
    flat = {"flat_groups": 31} if step > 70 else {}
    return {"accuracy": 0.3 + 0.68 * share, "entropy": 0.4 * math.exp(-step / 20), **flat}


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize(("course", "steps"), [(r1_zero, 500), (format_first, 200), (solved, 200)])
def test_sound_courses_raise_nothing(course: Course, steps: int, seed: int) -> None:
    assert alarms(noisy(course, steps, seed)) == []


def test_a_real_run_raises_nothing() -> None:
    run = quickstart()
    assert alarms(run) == []
    strict = Thresholds(length_growth=1.3, entropy_share=0.3)
    assert alarms(run, Watch(thresholds=strict)) == []


def test_its_lengths_with_a_reward_that_stands_still_raise_an_alarm() -> None:
    rewards = [facts["reward"] for facts in quickstart()]
    still = rewards[-30:] * 2
    run = [{**facts, "reward": reward} for facts, reward in zip(quickstart(), still, strict=True)]
    found = alarms(run, Watch(thresholds=Thresholds(length_growth=1.3)))
    assert [each.cause for each in found] == [Cause.LENGTH_WITHOUT_REWARD]


def broken(step: int) -> float:
    """From 0 to 1 within 20 steps of the fault."""
    return min(after(step) / 20, 1.0)


FAULTS: Mapping[str, tuple[Cause, int, Course]] = {
    "loss": (Cause.NOT_FINITE, 1, lambda s: {"loss": math.nan} if after(s) else {}),
    "norm": (Cause.NOT_FINITE, 1, lambda s: {"norm": math.inf} if after(s) else {}),
    "entropy": (
        Cause.ENTROPY_COLLAPSE,
        60,
        lambda s: {"entropy": 0.4 * math.exp(-after(s) / 8)},
    ),
    "entropy of a plateau": (
        Cause.ENTROPY_COLLAPSE,
        90,
        lambda s: {"accuracy": 0.1 + min(s, 60) / 120, "entropy": 0.4 * math.exp(-s / 15)},
    ),
    "length": (Cause.LENGTH_WITHOUT_REWARD, 40, lambda s: {"length": 500 * 1.03 ** after(s)}),
    "length and less": (
        Cause.LENGTH_WITHOUT_REWARD,
        40,
        lambda s: {"length": 500 * 1.03 ** after(s), "accuracy": 0.4 - 0.2 * broken(s)},
    ),
    "format": (
        Cause.FORMAT_OVER_ACCURACY,
        20,
        lambda s: {"format": 0.6 + 0.35 * broken(s), "accuracy": 0.4 - 0.2 * broken(s)},
    ),
    "ratio": (
        Cause.EXPLODING_RATIO,
        15,
        lambda s: {"most_ratio": math.exp(after(s) / 2)} if after(s) else {},
    ),
    "infinite ratio": (
        Cause.EXPLODING_RATIO,
        5,
        lambda s: {"most_ratio": math.inf} if after(s) else {},
    ),
    "flat": (
        Cause.FLAT_GROUPS,
        10,
        lambda s: {"accuracy": 0.0, "flat_groups": 32} if after(s) else {"accuracy": 0.01},
    ),
    "faults": (Cause.JUDGE_FAULTS, 10, lambda s: {"faults": 12} if after(s) else {}),
    "many faults": (Cause.JUDGE_FAULTS, 1, lambda s: {"faults": 300} if after(s) else {}),
    "mean gap": (Cause.MISMATCH, 5, lambda s: {"mean_gap": 0.2} if after(s) else {}),
    "largest gap": (Cause.MISMATCH, 5, lambda s: {"largest_gap": 4.0} if after(s) else {}),
}


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), wild=st.sampled_from([0.0, 0.05]))
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_called_by_its_name(name: str, seed: int, wild: float) -> None:
    cause, within, course = FAULTS[name]
    (found,) = alarms(noisy(course, FAULT + within + 30, seed, wild))
    assert found.cause is cause
    assert found.action is DEFAULT_ACTIONS[cause]
    assert FAULT < found.step <= FAULT + within
    assert "\n" not in found.text
    assert ": " in found.text, "what was seen, and what it means"


def test_texts_have_the_figures() -> None:
    def text(name: str) -> str:
        return alarms(noisy(FAULTS[name][2], FAULT + 90, 0))[0].text

    assert "loss is nan, as after" in text("loss")
    assert "began with 0.4, and the reward has not risen for 50 steps" in text("entropy")
    assert "responses have grown from 47" in text("length")
    assert "the judge failed on 3" in text("many faults")
    assert "0.2 nats on average" in text("mean gap")
    assert "100% of groups" in text("flat")


def test_an_alarm_is_raised_once_and_again_when_it_was_gone_for_a_window() -> None:
    run = noisy(lambda step: {}, 80, 0)
    for step in (*range(10, 20), 25, *range(36, 40)):
        run[step]["loss"] = math.nan
    assert [each.step for each in alarms(run)] == [10, 36]


def test_an_alarm_does_not_come_and_go_at_its_threshold() -> None:
    run = noisy(lambda step: {"most_ratio": 18.0 + 4.0 * (step // 20 % 2)}, 200, 0)
    assert [each.step for each in alarms(run)] == [22]


def test_outliers_are_no_trend() -> None:
    run = noisy(lambda step: {}, 100, 0)
    for step in range(20, 100):
        if step % 10 < 2:
            run[step] |= {"length": 9e9, "entropy": 1e-9, "most_ratio": 1e9, "mean_gap": 9.0}
            run[step] |= {"flat_groups": 32, "reward": 0.0, "reward.accuracy": 0.0}
            run[step]["tokens"] = 512 * 9e9
    assert alarms(run) == []


def test_it_hangs_on_the_facts_alone() -> None:
    """A resumed run reads from JSON what it gave, in which nan and inf are strings."""
    run = noisy(FAULTS["length"][2], 130, 1)
    run[30]["loss"] = run[32]["norm"] = run[35]["most_ratio"] = math.inf
    run[90]["reward"] = run[90]["length"] = math.nan
    straight = alarms(run)
    assert [each.cause for each in straight] == [
        Cause.NOT_FINITE,
        Cause.NOT_FINITE,
        Cause.LENGTH_WITHOUT_REWARD,
    ]
    record = [
        json.loads(json.dumps({k: v if math.isfinite(v) else str(v) for k, v in facts.items()}))
        for facts in run
    ]
    for cut in range(0, 131, 10):
        again = alarms(run[cut:], Watch(history=record[:cut]))
        assert again == [each for each in straight if each.step >= cut]
    assert alarms(record) == straight


def test_supervised_training_may_become_sure_of_itself() -> None:
    run: list[dict[str, Any]] = [
        {"step": s, "loss": 6 * 0.95**s, "entropy": 6 * 0.95**s, "norm": 1.0, "tokens": 9}
        for s in range(200)
    ]
    assert alarms(run) == []
    run[150] = {"step": 150, "loss": "nan", "norm": "-inf"}
    (found,) = alarms(run)
    assert (found.cause, found.action, found.step) == (Cause.NOT_FINITE, Action.STOP, 150)
    assert "loss is nan, norm is -inf" in found.text


def test_a_judge_that_fails_on_all_leaves_no_rewards() -> None:
    run = noisy(lambda step: {}, 20, 0)
    run += [
        {
            "step": step,
            "flat_groups": 32,
            "faults": 512,
            "tokens": 9000,
            "problems": 32 * (step + 1),
        }
        for step in range(20, 40)
    ]
    first = alarms(run)[0]
    assert (first.cause, first.step) == (Cause.JUDGE_FAULTS, 20)


def test_groups_are_counted_with_their_refills() -> None:
    """Of 96 groups drawn for 32 wanted 60 are flat: that is what refills are for."""
    run = noisy(lambda step: {"flat_groups": 60, "problems": 96 * (step + 1)}, 60, 0)
    assert alarms(run) == []
    assert [each.cause for each in alarms(noisy(lambda step: {"flat_groups": 30}, 60, 0))] == [
        Cause.FLAT_GROUPS
    ]


def test_actions_are_those_of_the_recipe() -> None:
    run = noisy(FAULTS["loss"][2], FAULT + 5, 0)
    (found,) = alarms(run, Watch({Cause.NOT_FINITE: Action.ROLL_BACK}))
    assert found.action is Action.ROLL_BACK
    assert alarms(run, Watch({Cause.NOT_FINITE: Action.IGNORE})) == []
    assert [each.action for each in alarms(run, Watch({Cause.MISMATCH: Action.STOP}))] == [
        Action.STOP
    ]
    assert DEFAULT_ACTIONS.keys() == set(Cause)
    with pytest.raises(TypeError):
        DEFAULT_ACTIONS[Cause.MISMATCH] = Action.STOP  # type: ignore[index]


def test_memory_is_bounded() -> None:
    watch = Watch()
    sizes = []
    for facts in noisy(lambda step: {}, 2400, 0):
        watch.look(facts)
        if facts["step"] in (1200, 2399):
            sizes.append(len(pickle.dumps(watch)))
    assert sizes[1] < sizes[0] + 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 4),
        ("errors", 0.0),
        ("patience", -1),
        ("entropy_share", 1.5),
        ("flat_share", 1.01),
        ("length_growth", 0.9),
        ("ratio", 0.5),
        ("mean_gap", math.nan),
        ("largest_gap", math.inf),
    ],
)
def test_thresholds_that_mean_nothing(name: str, value: float) -> None:
    with pytest.raises(BadQuantity, match=f"{name} is {value}"):
        Thresholds(**{name: value})  # type: ignore[arg-type]
