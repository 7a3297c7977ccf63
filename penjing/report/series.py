"""One figure of a stage, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from penjing.report.run import StageRun, number

MOST_DRAWN = 240  # points of a line
_TENTH = 10


@dataclass(frozen=True, kw_only=True)
class Series:
    """``steps`` count from 1, as people do; a step without a finite figure is not there."""

    steps: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def ends(self) -> tuple[float, float]:
        """The mean of the first tenth of the steps and of the last."""
        size = _window(len(self.values))
        return fmean(self.values[:size]), fmean(self.values[-size:])

    def smooth(self) -> "Series":
        """At each step the mean of a tenth of the steps around it."""
        half = (_window(len(self.values)) - 1) / 2
        sums = [0.0, *accumulate(self.values)]
        means = []
        for place in range(len(self.values)):
            reach = int(min(half, place, len(self.values) - 1 - place))
            first, last = place - reach, place + reach + 1
            means.append((sums[last] - sums[first]) / (last - first))
        return Series(steps=self.steps, values=tuple(means))

    def thinned(self, most: int = MOST_DRAWN) -> "Series":
        """At most ``most`` points, each the mean of its neighbours."""
        size = -(-len(self.values) // most) or 1
        starts = range(0, len(self.values), size)
        return Series(
            steps=tuple(fmean(self.steps[i : i + size]) for i in starts),
            values=tuple(fmean(self.values[i : i + size]) for i in starts),
        )


def series(stage: StageRun, key: str) -> Series | None:
    """None where no step tells it."""
    pairs = [(number(facts.get("step")), number(facts.get(key))) for facts in stage.steps]
    known = [(step + 1, value) for step, value in pairs if step is not None and value is not None]
    if not known:
        return None
    return Series(steps=tuple(s for s, _ in known), values=tuple(v for _, v in known))


def every(stage: StageRun, key: str) -> Sequence[float]:
    """The figures alone, none where no step tells them."""
    whole = series(stage, key)
    return whole.values if whole else ()


def _window(count: int) -> int:
    return max(1, count // _TENTH)
