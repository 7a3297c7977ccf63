"""The watchdogs at work: each looks at the last steps and says once what is wrong."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from penjing.train.record import Facts
from penjing.train.watch import Action, Alarm, Cause, Thresholds

_LOOK_BACK = 3  # windows and patiences that are remembered
# Of a normal sample of n: the median's standard error is 1.2533 s / sqrt(n), and the median of
# |x[i+1] - x[i]| is 0.6745 sqrt(2) s. Hampel, Annals of Statistics 42 (1971); textbook values.
_OF_MEDIAN, _OF_DIFFERENCES = 1.2533, 0.6745 * math.sqrt(2)


class Watch:
    """``history`` is the record so far: a run that was stopped is watched on as if it never was."""

    def __init__(
        self,
        actions: Mapping[Cause, Action],
        thresholds: Thresholds,
        history: Sequence[Facts] = (),
    ) -> None:
        self._actions, self._limits = actions, thresholds
        span = _LOOK_BACK * (thresholds.window + thresholds.patience)
        self._past: deque[dict[str, float]] = deque(maxlen=span)
        self._first_entropy: list[float] = []
        self._barking: set[Cause] = set()
        for facts in history:
            self.look(facts)

    def look(self, facts: Facts) -> list[Alarm]:
        """What is newly wrong with this step; nothing again before it was right in between."""
        now = {name: _number(value) for name, value in facts.items() if _is_number(value)}
        self._past.append(now)
        if "entropy" in now and len(self._first_entropy) < self._limits.window:
            self._first_entropy.append(now["entropy"])
        found = {cause: text for cause, text in self._wrong(now) if text}
        new = [cause for cause in found if cause not in self._barking]
        self._barking = set(found)
        step = int(now.get("step", 0))
        return [
            Alarm(step=step, cause=cause, action=self._actions[cause], text=found[cause])
            for cause in new
            if self._actions[cause] is not Action.IGNORE
        ]

    def _wrong(self, now: Mapping[str, float]) -> Iterator[tuple[Cause, str | None]]:
        looks: dict[Cause, Callable[[Mapping[str, float]], str | None]] = {
            Cause.NOT_FINITE: self._not_finite,
            Cause.EXPLODING_RATIO: self._ratio,
            Cause.MISMATCH: self._mismatch,
            Cause.JUDGE_FAULTS: self._faults,
            Cause.FLAT_GROUPS: self._flat,
            Cause.ENTROPY_COLLAPSE: self._entropy,
            Cause.LENGTH_WITHOUT_REWARD: self._length,
            Cause.FORMAT_OVER_ACCURACY: self._format,
        }
        for cause, look in looks.items():
            yield cause, look(now)

    def _not_finite(self, now: Mapping[str, float]) -> str | None:
        broken = [n for n in ("loss", "norm", "entropy") if not math.isfinite(now.get(n, 0.0))]
        if not broken:
            return None
        return (
            f"{broken[0]} is {now[broken[0]]}: the weights were left as they were; usually the "
            "learning rate is too high, or a weight is broken: go back and lower it"
        )

    def _ratio(self, now: Mapping[str, float]) -> str | None:
        most, least = now.get("most_ratio", 1.0), now.get("least_ratio", 1.0)
        if most <= self._limits.ratio and least >= 1 / self._limits.ratio:
            return None
        return (
            f"ratios run from {least:.2g} to {most:.2g}: the policy is far from the one that "
            "sampled; take fewer minibatches, or a smaller learning rate"
        )

    def _mismatch(self, now: Mapping[str, float]) -> str | None:
        mean, largest = self._level("mean_gap"), self._level("largest_gap")
        if (mean or 0) <= self._limits.mean_gap and (largest or 0) <= self._limits.largest_gap:
            return None
        return (
            f"rollouts and training differ by {mean or 0:.2g} nats a token, {largest or 0:.2g} at "
            "most: learn with exact numerics, or with a correction"
        )

    def _faults(self, now: Mapping[str, float]) -> str | None:
        count = sum(one.get("faults", 0.0) for one in self._recent())
        tokens = sum(one.get("tokens", 0.0) for one in self._recent())
        length = self._level("length")
        responses = tokens / length if length else math.inf
        if count < self._limits.least_faults or count < self._limits.fault_share * responses:
            return None
        return (
            f"the judge failed on {count:.0f} responses of the last {len(self._recent())} steps: "
            "they teach nothing; look at what it says of them"
        )

    def _flat(self, now: Mapping[str, float]) -> str | None:
        """Groups whose responses all earned the same, where the task is not solved."""
        steps = self._recent(self._limits.window + 1)
        shares = [
            after.get("flat_groups", 0.0) / groups
            for before, after in pairwise(steps)
            if (groups := after.get("problems", 0.0) - before.get("problems", 0.0)) > 0
        ]
        right = self._level("reward.accuracy")
        if len(shares) < self._limits.window or median(shares) < self._limits.flat_share:
            return None
        if right is not None and right > self._limits.solved:
            return None
        return (
            f"{median(shares):.0%} of groups say nothing, as all their responses earn the same: "
            "the problems are too hard or too easy; take others, larger groups, or refills"
        )

    def _entropy(self, now: Mapping[str, float]) -> str | None:
        level, right = self._level("entropy"), self._level("reward.accuracy")
        if level is None or right is None or len(self._first_entropy) < self._limits.window:
            return None
        least = self._limits.entropy_share * median(self._first_entropy)
        if level >= least or right > self._limits.solved or self._rises("reward"):
            return None
        return (
            f"entropy fell to {level:.2g} nats, from {median(self._first_entropy):.2g}, and the "
            "reward no longer rises: nothing new is tried; raise clip_high, the temperature, or "
            "take an entropy guard"
        )

    def _length(self, now: Mapping[str, float]) -> str | None:
        before, level = self._before("length"), self._level("length")
        if before is None or level is None or level < self._limits.length_growth * before:
            return None
        if self._rises("reward") or self._rises("reward.accuracy"):
            return None
        return (
            f"responses grew from {before:.0f} to {level:.0f} tokens without a better reward: a "
            "loss divided by length makes wrong ones long; take the aggregation constant, or a "
            "soft limit"
        )

    def _format(self, now: Mapping[str, float]) -> str | None:
        form, right = self._change("reward.format"), self._change("reward.accuracy")
        if form is None or right is None:
            return None
        if form < self._limits.format_rise or -right < self._limits.accuracy_fall:
            return None
        if -right < self._limits.errors * self._error("reward.accuracy"):
            return None
        return (
            f"format rose by {form:.2f} and accuracy fell by {-right:.2f}: the policy learns the "
            "shell alone; lower the weight of format"
        )

    def _recent(self, count: int | None = None) -> list[dict[str, float]]:
        return list(self._past)[-(count or self._limits.window) :]

    def _values(self, name: str, back: int = 0) -> list[float]:
        """A window of it, ``back`` steps ago; empty where it is not whole."""
        past = list(self._past)
        steps = past[: len(past) - back][-self._limits.window :]
        found = [one[name] for one in steps if name in one and math.isfinite(one[name])]
        return found if len(found) == self._limits.window else []

    def _level(self, name: str) -> float | None:
        values = self._values(name)
        return median(values) if values else None

    def _before(self, name: str) -> float | None:
        values = self._values(name, self._limits.patience)
        return median(values) if values else None

    def _change(self, name: str) -> float | None:
        now, before = self._level(name), self._before(name)
        return None if now is None or before is None else now - before

    def _rises(self, name: str) -> bool:
        """By more than chance; also where nobody can tell yet."""
        change = self._change(name)
        return change is None or change > self._limits.errors * self._error(name)

    def _error(self, name: str) -> float:
        """Standard error of the difference of two levels."""
        values = self._values(name) + self._values(name, self._limits.patience)
        moves = [abs(b - a) for a, b in pairwise(values)]
        spread = median(moves) / _OF_DIFFERENCES if moves else 0.0
        return _OF_MEDIAN * spread * math.sqrt(2 / self._limits.window)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or value in ("nan", "inf", "-inf")


def _number(value: Any) -> float:
    return float(value)
