import json
import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.code_values import MOST_DEPTH, Garbled, NotPlain, decode, encode

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner).map(tuple) | st.frozensets(inner),
    max_leaves=8,
)
PLAIN = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(HASHABLE)
        | st.dictionaries(HASHABLE, inner)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_values_come_back_with_their_types(value: object) -> None:
    text = encode(value)
    back = decode(text)
    assert back == value
    assert repr(back) == repr(value) or "{" in repr(value)  # sets may be in another order
    assert type(back) is type(value)
    assert text.isascii()
    assert "\n" not in text


TAGS = st.sampled_from([*"NTFifcsbdltez", "0x1", "", 1, None])
JUNK = st.recursive(TAGS, st.lists, max_leaves=12)


@given(JUNK | JUNK.map(lambda junk: ["l", [junk]]))
def test_whatever_arrives_is_a_plain_value_or_garbled(junk: object) -> None:
    try:
        value = decode(json.dumps(junk))
    except Garbled:
        return
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 1e-320, 0.1])
def test_floats_are_exact(value: float) -> None:
    back = decode(encode(value))
    assert repr(back) == repr(value)
    assert math.copysign(1, back) == math.copysign(1, value)


def test_integers_know_no_limit_of_digits() -> None:
    value = -(10**50_000) - 1  # str() refuses above 4,300 digits
    assert decode(encode(value)) == value


def test_lone_surrogates_cross() -> None:
    assert decode(encode("a\ud800b\0\n")) == "a\ud800b\0\n"


class Equal:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class OddInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __index__(self) -> int:
        return 6

    def __repr__(self) -> str:
        return "6"

    __hash__ = int.__hash__


class OddFloat(float):
    def hex(self) -> str:
        return "0x0p+0"

    def __sub__(self, other: float) -> float:
        return 0.0


class OddText(str):
    def __str__(self) -> str:
        return "other"

    def __iter__(self) -> Any:
        return iter("other")


class OddList(list[int]):
    def __iter__(self) -> Any:
        return iter([1, 2, 3])

    def __len__(self) -> int:
        return 3


class OddDict(dict[str, int]):
    def items(self) -> Any:
        return [("x", 1)]

    def __iter__(self) -> Any:
        return iter("xyz")


Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (OddInt(7), 7),
        (OddFloat(1.5), 1.5),
        (OddText("mine"), "mine"),
        (OddList([0]), [0]),
        (OddDict(a=2), {"a": 2}),
        (Point(1, 2), (1, 2)),
        (Colour.RED, 1),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
    ],
)
def test_a_subclass_crosses_as_what_is_stored(given: Any, plain: Any) -> None:
    back = decode(encode(given))
    assert plain == back
    assert type(back) is type(plain)


def test_an_attribute_class_is_not_believed() -> None:
    class Liar:
        __class__ = int  # type: ignore[assignment]

    assert isinstance(Liar(), int)
    with pytest.raises(NotPlain, match="type Liar"):
        encode(Liar())


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Equal(), "Equal"),
        ([1, {"a": Equal()}], "Equal"),
        ((n for n in "ab"), "generator"),
        (range(3), "range"),
        (bytearray(b"x"), "bytearray"),
        (int, "type"),
        (len, "builtin_function"),
        (..., "ellipsis"),
    ],
)
def test_other_types_are_refused_by_name(value: object, kind: str) -> None:
    with pytest.raises(NotPlain, match=kind):
        encode(value)


def test_depth_is_bounded_on_both_sides() -> None:
    value: list[Any] = []
    for _ in range(MOST_DEPTH):
        value = [value]
    assert decode(encode(value)) == value
    with pytest.raises(NotPlain, match="levels deep"):
        encode([value])
    text = '["l",[' * (MOST_DEPTH + 1) + '["l",[]]' + "]]" * (MOST_DEPTH + 1)
    assert json.loads(text)
    with pytest.raises(Garbled):
        decode(text)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotPlain):
        encode(endless)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "[]",
        '["o"]',
        '["o", 1]',
        '["i", 6]',
        '["i", "six"]',
        '["i", "0x1", "0x1"]',
        '["f", "0x1p+99999"]',
        '["c", "0x1"]',
        '["b", "0"]',
        '["l", "ab"]',
        '["l", [1]]',
        '["d", [[["N"]]]]',
        '["d", [[["l", []], ["N"]]]]',
        '["e", [["l", []]]]',
        '{"i": "0x1"}',
        "[" * 100_000,
        "9" * 5000,
        "NaN",
    ],
)
def test_what_encode_never_writes_is_garbled(text: str) -> None:
    with pytest.raises(Garbled):
        decode(text)
