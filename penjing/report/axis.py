"""From figures to places on paper, with round numbers along the edge."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

_FINE = 8  # steps of round numbers that an axis may end at


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Figures from ``low`` to ``high`` lie at places from ``first`` to ``last``."""

    low: float
    high: float
    first: float
    last: float

    def place(self, value: float) -> float:
        """Held inside the paper."""
        share = (value - self.low) / (self.high - self.low)
        return self.first + min(1.0, max(0.0, share)) * (self.last - self.first)

    def ticks(self, about: int = 4) -> list[float]:
        """Round numbers between the ends, some ``about`` of them."""
        return round_numbers(self.low, self.high, about)


def domain(values: Iterable[float], *, least: float | None = None) -> tuple[float, float]:
    """Ends that hold all ``values`` and ``least``, moved out to round numbers."""
    known = [*values, *([] if least is None else [least])]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low == high:
        low, high = (low, low + 1.0) if low >= 0 else (low - 1.0, low)
    step = _step(low, high, _FINE)
    return floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step


def round_numbers(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``."""
    step = _step(low, high, about)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _step(low: float, high: float, about: int) -> float:
    rough = (high - low) / max(1, about)
    power = float(10 ** floor(log10(rough)))
    return next((m * power for m in (1, 2, 5) if m * power >= rough * 0.999), 10 * power)
