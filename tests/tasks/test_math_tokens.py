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
        (r"\text{ (B) }", "B"),
        ("5.", "5"),
        ("sqrt(2)", r"\sqrt(2)"),
        ("√2", r"\sqrt 2"),
        ("$18$", "18"),
        ("101_{2}", "101_2"),
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


def test_a_letter_in_a_text_may_be_a_unit() -> None:
    assert seen(r"5\text{ m}") == [("number", "5"), ("text", "m")]
    assert seen("5 m") == [("number", "5"), ("word", "m")]


def test_digits_beyond_nine_are_letters_where_the_base_has_them() -> None:
    assert seen("BE_{16}") == [("base", "BE_16")]
    assert seen("A_1")[0] == ("word", "A")


def test_without_a_backslash_min_and_sec_are_units() -> None:
    assert [kind for text in ("min", r"\text{min}", r"\min", "sin") for kind, _ in seen(text)] == [
        "word",
        "text",
        "command",
        "command",
    ]


@pytest.mark.parametrize("text", ["１８", "x²", "½", "а", "18\u200b", "١٨"])  # noqa: RUF001
def test_what_only_looks_like_a_sign_is_none(text: str) -> None:
    with pytest.raises(NotAValue, match=r"U\+[0-9A-F]{4} is no sign of mathematics"):
        tokens(text)


@given(st.text(max_size=60))
def test_any_text_is_tokens_or_refused(text: str) -> None:
    with suppress(NotAValue):
        assert tokens(text)[-1].kind is Kind.END
