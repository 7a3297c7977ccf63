"""How far the truth lies from a prediction, in eight runs of ten.

The factors in ``intervals.toml`` come from public measurements laid beside predictions;
``benchmarks/validate.py --write-intervals`` writes them and says how.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources


class Metric(StrEnum):
    """What is predicted; intervals differ by it, not by the unit it is stated in."""

    OFFLINE = "offline-throughput"
    ONLINE = "online-throughput"  # under clients or a burst, not under arrivals at a given rate
    TPOT = "tpot"
    TTFT = "ttft"
    DECODE = "decode"  # decoding alone at a given batch
    PREFILL = "prefill"  # prefilling alone
    PRETRAINING = "pretraining"  # and fine-tuning: one pass forward and one back
    RL = "rl"

    @property
    def is_time(self) -> bool:
        """Whether the factors are on seconds; those of the other metrics are on rates."""
        return self in (Metric.TPOT, Metric.TTFT)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """With 80 % the truth lies in [low * predicted, high * predicted].

    ``groups`` is the number of independent runs the factors rest on. Where predictions of a
    metric lean to one side the two factors may lie on the same side of one.
    """

    low: float
    high: float
    groups: int = 0

    def inverse(self) -> "Spread":
        """The factors on the reciprocal: on seconds where these are on rates, and back."""
        return Spread(low=1.0 / self.high, high=1.0 / self.low, groups=self.groups)


def interval_of(metric: Metric, *, derived: bool) -> Spread:
    """The spread of ``metric`` on a chip with its own kernel curves, or ``derived`` ones."""
    return spreads()[metric, derived]


@cache
def spreads() -> Mapping[tuple[Metric, bool], Spread]:
    """Every spread of the package, by metric and whether the kernel curves are derived."""
    text = (resources.files(__package__) / "intervals.toml").read_text(encoding="utf-8")
    found = {
        (Metric(raw["metric"]), raw["curves"] == "derived"): Spread(
            low=raw["low"], high=raw["high"], groups=raw["groups"]
        )
        for raw in tomllib.loads(text)["interval"]
    }
    missing = [m for m in Metric for derived in (False, True) if (m, derived) not in found]
    assert not missing, f"intervals.toml lacks {missing}"
    return found
