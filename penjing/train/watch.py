"""Watchdogs of training: what goes wrong, seen in the facts of the steps and called by its cause.

Curves are noisy, so nothing is said of one step that may be chance. A level is the median over the
last ``window`` steps, which half of them less one cannot move; its standard error is taken from
differences between neighbouring steps, which a slow trend does not widen; and a level has changed
when it lies so many standard errors off. The exceptions are figures that are never right.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise
from statistics import median
from types import MappingProxyType
from typing import Any

from penjing.errors import BadQuantity
from penjing.train.record import Facts


class Cause(StrEnum):
    NOT_FINITE = "not_finite"
    ENTROPY_COLLAPSE = "entropy_collapse"
    LENGTH_WITHOUT_REWARD = "length_without_reward"
    FORMAT_OVER_ACCURACY = "format_over_accuracy"
    EXPLODING_RATIO = "exploding_ratio"
    FLAT_GROUPS = "flat_groups"
    JUDGE_FAULTS = "judge_faults"
    MISMATCH = "mismatch"


class Action(StrEnum):
    WARN = "warn"
    STOP = "stop"
    ROLL_BACK = "roll_back"  # to a snapshot of before
    IGNORE = "ignore"


DEFAULT_ACTIONS: Mapping[Cause, Action] = MappingProxyType(
    dict.fromkeys(Cause, Action.WARN) | {Cause.NOT_FINITE: Action.STOP}
)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Where a figure is no longer sound; raises ``BadQuantity``.

    Those without a source are ours: set so that the clean runs of the tests raise nothing.
    """

    window: int = 10  # steps of a level; up to 4 of 10 may be outliers
    errors: float = 4.0  # standard errors; chance passes it once in 30,000
    patience: int = 20  # steps without a better reward before anything is held against a run
    solved: float = 0.9  # accuracy above which groups may be flat, and the policy sure of itself
    # Rewards stop rising as entropy runs out (arXiv 2505.22617, R = b - a exp(H)). What is left of
    # it at the end of a healthy run hangs on the task: quickstart's first RL goes down to a fifth.
    entropy_share: float = 0.1
    # GRPO's division by length makes wrong responses longer, arXiv 2503.20783, section 3.1.
    length_growth: float = 1.5
    format_rise: float = 0.05
    accuracy_fall: float = 0.05
    ratio: float = 20.0  # where DPPO cuts the weight of a token, arXiv 2602.04879
    # (1 - p)^16 of a policy that is right once in 150 times: under one group of ten says anything
    flat_share: float = 0.9
    fault_share: float = 0.01  # of responses: more than a sandbox loses by accident
    least_faults: int = 3  # so that one of few responses is no rate
    # Two ways of computing the same bf16 weights differ by 0.008 nats a token on average.
    mean_gap: float = 0.05
    largest_gap: float = math.log(2)  # where truncated importance sampling cuts, C = 2

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (math.isfinite(value) and value > 0):
                raise BadQuantity(f"{each.name} is {value}; it must be finite and above 0")
        for name, least in (("window", 4), ("length_growth", 1), ("ratio", 1)):
            if getattr(self, name) < least:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("solved", "entropy_share", "flat_share", "fault_share"):
            if getattr(self, name) > 1:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it is a share, at most 1")


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """``text``: what was seen, since when, what it usually means, and what to try."""

    step: int
    cause: Cause
    action: Action
    text: str


class Watch:
    """``actions`` and ``thresholds`` are the recipe's; causes it does not name act by default.

    ``history`` is the record so far of the same stage: a run that was resumed, or rolled back,
    then sees what one that never stopped sees. ``look`` raises an alarm when its cause appears,
    and again only after it was gone for a window. Memory is bounded; nothing but facts counts.
    """

    def __init__(
        self,
        actions: Mapping[Cause, Action] = DEFAULT_ACTIONS,
        thresholds: Thresholds = Thresholds(),
        history: Sequence[Facts] = (),
    ) -> None:
        self._actions = {**DEFAULT_ACTIONS, **actions}
        self._seen = _Seen(thresholds)
        self._calm = dict.fromkeys(Cause, thresholds.window)  # steps since it was last there
        for facts in history:
            self.look(facts)

    def look(self, facts: Facts) -> list[Alarm]:
        """``facts`` of one step, as it gave them or as they are read from the record."""
        self._seen.take(facts)
        alarms = []
        for cause, text in self._seen.findings().items():
            is_news = self._calm[cause] >= self._seen.limits.window
            self._calm[cause] = 0 if text else self._calm[cause] + 1
            action = self._actions[cause]
            if text and is_news and action is not Action.IGNORE:
                step = self._seen.step
                alarms.append(
                    Alarm(step=step, cause=cause, action=action, text=f"step {step}: {text}")
                )
        return alarms


