"""SI base units inside, human spellings at the door.

Inside the package every quantity is a float in bytes, seconds, FLOP/s, bytes/s, watts or US
dollars, and its name ends in that unit. This is the only file where GB and GiB meet: decimal
prefixes are powers of 1,000, binary ones (``Ki``, ``Mi``, ``Gi``, ``Ti``) powers of 1,024.
"""

import math
import re

from penjing.errors import BadQuantity

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_COUNT = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_NUMBER = re.compile(r"\s*([-+]?\d[\d,_]*\.?\d*(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


def parse_seconds(text: str, what: str = "duration") -> float:
    """``50ms``, ``2 s``, ``1.5min``, ``3h`` in seconds; a bare number is refused."""
    value, unit = _split(text, what)
    return _positive(value, unit, _SECONDS, text, what, "ms or s, as in 50ms")


def parse_bytes(text: str, what: str = "size") -> float:
    """``96 GiB``, ``80GB``, ``1.5 TB`` in bytes; a bare number is refused."""
    value, unit = _split(text, what)
    scale = {p + "B": s for p, s in (_DECIMAL | _BINARY).items()}
    return _positive(value, unit, scale, text, what, "a unit such as GB or GiB, as in 96GiB")


def parse_rate(text: str, base: str, what: str) -> float:
    """``4000 GB/s`` or ``148 TFLOP/s`` in ``base`` (``B``, ``FLOP``, ``b``) a second."""
    value, unit = _split(text, what)
    prefixes = _DECIMAL | (_BINARY if base == "B" else {})
    scale = {f"{p}{base}/s": s for p, s in prefixes.items()}
    return _positive(value, unit, scale, text, what, f"a unit such as G{base}/s")


def parse_watts(text: str, what: str = "power") -> float:
    """``400 W`` or ``1.2 kW`` in watts."""
    value, unit = _split(text, what)
    return _positive(value, unit, {"W": 1.0, "kW": 1e3, "MW": 1e6}, text, what, "W, as in 400W")


def parse_usd(text: str, what: str = "price") -> float:
    """``12000 USD`` in US dollars."""
    value, unit = _split(text, what)
    return _positive(value, unit, {"USD": 1.0}, text, what, "USD, as in 12000USD")


def parse_usd_per_hour(text: str, what: str = "price per chip-hour") -> float:
    """``1.30`` or ``1.30USD/h`` in US dollars an hour."""
    value, unit = _split(text, what)
    return _positive(value, unit, {"": 1.0, "USD/h": 1.0, "$/h": 1.0}, text, what, "USD/h")


def parse_count(text: str, what: str = "count", *, at_least: float = 1) -> int:
    """A whole number, with k, M, B or T where wanted: ``4096``, ``64k``, ``14.8T``."""
    value, unit = _split(text, what)
    if unit not in _COUNT:
        raise BadQuantity(f"{what} {text!r}: {unit!r} is no multiplier; use k, M, B or T")
    number = value * _COUNT[unit]
    if not math.isfinite(number) or number != math.floor(number) or number < at_least:
        raise BadQuantity(f"{what} {text!r}: must be a whole number of at least {at_least:g}")
    return int(number)


def format_bytes(value: float) -> str:
    """Bytes with a binary prefix, the way device memory is sold and reported."""
    for prefix in ("", "Ki", "Mi", "Gi"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if not prefix else f"{value:.1f} {prefix}B"
        value /= 1024
    return f"{value:.2f} TiB"


def format_seconds(value: float) -> str:
    """Seconds in the unit a reader would choose."""
    for scale, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if value >= (2 if scale > 1 else 1) * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def format_si(value: float, unit: str) -> str:
    """A quantity with a decimal prefix: ``148 TFLOP/s``, ``4 TB/s``."""
    for scale, prefix in (
        (1e18, "E"),
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
    ):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def _split(text: str, what: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(text)
    if not match:
        raise BadQuantity(f"{what} {text!r}: not a number with a unit")
    value = float(match[1].replace(",", "").replace("_", ""))
    if not math.isfinite(value):
        raise BadQuantity(f"{what} {text!r}: not a finite number")
    return value, match[2]


def _positive(
    value: float, unit: str, scale: dict[str, float], text: str, what: str, example: str
) -> float:
    if unit not in scale:
        said = f"unit {unit!r} is not known" if unit else "has no unit"
        raise BadQuantity(f"{what} {text!r} {said}; write it with {example}")
    if value <= 0:
        raise BadQuantity(f"{what} {text!r}: must be above zero")
    if math.isinf(value * scale[unit]):
        raise BadQuantity(f"{what} {text!r}: too large to mean anything")
    return value * scale[unit]
