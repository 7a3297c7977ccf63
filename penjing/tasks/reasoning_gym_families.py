"""The families of reasoning_gym: which are used as they are, repaired or refused, and why.

The table is ``reasoning_gym.toml``; reading it needs no reasoning_gym.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from importlib.resources import files

from penjing.errors import RequestError, UnknownName

VERSION = "0.1.25"  # of reasoning_gym: the table was made for it

_KEYS = {"group", "judge", "shape", "tolerance", "relative", "reuse", "defaults", "draw", "reason"}


class Status(StrEnum):
    AS_IS = "as is"  # its own generator, and its own scorer where that gives full marks
    REPAIRED = "repaired"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Family:
    """``reason`` says what was repaired, or why it is refused; empty where it is used as it is.

    ``judge`` names a check of ``reasoning_gym_checks``, ``draw`` a repair of the generator in
    ``reasoning_gym_draws``. ``shape``: what a whole answer must look like before the library's
    scorer sees it. ``reuse``: the data set takes long to make, and is made once.
    """

    name: str
    group: str
    status: Status
    reason: str
    judge: str
    draw: str
    shape: re.Pattern[str] | None
    tolerance: Fraction | None  # absolute
    relative: Fraction | None
    reuse: bool
    defaults: Mapping[str, object]


def families() -> Mapping[str, Family]:
    """All by name, refused ones too."""
    text = (files("penjing.tasks") / "reasoning_gym.toml").read_text(encoding="utf-8")
    return {name: _family(name, entry) for name, entry in tomllib.loads(text).items()}


def usable_family(name: str) -> Family:
    """Raises ``UnknownName``, and ``RequestError`` with the reason for a refused one."""
    known = families()
    if name not in known:
        raise UnknownName("family of reasoning_gym", name, known)
    if known[name].status is Status.REFUSED:
        raise RequestError(f"reasoning_gym/{name} is refused: {known[name].reason}; take another")
    return known[name]


def _family(name: str, entry: Mapping[str, object]) -> Family:
    """The file is ours, so a slip in it is a bug, not a user's error."""
    assert entry.keys() <= _KEYS | {"refused"}, f"{name}: {entry.keys() - _KEYS}"
    refused, reason = str(entry.get("refused", "")), str(entry.get("reason", ""))
    defaults, shape = entry.get("defaults", {}), str(entry.get("shape", ""))
    assert isinstance(defaults, Mapping)
    assert not (refused and reason), name
    assert bool(reason or refused) == bool(entry.keys() - {"group", "reuse"}), name
    status = Status.REFUSED if refused else Status.REPAIRED if reason else Status.AS_IS
    return Family(
        name=name,
        group=str(entry["group"]),
        status=status,
        reason=refused or reason,
        judge=str(entry.get("judge", "library")),
        draw=str(entry.get("draw", "")),
        shape=re.compile(shape, re.ASCII) if shape else None,
        tolerance=_fraction(entry.get("tolerance")),
        relative=_fraction(entry.get("relative")),
        reuse=bool(entry.get("reuse", False)),
        defaults=defaults,
    )


def _fraction(text: object) -> Fraction | None:
    return None if text is None else Fraction(str(text))