@dataclass(frozen=True, kw_only=True)
class _Level:
    """A median over a window, with its standard error; ``since`` is the window's last step."""

    value: float
    error: float
    since: int

    def rise_from(self, other: "_Level", errors: float) -> float:
        """How far it lies above ``other``; 0 where that may be chance."""
        rise = self.value - other.value
        return rise if abs(rise) > errors * math.hypot(self.error, other.error) else 0.0


class _Seen:
    """What is remembered of the steps: two windows a figure, and a few levels of before."""

    def __init__(self, limits: Thresholds) -> None:
        self.limits = limits
        self.step = -1
        self._facts: dict[str, float] = {}
        self._windows: dict[str, deque[float]] = {}
        self._problems: float | None = 0.0  # drawn before this step
        self._first: dict[str, _Level] = {}
        self._best: dict[str, _Level] = {}  # of the time when the reward last rose
        self._accurate: dict[str, _Level] = {}  # of the time when accuracy was best

    def take(self, facts: Facts) -> None:
        step = int(facts["step"])
        assert step > self.step, "steps come in their order, each once"
        if step > self.step + 1:
            self._problems = None
        self.step = step
        self._facts = _numbers(facts)
        groups = self._num_groups()
        if groups and "flat_groups" in self._facts:
            self._facts["flat_share"] = self._facts["flat_groups"] / groups
        for name in _FOLLOWED & self._facts.keys():
            value = self._facts[name]
            if math.isfinite(value) or (name in _MAY_BE_INFINITE and value == math.inf):
                window = self._windows.setdefault(name, deque(maxlen=2 * self.limits.window))
                window.append(value)
        self._keep_levels()

    def findings(self) -> dict[Cause, str]:
        """A sentence for each cause that is there, "" for those that are not."""
        return {
            Cause.NOT_FINITE: self._not_finite(),
            Cause.ENTROPY_COLLAPSE: self._entropy_collapse(),
            Cause.LENGTH_WITHOUT_REWARD: self._length_without_reward(),
            Cause.FORMAT_OVER_ACCURACY: self._format_over_accuracy(),
            Cause.EXPLODING_RATIO: self._exploding_ratio(),
            Cause.FLAT_GROUPS: self._flat_groups(),
            Cause.JUDGE_FAULTS: self._judge_faults(),
            Cause.MISMATCH: self._mismatch(),
        }

    def _keep_levels(self) -> None:
        names = ("reward", "reward.accuracy", "reward.format", "length", "entropy")
        levels = {name: level for name in names if (level := self._level(name))}
        for name, level in levels.items():
            self._first.setdefault(name, level)
        if _has_risen("reward", levels, self._best, _CHANCE):
            self._best = levels
        if _has_risen("reward.accuracy", levels, self._accurate, 0.0):
            self._accurate = levels

    def _not_finite(self) -> str:
        odd = [
            f"{name} is {value}"
            for name, value in self._facts.items()
            if math.isnan(value) or (math.isinf(value) and name not in _MAY_BE_INFINITE)
        ]
        if not odd:
            return ""
        return (
            f"{', '.join(odd)}, as after a learning rate too high or an overflow in low precision; "
            "an update whose norm is not finite was left out: lower learning_rate or max_norm, or "
            "go on from a snapshot of before"
        )

    def _entropy_collapse(self) -> str:
        now, first, best = self._level("entropy"), self._first.get("entropy"), self._best
        if now is None or first is None or "reward" not in best or self._is_solved():
            return ""
        has_left = now.value >= self.limits.entropy_share * first.value
        if has_left or now.since - best["reward"].since < self.limits.patience:
            return ""
        return (
            f"the entropy is {now.value:.2g} nats a token where it began with {first.value:.2g}, "
            f"and the reward has not risen since step {best['reward'].since}: the policy no longer "
            "explores; raise clip_high or temperature, or lower learning_rate"
        )

    def _length_without_reward(self) -> str:
        now, then = self._level("length"), self._best.get("length")
        if now is None or then is None or now.since - then.since < self.limits.patience:
            return ""
        grown = now.rise_from(then, self.limits.errors)
        if grown <= 0 or now.value < self.limits.length_growth * then.value:
            return ""
        return (
            f"responses have grown from {then.value:.4g} to {now.value:.4g} tokens since step "
            f"{then.since} and the reward has not risen: length is being learnt for its own sake; "
            "take the advantage dr_grpo with the aggregation constant, or reward over_length"
        )

    def _format_over_accuracy(self) -> str:
        form, right = self._level("reward.format"), self._level("reward.accuracy")
        then = self._accurate
        if form is None or right is None or not {"reward.format", "reward.accuracy"} <= then.keys():
            return ""
        rise = form.rise_from(then["reward.format"], self.limits.errors)
        fall = -right.rise_from(then["reward.accuracy"], self.limits.errors)
        if rise < self.limits.format_rise or fall < self.limits.accuracy_fall:
            return ""
        return (
            f"since step {then['reward.accuracy'].since} format went from "
            f"{then['reward.format'].value:.3f} to {form.value:.3f} and accuracy from "
            f"{then['reward.accuracy'].value:.3f} to {right.value:.3f}: the policy is paid for its "
            "looks; lower the weight of format, or learning_rate, or take more rollouts a step"
        )

    def _exploding_ratio(self) -> str:
        ratio = self._typical("most_ratio")
        if ratio <= self.limits.ratio:
            return ""
        return (
            f"in most of the last {_FEW} steps some token became over {ratio:.3g} times as likely "
            "as when it was sampled: updates are too large for what they were sampled from; lower "
            "learning_rate, or take fewer minibatches"
        )

    def _flat_groups(self) -> str:
        level = self._level("flat_share")
        if level is None or level.value < self.limits.flat_share or self._is_solved():
            return ""
        earned = self._level("reward.accuracy") or self._level("reward")
        right = "" if earned is None else f" (they earn {earned.value:.2g} on average)"
        return (
            f"for {self.limits.window} steps {level.value:.0%} of groups or so had responses that "
            f"all earn the same{right}, which teaches nothing: take easier problems, a better "
            "start or a larger group_size, allow refills, and see that right answers are paid"
        )

    def _judge_faults(self) -> str:
        faults, responses = (sum(self._last(name)) for name in ("faults", "responses"))
        if faults < self.limits.least_faults or faults < self.limits.fault_share * responses:
            return ""
        return (
            f"the judge failed on {faults:.0f} of about {responses:.0f} responses in the last "
            f"{len(self._last('faults'))} steps; they were left out, which biases what is learnt: "
            "grade some responses by hand, and look at its limits of time and memory"
        )

    def _mismatch(self) -> str:
        mean, largest = self._typical("mean_gap"), self._typical("largest_gap")
        if mean <= self.limits.mean_gap and largest <= self.limits.largest_gap:
            return ""
        return (
            f"in most of the last {_FEW} steps log-probabilities of engine and trainer differed by "
            f"{mean:.2g} nats on average and {largest:.2g} at most: they do not compute the same "
            "policy; compute exactly, or correct by importance sampling, and see that temperature "
            "and weights are the same"
        )

    def _is_solved(self) -> bool:
        level = self._level("reward.accuracy")
        return level is not None and level.value >= self.limits.solved

    def _num_groups(self) -> float:
        """Drawn in this step; 0 where that is not known. Also remembers how many were drawn."""
        before, self._problems = self._problems, self._facts.get("problems")
        return 0.0 if before is None or self._problems is None else self._problems - before

    def _level(self, name: str) -> _Level | None:
        """Over the last window; None while it is not full."""
        values = self._last(name)
        if len(values) < self.limits.window:
            return None
        error = _MEDIAN_ERROR * _spread(self._windows[name]) / math.sqrt(len(values))
        return _Level(value=median(values), error=error, since=self.step)

    def _typical(self, name: str) -> float:
        """The median over a few steps; 0 before there are as many."""
        values = self._last(name)[-_FEW:]
        return median(values) if len(values) == _FEW else 0.0

    def _last(self, name: str) -> list[float]:
        return list(self._windows.get(name, ()))[-self.limits.window :]


