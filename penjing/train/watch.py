"""Watchdogs of training: what goes wrong, seen in the facts of the steps and called by its cause.

Curves are noisy, so nothing is said of one step that may be chance. A level is the median over the
last ``window`` steps, which half of them less one cannot move; its standard error is taken from
differences between neighbouring steps, which a slow trend does not widen; and a level has changed
when it lies so many standard errors off. Whether the reward rises is asked of a line through
medians. The exceptions are figures that are never right.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from itertools import pairwise
from statistics import fmean, median
from types import MappingProxyType
from typing import Any, NamedTuple

from penjing.errors import BadQuantity
from penjing.train.record import Facts

_FEW = 5  # steps, of which three must agree
_MOST_BLOCKS = 200
_NORMAL = 1.4826  # standard deviation over the median of the size, of normal noise
_MAY_BE_INFINITE = frozenset({"most_ratio", "mean_gap", "largest_gap"})  # causes of their own
_REWARDS = frozenset({"reward", "reward.accuracy", "reward.format"})
_SIZES = frozenset({"entropy", "faults", "flat_share", "length", "responses"})


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
    doubt: float = 1.0  # standard errors of a rise of the reward that a run is given credit for
    patience: int = 50  # steps in which the reward must have risen, if the entropy is low
    solved: float = 0.9  # accuracy above which groups may be flat, and the policy sure of itself
    # Rewards stop rising as entropy runs out, R = b - a exp(H), arXiv 2505.22617; a healthy run,
    # quickstart's first RL, goes down to a fifth.
    entropy_share: float = 0.1
    # GRPO's division by length makes wrong responses longer, arXiv 2503.20783, section 3.1.
    length_growth: float = 2.0
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
        for name, least in (("window", _FEW), ("length_growth", 1), ("ratio", 1)):
            if getattr(self, name) < least:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("solved", "entropy_share", "flat_share", "fault_share"):
            if getattr(self, name) > 1:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it is a share, at most 1")

    def eased(self) -> "Thresholds":
        """What ends an alarm: farther off than what raises it, so that none comes and goes."""
        return replace(
            self,
            errors=self.errors / 2,
            doubt=self.errors,
            entropy_share=min(2 * self.entropy_share, 1.0),
            length_growth=(1 + self.length_growth) / 2,
            format_rise=self.format_rise / 2,
            accuracy_fall=self.accuracy_fall / 2,
            ratio=(1 + self.ratio) / 2,
            flat_share=self.flat_share * 0.9,
            fault_share=self.fault_share / 2,
            mean_gap=self.mean_gap / 2,
            largest_gap=self.largest_gap / 2,
        )


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """``text``: what was seen, since when, what it usually means, what to try; without the step."""

    step: int
    cause: Cause
    action: Action
    text: str


class Watch:
    """Causes that ``actions`` does not name act by default.

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
        step, window = self._seen.step, self._seen.limits.window
        raised = {cause for cause, calm in self._calm.items() if calm < window}
        alarms = []
        for cause, text in self._seen.findings(raised).items():
            self._calm[cause] = 0 if text else self._calm[cause] + 1
            action = self._actions[cause]
            if text and cause not in raised and action is not Action.IGNORE:
                alarms.append(Alarm(step=step, cause=cause, action=action, text=text))
        return alarms


@dataclass(frozen=True, kw_only=True)
class _Level:
    """A median over a window, with its standard error, at the window's last step."""

    value: float
    error: float
    step: int

    def rise_from(self, other: "_Level", errors: float) -> float:
        """How far it lies above ``other``; 0 where that may be chance."""
        rise = self.value - other.value
        return rise if abs(rise) > errors * math.hypot(self.error, other.error) else 0.0


class _Block(NamedTuple):
    """Medians over ``_FEW`` steps."""

    step: float  # the middle
    reward: float
    length: float


