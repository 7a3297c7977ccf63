"""Text as tokens: what is one sign in another writing, and what is none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.math_tokens import Kind, tokens
from penjing.tasks.math_tree import NotAValue


def seen(text: str) -> list[tuple[str, str]]:
    found = tokens(text)
    assert found[-1].kind is Kind.END
    return [(str(token.kind), token.text) for token in found[:-1]]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1,234", "1234"),
        (r"1{,}234", "1234"),
        (r"1\,234", "1234"),
        (r"1,\!234", "1234"),
        (r"\dfrac12", r"\frac12"),
        ("2×3", r"2\times 3"),  # noqa: RUF001, the sign that is meant
        ("−5", "-5"),  # noqa: RUF001, as above
        (r"\left( 1 \right)", "(1)"),
        (r"x \leq 5", r"x \le 5"),
        (r"5\text{ }", "5"),
        (r"\text{18}", "18"),
        (r"\text{B}", "B"),
        ("5.", "5"),
        ("sqrt(2)", r"\sqrt(2)"),
        ("√2", r"\sqrt 2"),
    ],
)
def test_two_writings_of_one_thing(text: str, same: str) -> None:
    assert seen(text) == seen(same)


def test_commas_set_digits_apart_only_outside_of_brackets() -> None:
    assert seen("(1,234)") == [
        ("sign", "("),
        ("number", "1"),
        ("sign", ","),
        ("number", "234"),
        ("sign", ")"),
    ]
    assert seen("1,23") == [("number", "1"), ("sign", ","), ("number", "23")]


@pytest.mark.parametrize("text", ["１８", "x²", "½", "а", "18\u200b", "١٨"])  # noqa: RUF001
def test_what_only_looks_like_a_sign_is_none(text: str) -> None:
    with pytest.raises(NotAValue, match=r"U\+[0-9A-F]{4} is no sign of mathematics"):
        tokens(text)


@given(st.text(max_size=60))
def test_any_text_is_tokens_or_refused(text: str) -> None:
    with suppress(NotAValue):
        assert tokens(text)[-1].kind is Kind.END