_FEW = 3  # steps of which two must agree
_CHANCE = 2.0  # standard errors: a run is rather believed to progress than held to stand still
_MEDIAN_ERROR = math.sqrt(math.pi / 2)  # of a median over that of a mean, for normal noise
_MAY_BE_INFINITE = frozenset({"most_ratio", "mean_gap", "largest_gap"})  # causes of their own
_FOLLOWED = _MAY_BE_INFINITE | {
    "entropy",
    "faults",
    "flat_share",
    "length",
    "responses",
    "reward",
    "reward.accuracy",
    "reward.format",
}


def _has_risen(
    name: str, now: Mapping[str, _Level], then: Mapping[str, _Level], errors: float
) -> bool:
    if name not in now:
        return False
    return name not in then or now[name].rise_from(then[name], errors) > 0


def _numbers(facts: Facts) -> dict[str, float]:
    """Also those that JSON has no numbers for, which the record keeps as strings."""
    found = {
        name: number for name, value in facts.items() if (number := _number(value)) is not None
    }
    if "faults" in found:
        found["responses"] = _num_responses(found)
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if value in ("nan", "inf", "-inf") else None
    return float(value) if isinstance(value, int | float) else None


def _num_responses(facts: Mapping[str, float]) -> float:
    """About: from the mean length of those that were kept; none were if all judges failed."""
    length = facts.get("length", 0.0)
    return max(facts["tokens"] / length if length > 0 else 0.0, facts["faults"])


def _spread(values: Sequence[float]) -> float:
    """The standard deviation of the noise, by the median of differences between neighbours."""
    steps = [abs(b - a) for a, b in pairwise(values)]
    return 1.4826 * median(steps) / math.sqrt(2)  # 1.4826: of normal noise, its deviation
