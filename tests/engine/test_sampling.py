import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, Contradiction

NEEDED = ("temperature", "top_k", "top_p", "min_p", "min_tokens", "n")
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")
OPTIONAL = ("seed", "max_tokens", "logprobs", "prompt_logprobs", "thinking_budget")
NUMBERS = NEEDED + PENALTIES + OPTIONAL


def test_by_default_the_model_is_left_as_it_is() -> None:
    plain = Sampling()
    assert (plain.temperature, plain.top_k, plain.top_p, plain.min_p) == (1, 0, 1, 0)
    assert (plain.repetition_penalty, plain.presence_penalty, plain.frequency_penalty) == (1, 0, 0)
    assert (plain.n, plain.min_tokens, plain.max_tokens, plain.logit_bias) == (1, 0, None, {})
    assert hash(plain) == hash(Sampling())


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("temperature", [0, 0.6, 1e9], [-1e-9]),
        ("top_k", [0, 10**6], [-1, 2.0, 1.5]),
        ("top_p", [1e-9, 0.5, 1], [0, 1.0000001, -0.1]),
        ("min_p", [0, 0.05, 1], [1.1, -0.1]),
        ("repetition_penalty", [1e-3, 1, 2], [0, -1]),
        ("presence_penalty", [-2, 2], [-2.01, 2.01]),
        ("frequency_penalty", [-2, 2], [-2.01, 2.01]),
        ("seed", [-1, 0, 2**70], [0.5]),
        ("min_tokens", [0, 9], [-1]),
        ("max_tokens", [0, 1], [-1, 2.5]),
        ("n", [1, 64], [0, -3]),
        ("logprobs", [0, 100], [-1, 101]),
        ("prompt_logprobs", [0, 100], [-1, 101]),
        ("thinking_budget", [0, 32768], [-1]),
    ],
)
def test_each_number_has_its_range(name: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        assert getattr(Sampling(**{name: value}), name) == value
    for value in outside:
        with pytest.raises(BadQuantity) as caught:
            Sampling(**{name: value})
        message = str(caught.value)
        assert message.startswith(f"{name} is {value!r}: must be a")
        assert "; " in message
        assert "\n" not in message


def test_a_message_says_range_and_remedy() -> None:
    with pytest.raises(BadQuantity) as caught:
        Sampling(top_p=1.5)
    assert str(caught.value) == (
        "top_p is 1.5: must be a finite number above 0 and at most 1; 1 keeps every token"
    )


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", 10.0**308 * 10, [1]])
def test_what_is_no_finite_number_is_refused_everywhere(name: str, value: Any) -> None:
    with pytest.raises(BadQuantity, match=f"^{name} is "):
        Sampling(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_none_is_for_what_may_be_left_out(name: str) -> None:
    left_out: dict[str, Any] = {name: None}
    if name in OPTIONAL:
        assert getattr(Sampling(**left_out), name) is None
    else:
        with pytest.raises(BadQuantity, match=f"^{name} is None"):
            Sampling(**left_out)


def test_a_number_beyond_floats_is_no_temperature() -> None:
    with pytest.raises(BadQuantity, match="temperature is 1000"):
        Sampling(temperature=10**400)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"stop": "###"}, "stop is '###': must be a tuple"),
        ({"stop": ["###"]}, "must be a tuple"),
        ({"stop": ("a", "")}, "stop holds ''"),
        ({"stop": (3,)}, "stop holds 3"),
        ({"stop_ids": 7}, "stop_ids is 7"),
        ({"stop_ids": (-1,)}, "an id of stop_ids is -1"),
        ({"stop_ids": (1.5,)}, "an id of stop_ids is 1.5"),
        ({"thinking_close": ""}, "thinking_close holds ''"),
        ({"logit_bias": {5: -math.inf}}, "logit_bias of id 5 is -inf"),
        ({"logit_bias": {5: 100.5}}, "logit_bias of id 5 is 100.5"),
        ({"logit_bias": {"5": 1.0}}, "a key of logit_bias is '5'"),
        ({"logit_bias": {-5: 1.0}}, "a key of logit_bias is -5"),
    ],
)
def test_texts_and_ids_are_checked_one_by_one(keys: dict[str, Any], match: str) -> None:
    with pytest.raises(BadQuantity, match=match):
        Sampling(**keys)


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_least_length_fits_into_the_greatest(least: int, most: int) -> None:
    if least <= most:
        assert Sampling(min_tokens=least, max_tokens=most).max_tokens == most
        return
    with pytest.raises(Contradiction, match=f"min_tokens is {least} but max_tokens {most}"):
        Sampling(min_tokens=least, max_tokens=most)


def test_a_bias_is_kept_apart_from_the_callers() -> None:
    bias = {3: 1.0}
    sampling = Sampling(logit_bias=bias)
    bias[4] = math.inf
    assert sampling.logit_bias == {3: 1.0}
    assert hash(sampling) == hash(Sampling())  # of the rest: a mapping has none
    assert sampling != Sampling()


def test_stop_strings_need_text() -> None:
    with pytest.raises(Contradiction, match="leave detokenize on"):
        Sampling(stop=("end",), detokenize=False)


def test_what_lies_between_a_row_and_its_token() -> None:
    plain = Sampling(temperature=0.7)
    assert not any((plain.penalises, plain.cuts, plain.adjusts))
    assert Sampling(presence_penalty=0.1).penalises
    assert Sampling(min_p=0.1).cuts
    assert Sampling(logit_bias={1: 2.0}).adjusts
    assert Sampling(min_tokens=1).adjusts
