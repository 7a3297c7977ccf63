"""Whether what a program wrote is what was expected."""

import math
import re

# Beside zero no relative tolerance means anything; an output with nine decimals still counts.
_ABSOLUTE = 1e-9
_FRACTION = re.compile(r"[+-]?[0-9]{0,300}\.[0-9]{1,300}(?:[eE][+-]?[0-9]{1,3})?")
_NUMBER = re.compile(r"[+-]?[0-9]{0,300}(?:\.?[0-9]{1,300}|[0-9]\.)(?:[eE][+-]?[0-9]{1,3})?")


def is_same_output(expected: str, got: str, relative_tolerance: float | None) -> bool:
    """Line by line and word by word; how much white space stands between is no matter.

    Empty lines count, but for those at the end. Words must be equal. Only where the expected one is
    a decimal fraction, a number within ``relative_tolerance`` of it will do.
    """
    wanted, found = _words(expected), _words(got)
    return len(wanted) == len(found) and all(
        len(one) == len(other)
        and all(_is_same_word(w, f, relative_tolerance) for w, f in zip(one, other, strict=True))
        for one, other in zip(wanted, found, strict=True)
    )


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.rstrip().split("\n")]


def _is_same_word(expected: str, got: str, relative_tolerance: float | None) -> bool:
    if expected == got:
        return True
    if relative_tolerance is None or not _FRACTION.fullmatch(expected):
        return False
    return bool(_NUMBER.fullmatch(got)) and math.isclose(
        float(expected), float(got), rel_tol=relative_tolerance, abs_tol=_ABSOLUTE
    )
