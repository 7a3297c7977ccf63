"""One object of a config.json, read key by key, every type and limit checked.

A missing or malformed key is a ``BadFile``, a size nobody can mean a ``BadQuantity``, an unknown
word an ``UnknownName``; each names the model, the key and what would do.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

from penjing.errors import BadFile, BadQuantity, Contradiction, UnknownName
from penjing.models.harmless_keys import HARMLESS

T = TypeVar("T")

_MAX_SIZE = 10**7
_MAX_NUMBER = 1e12


class ConfigJson:
    """Reads keys and remembers which: ``refuse_unread`` objects to those that nobody understood.

    ``null`` counts as missing, save in ``integer_or_null``.
    """

    def __init__(self, raw: Mapping[str, object], where: str) -> None:
        self._raw = raw
        self._where = where
        self._read: set[str] = set()

    @property
    def where(self) -> str:
        """The model, and the section inside its config, for messages."""
        return self._where

    def has(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def known(self, *keys: str) -> None:
        """Declare keys understood without reading them."""
        self._read.update(keys)

    def integer(
        self, key: str, default: int | None = None, *, at_least: int = 1, at_most: int = _MAX_SIZE
    ) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._malformed(key, value, "a whole number")
        if not at_least <= value <= at_most:
            raise BadQuantity(
                f"config of {self._where}: {key} is {_short(value)}; it must lie between "
                f"{at_least} and {at_most}"
            )
        return value

    def integer_or_null(self, key: str) -> int | None:
        """A size, or an explicit null: a missing key is an error, because no default is certain."""
        self._read.add(key)
        if key in self._raw and self._raw[key] is None:
            return None
        return self.integer(key)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._malformed(key, value, "a number")
        # Compared before it becomes a float: a whole number may be too long for one. NaN fails too.
        if not 0 < value <= _MAX_NUMBER:
            raise BadQuantity(
                f"config of {self._where}: {key} is {_short(value)}; it must be above 0 and at "
                f"most {_MAX_NUMBER:g}"
            )
        return float(value)

    def number_or_none(self, key: str) -> float | None:
        self._read.add(key)
        return self.number(key) if self.has(key) else None

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._malformed(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._malformed(key, value, "a string")
        return value

    def choice(self, key: str, known: Mapping[str, T], default: str | None = None) -> T:
        """What the word under ``key`` stands for."""
        word = self.text(key, default)
        if word not in known:
            raise self.unsupported(key, word, known)
        return known[word]

    def strings(self, key: str) -> tuple[str, ...] | None:
        values = self._list(key)
        if values is None:
            return None
        if not all(isinstance(v, str) for v in values):
            raise self._malformed(key, values, "a list of strings")
        return tuple(str(v) for v in values)

    def integers(self, key: str) -> tuple[int, ...]:
        values = self._list(key) or []
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise self._malformed(key, values, "a list of whole numbers")
        return tuple(v for v in values if isinstance(v, int))

    def section(self, key: str) -> "ConfigJson | None":
        """The object under ``key``; None where it is missing or null."""
        self._read.add(key)
        if not self.has(key):
            return None
        value = self._raw[key]
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise self._malformed(key, value, "an object")
        return ConfigJson(value, f"{self._where} ({key})")

    def sections(self, key: str) -> "list[ConfigJson]":
        """The objects inside the object under ``key``, in order."""
        outer = self.section(key)
        if outer is None:
            return []
        inner = [outer.section(name) for name in outer._raw]
        return [s for s in inner if s is not None]

    def inner(self, key: str, *shared: str) -> "ConfigJson":
        """The object under ``key`` as a config of its own, with the ``shared`` keys of this one."""
        if self.section(key) is None:
            raise BadFile(f"config of {self._where}: {key} is missing; add it to config.json")
        self._read.update(shared)
        value = self._raw[key]
        assert isinstance(value, Mapping)
        lent = {k: self._raw[k] for k in shared if self.has(k)}
        return ConfigJson({**value, **lent}, self._where)

    def spelling(self, *keys: str) -> str:
        """Which of several spellings of one quantity is used; two that disagree contradict."""
        self._read.update(keys)
        given = [k for k in keys if self.has(k)]
        for other in given[1:]:
            if self._raw[other] != self._raw[given[0]]:
                raise Contradiction(
                    f"config of {self._where}: {given[0]} is {_short(self._raw[given[0]])} but "
                    f"{other}, another spelling of it, is {_short(self._raw[other])}; keep one"
                )
        return given[0] if given else keys[0]

    def expect(self, key: str, value: float, why: str) -> None:
        """Where ``key`` is given at all, it has to be ``value``."""
        self._read.add(key)
        if self.has(key) and self._raw[key] != value:
            raise Contradiction(
                f"config of {self._where}: {key} is {_short(self._raw[key])}, but {why} {value}"
            )

    def unsupported(self, key: str, value: object, known: Iterable[str]) -> UnknownName:
        """The error for a value that is well formed, but not among the ``known`` ones."""
        return UnknownName(f"{key} of {self._where}", str(value), known)

    def refuse_unread(self, model_type: str) -> None:
        """Object to a key that was not read, is not ``HARMLESS``, and says something."""
        for key, value in self._raw.items():
            if key not in self._read and key not in HARMLESS and not _says_nothing(value):
                raise UnknownName(
                    f"key in the {model_type} config of {self._where}:",
                    key,
                    self._read,
                    f"its value {_short(value)} may change the arithmetic, so it is not ignored: "
                    "remove it if it does not",
                )

    def _value(self, key: str, default: object) -> object:
        self._read.add(key)
        value = self._raw.get(key)
        if value is not None:
            return value
        if default is None:
            raise BadFile(f"config of {self._where}: {key} is missing; add it to config.json")
        return default

    def _list(self, key: str) -> list[object] | None:
        self._read.add(key)
        if not self.has(key):
            return None
        value = self._raw[key]
        if not isinstance(value, list):
            raise self._malformed(key, value, "a list")
        return value

    def _malformed(self, key: str, value: object, wanted: str) -> BadFile:
        return BadFile(f"config of {self._where}: {key} is {_short(value)}; it must be {wanted}")


def _says_nothing(value: object) -> bool:
    return not value or (isinstance(value, float) and value == 1.0)


def _short(value: object, limit: int = 60) -> str:
    if isinstance(value, int) and abs(value) > 10**limit:
        return f"a number of {int(math.log10(abs(value))) + 1} digits"
    if isinstance(value, list | Mapping) and value:
        return f"a{' list' if isinstance(value, list) else 'n object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