class _Seen:
    """What is remembered of the steps: two windows a figure, and the last of the run in blocks."""

    def __init__(self, limits: Thresholds) -> None:
        self.limits, self._eased = limits, limits.eased()
        self.step = -1
        self._facts: dict[str, float] = {}
        self._windows: dict[str, deque[float]] = {}
        self._problems: float | None = 0.0  # drawn before this step
        self._entropy: _Level | None = None  # the first
        self._best: tuple[_Level, _Level] | None = None  # of format, of accuracy when it was best
        self._blocks: deque[_Block] = deque(maxlen=_MOST_BLOCKS)
        self._num_rewards = 0

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
        for name in (_MAY_BE_INFINITE | _REWARDS | _SIZES) & self._facts.keys():
            value = self._facts[name]
            if math.isfinite(value) or (name in _MAY_BE_INFINITE and value == math.inf):
                window = self._windows.setdefault(name, deque(maxlen=2 * self.limits.window))
                window.append(value)
        self._keep()

    def findings(self, raised: Set[Cause]) -> dict[Cause, str]:
        """A sentence for each cause that is there, "" for those that are not."""
        finders = {
            Cause.NOT_FINITE: self._not_finite,
            Cause.ENTROPY_COLLAPSE: self._entropy_collapse,
            Cause.LENGTH_WITHOUT_REWARD: self._length_without_reward,
            Cause.FORMAT_OVER_ACCURACY: self._format_over_accuracy,
            Cause.EXPLODING_RATIO: self._exploding_ratio,
            Cause.FLAT_GROUPS: self._flat_groups,
            Cause.JUDGE_FAULTS: self._judge_faults,
            Cause.MISMATCH: self._mismatch,
        }
        return {
            cause: find(self._eased if cause in raised else self.limits)
            for cause, find in finders.items()
        }

    def _keep(self) -> None:
        """What later steps are held against."""
        self._entropy = self._entropy or self._level("entropy")
        form, right = self._level("reward.format"), self._level("reward.accuracy")
        if form and right and (self._best is None or right.value > self._best[1].value):
            self._best = form, right
        if not all(math.isfinite(self._facts.get(n, math.nan)) for n in ("reward", "length")):
            return
        self._num_rewards += 1
        if self._num_rewards % _FEW == 0:
            reward, length = self._recent("reward"), self._recent("length")
            self._blocks.append(_Block(self.step - (_FEW - 1) / 2, reward, length))

    def _not_finite(self, _: Thresholds) -> str:
        odd = [
            f"{name} is {value}"
            for name, value in self._facts.items()
            if math.isnan(value) or (math.isinf(value) and name not in _MAY_BE_INFINITE)
        ]
        if not odd:
            return ""
        return (
            f"{', '.join(odd)}, as after a learning rate too high or an overflow; an update with "
            "no finite norm was left out: lower learning_rate, or go on from a snapshot of before"
        )

    def _entropy_collapse(self, at: Thresholds) -> str:
        now, first = self._level("entropy"), self._entropy
        if now is None or first is None or self._is_solved():
            return ""
        recent = [b for b in self._blocks if b.step > self.step - at.patience]
        is_early = len(recent) < max(at.patience // _FEW - 1, 2)
        has_left = now.value >= at.entropy_share * first.value
        if has_left or is_early or self._rise(recent) > at.doubt:
            return ""
        return (
            f"the entropy is {now.value:.2g} nats a token where it began with {first.value:.2g}, "
            f"and the reward has not risen for {at.patience} steps: the policy no longer explores; "
            "raise clip_high or temperature, or lower learning_rate"
        )

    def _length_without_reward(self, at: Thresholds) -> str:
        now = self._level("length")
        if now is None:
            return ""
        blocks = list(self._blocks)
        shorter = [i for i, b in enumerate(blocks) if b.length * at.length_growth < now.value]
        since = blocks[shorter[-1] :] if shorter else []
        if len(since) < 2 or self.step - since[0].step < 2 * at.window:
            return ""
        is_chance = now.value - since[0].length < at.errors * now.error
        if is_chance or self._rise(since) > at.doubt:
            return ""
        return (
            f"responses have grown from {since[0].length:.4g} to {now.value:.4g} tokens since step "
            f"{since[0].step:.0f} and the reward has not risen: length is learnt for its own sake; "
            "take the advantage dr_grpo with the aggregation constant, or reward over_length"
        )

    def _format_over_accuracy(self, at: Thresholds) -> str:
        form, right = self._level("reward.format"), self._level("reward.accuracy")
        if form is None or right is None or self._best is None:
            return ""
        old_form, old_right = self._best
        rise = form.rise_from(old_form, at.errors)
        fall = -right.rise_from(old_right, at.errors)
        if rise < at.format_rise or fall < at.accuracy_fall:
            return ""
        return (
            f"since step {old_form.step} format went from {old_form.value:.3f} to {form.value:.3f} "
            f"and accuracy from {old_right.value:.3f} to {right.value:.3f}: the policy is paid for "
            "its looks; lower the weight of format, or learning_rate, or take more rollouts a step"
        )

    def _exploding_ratio(self, at: Thresholds) -> str:
        ratio = self._recent("most_ratio")
        if ratio <= at.ratio:
            return ""
        return (
            f"in most of the last {_FEW} steps some token became over {ratio:.3g} times as likely "
            "as when it was sampled: updates are too large for what they were sampled from; lower "
            "learning_rate, or take fewer minibatches"
        )

    def _flat_groups(self, at: Thresholds) -> str:
        level = self._level("flat_share")
        if level is None or level.value < at.flat_share or self._is_solved():
            return ""
        earned = self._level("reward.accuracy") or self._level("reward")
        right = "" if earned is None else f" ({earned.value:.2g} on average)"
        return (
            f"for {at.window} steps about {level.value:.0%} of groups had responses that all earn "
            f"the same{right}, which teaches nothing: take easier problems, a better start or a "
            "larger group_size, allow refills, and see that right answers are paid"
        )

    def _judge_faults(self, at: Thresholds) -> str:
        faults, responses = (sum(self._last(name)) for name in ("faults", "responses"))
        if faults < at.least_faults or faults < at.fault_share * responses:
            return ""
        return (
            f"the judge failed on {faults:.0f} of about {responses:.0f} responses in the last "
            f"{len(self._last('faults'))} steps; they were left out, which biases what is learnt: "
            "grade some responses by hand, and look at its limits of time and memory"
        )

    def _mismatch(self, at: Thresholds) -> str:
        mean, largest = (self._recent(name) for name in ("mean_gap", "largest_gap"))
        if mean <= at.mean_gap and largest <= at.largest_gap:
            return ""
        return (
            f"in most of the last {_FEW} steps log-probabilities of engine and trainer differed by "
            f"{mean:.2g} nats on average and {largest:.2g} at most: these are two policies; see "
            "that weights and temperature are the same, compute exactly, or correct by importance"
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
        error = self._median_error(name, len(values))
        return _Level(value=median(values), error=error, step=self.step)

    def _rise(self, blocks: Sequence[_Block]) -> float:
        """Of the reward, by the slope of the line of least squares, in standard errors of it."""
        middle = fmean(b.step for b in blocks)
        rise = sum((b.step - middle) * b.reward for b in blocks)
        spread = math.sqrt(sum((b.step - middle) ** 2 for b in blocks))
        error = spread * self._median_error("reward", _FEW)
        return rise / error if error else math.copysign(math.inf, rise) if rise else 0.0

    def _median_error(self, name: str, count: int) -> float:
        """Of a median over ``count`` steps, from the differences between neighbours."""
        steps = [abs(b - a) for a, b in pairwise(self._windows[name])]
        deviation = _NORMAL * median(steps) / math.sqrt(2)
        return math.sqrt(math.pi / 2) * deviation / math.sqrt(count)

    def _recent(self, name: str) -> float:
        """The median over the last few steps; 0 before there are as many."""
        values = self._last(name)[-_FEW:]
        return median(values) if len(values) == _FEW else 0.0

    def _last(self, name: str) -> list[float]:
        return list(self._windows.get(name, ()))[-self.limits.window :]


def _numbers(facts: Facts) -> dict[str, float]:
    """Also those that JSON has no numbers for, which the record keeps as strings."""
    read = ((name, _number(value)) for name, value in facts.items())
    found = {name: number for name, number in read if number is not None}
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
    return max(facts.get("tokens", 0.0) / length if length > 0 else 0.0, facts["faults"])
