"""Figures as a reader wants them."""


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\u202f%"


def between(low: float, high: float) -> str:
    """The ends of an interval of shares."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def points(difference: float) -> str:
    """Of shares, in points of a hundred."""
    return f"{100 * difference:.1f}".replace("-", "\u2212")


def plain(value: float) -> str:
    """Three figures that count, and thousands apart."""
    form = ".1e" if value and abs(value) < 1e-3 else ",.0f" if abs(value) >= 100 else ".3g"
    return f"{value:{form}}".replace("-", "\u2212")


def tick(value: float) -> str:
    """Beside an axis: short."""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:g}{letter}"
    return f"{round(value, 9):g}".replace("-", "\u2212")


def share_tick(value: float) -> str:
    return f"{round(100 * value, 7):g}%"


def counted(count: int, what: str) -> str:
    """``1 step``, ``2,000 steps``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
