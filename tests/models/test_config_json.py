import math
from collections.abc import Callable
from typing import Any

import pytest

from penjing.errors import BadFile, BadQuantity, Contradiction, PenjingError, UnknownName
from penjing.models.config_json import ConfigJson


def _of(**keys: object) -> ConfigJson:
    return ConfigJson(keys, "Toy")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("64", BadFile),
        (64.0, BadFile),
        (True, BadFile),
        (None, BadFile),
        ([64], BadFile),
        (0, BadQuantity),
        (-3, BadQuantity),
        (10**7 + 1, BadQuantity),
        (10**400, BadQuantity),
        pytest.param(10**5000, BadQuantity, id="too long to print"),
    ],
)
def test_an_integer_is_a_whole_number_in_range(value: object, error: type[PenjingError]) -> None:
    with pytest.raises(error, match=r"config of Toy: size .*\bis\b"):
        _of(size=value).integer("size")


@pytest.mark.parametrize("value", [0, -1.5, math.nan, math.inf, 1e13, 10**400])
def test_a_number_is_finite_and_positive(value: float) -> None:
    with pytest.raises(BadQuantity, match="factor"):
        _of(factor=value).number("factor")


def test_a_number_may_be_written_whole() -> None:
    assert _of(theta=10000).number("theta") == 10000.0


def test_null_is_missing_and_takes_the_default() -> None:
    config = _of(size=None)
    assert config.integer("size", 7) == 7
    assert not config.has("size")
    assert config.number_or_none("size") is None


def test_where_null_means_something_the_key_has_to_be_there() -> None:
    assert _of(rank=None).integer_or_null("rank") is None
    with pytest.raises(BadFile, match="rank is missing"):
        _of().integer_or_null("rank")


@pytest.mark.parametrize(
    "read",
    [
        lambda c: c.flag("key"),
        lambda c: c.text("key"),
        lambda c: c.strings("key"),
        lambda c: c.integers("key"),
        lambda c: c.section("key"),
        lambda c: c.number("key"),
    ],
)
@pytest.mark.parametrize("value", [[1, "a"], {1: 2}, {"a": 10**5000} | {2: 3}])
def test_wrong_types_are_named(read: Callable[[ConfigJson], Any], value: object) -> None:
    with pytest.raises(BadFile, match="config of Toy: key is a"):
        read(_of(key=value))


def test_a_choice_offers_what_it_knows() -> None:
    with pytest.raises(UnknownName, match="hidden_act of Toy 'gelu'; known: silu"):
        _of(hidden_act="gelu").choice("hidden_act", {"silu": 1})


def test_two_spellings_have_to_agree() -> None:
    assert _of(a=3, b=3).spelling("a", "b") == "a"
    assert _of(b=3).spelling("a", "b") == "b"
    assert _of().spelling("a", "b") == "a"
    with pytest.raises(Contradiction, match="a is 3 but b"):
        _of(a=3, b=4).spelling("a", "b")


def test_expect_holds_only_for_what_is_given() -> None:
    _of().expect("limit", 7.0, "it is always")
    _of(limit=7.0).expect("limit", 7.0, "it is always")
    with pytest.raises(Contradiction, match=r"limit is 6.0, but it is always 7.0"):
        _of(limit=6.0).expect("limit", 7.0, "it is always")


def test_an_inner_config_borrows_the_keys_it_shares() -> None:
    inner = _of(text={"size": 3}, tied=True, other=1).inner("text", "tied", "absent")
    assert (inner.integer("size"), inner.flag("tied"), inner.has("other")) == (3, True, False)
    with pytest.raises(BadFile, match="text is missing"):
        _of().inner("text")


def test_a_key_that_nobody_read_is_refused_with_the_nearest() -> None:
    config = _of(sliding_window=4096, sliding_windows=1)
    config.integer("sliding_window")
    with pytest.raises(UnknownName, match=r"'sliding_windows'; nearest: sliding_window; its value"):
        config.refuse_unread("toy")


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", [], {}, 1.0])
def test_a_key_that_says_nothing_is_not(value: object) -> None:
    _of(new_feature=value).refuse_unread("toy")


@pytest.mark.parametrize("value", [True, 1, 0.5, "yes", [0], {"a": 0}])
def test_a_key_that_says_something_is(value: object) -> None:
    with pytest.raises(UnknownName, match="new_feature"):
        _of(new_feature=value).refuse_unread("toy")
