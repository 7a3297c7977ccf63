"""Plain values as lines of text, between a program that is not trusted and the tests of it.

Only literal types cross: what arrives is built anew from text, so no method of the sender's comes
along. Numbers are written in base 16, which is exact and knows no limit of digits. This file is
copied into the sandbox, so it imports the standard library only.
"""

import json
from typing import Any

MOST_DEPTH = 100
_SINGLE: dict[str, object] = {"N": None, "T": True, "F": False}
_TAGS: dict[Any, str] = {list: "l", tuple: "t", set: "e", frozenset: "z"}
_BUILD: dict[str, Any] = {tag: kind for kind, tag in _TAGS.items()}


class NotPlain(Exception):
    """A value of a type that does not cross, or one nested too deeply; one line says which."""


class Garbled(Exception):
    """Text that ``encode`` never writes."""


def encode(value: object) -> str:
    """One line of ASCII. Instances of subclasses become what they are at bottom.

    The base type's own functions are called, never the instance's, so that a subclass with odd
    methods is read as it is stored. Raises ``NotPlain``.
    """
    return json.dumps(_tagged(value, 0), separators=(",", ":"))


def decode(text: str) -> Any:
    """Raises ``Garbled``."""
    try:
        return _value(json.loads(text), 0)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise Garbled(type(error).__name__) from None


def _tagged(value: Any, depth: int) -> list[object]:
    kind = type(value)  # not isinstance, which believes an attribute __class__
    if depth > MOST_DEPTH:
        raise NotPlain(f"a value nested more than {MOST_DEPTH} levels deep")
    if value is None or kind is bool:
        return ["N" if value is None else "T" if value else "F"]
    if (scalar := _scalar(value, kind)) is not None:
        return scalar
    if issubclass(kind, dict):
        pairs = dict.items(value)
        return ["d", [[_tagged(k, depth + 1), _tagged(v, depth + 1)] for k, v in pairs]]
    for base, tag in _TAGS.items():
        if issubclass(kind, base):
            items = base.__iter__(value)
            return [tag, [_tagged(item, depth + 1) for item in items]]
    raise NotPlain(f"a value of type {type.__getattribute__(kind, '__name__')!s:.40}")


def _scalar(value: Any, kind: type) -> list[object] | None:
    if issubclass(kind, int):
        return ["i", hex(int.__index__(value))]
    if issubclass(kind, float):
        return ["f", float.hex(value)]
    if issubclass(kind, complex):
        parts = (complex.real, complex.imag)
        return ["c", *(float.hex(part.__get__(value)) for part in parts)]
    if issubclass(kind, str):
        return ["s", str.__str__(value)]
    if issubclass(kind, bytes):
        return ["b", bytes.hex(value)]
    return None


def _value(tagged: Any, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise ValueError("nested too deeply")
    match tagged:
        case [str(tag)]:
            return _SINGLE[tag]
        case ["i", str(digits)]:
            return int(digits, 16)
        case ["f", str(digits)]:
            return float.fromhex(digits)
        case ["c", str(real), str(imaginary)]:
            return complex(float.fromhex(real), float.fromhex(imaginary))
        case ["s", str(text)]:
            return text
        case ["b", str(digits)]:
            return bytes.fromhex(digits)
        case ["d", list(pairs)]:
            return {_value(k, depth + 1): _value(v, depth + 1) for k, v in pairs}
        case [("l" | "t" | "e" | "z") as tag, list(items)]:
            return _BUILD[tag](_value(item, depth + 1) for item in items)
    raise ValueError("no such tag")
