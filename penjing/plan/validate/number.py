"""Numbers as people write them in tables, within what can be meant."""

MOST_TOKENS = 1e7  # of one request
MOST_REQUESTS = 1e7
MOST_CHIPS = 1e5
MOST_RANKS = 1024  # of one degree of parallelism


class Unmapped(Exception):
    """Why a row has no prediction."""


def number(text: str, what: str, most: float) -> float:
    """``1,024`` or ``2.5``, not below zero; raises ``Unmapped``."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        raise Unmapped(f"{what} not understood ({text or 'blank'})") from None
    if not 0 <= value <= most:
        raise Unmapped(f"{what} of {text} is not between 0 and {most:,.0f}")
    return value


def whole(text: str, what: str, most: float) -> int:
    """As ``number``, cut to an integer, which must be at least one."""
    value = int(number(text, what, most))
    if value < 1:
        raise Unmapped(f"{what} of {text} is below one")
    return value
