"""Numbers of a file as answers are written."""

from decimal import Decimal


def plain_number(value: float) -> str:
    """All digits, since ``1e-07`` reads as e times one, less seven; a whole float has no point.

    ``value`` must be finite.
    """
    if isinstance(value, int) or value.is_integer():  # the first may be too big for a float
        return str(int(value))
    return f"{Decimal(repr(value)):f}"
