"""Words beside a number."""

import pytest

from penjing.tasks.math_reader import read
from penjing.tasks.math_units import strange_words, units_agree


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("5 cm", "5 centimeters"),
        ("5 cm^2", "5 square centimeters"),
        (r"5 \text{ sq ft}", r"5 \text{ feet}^2"),
        ("54 mph", "54 miles per hour"),
        ("54 mi/h", "54 mph"),
        (r"\$5", "5 dollars"),
        ("90 degrees", r"90^\circ"),
        ("5", "5 cm"),
        ("5 cm", "5"),
        ("5 eggs", "5 cm"),  # eggs are no unit: whether they belong there, the question says
    ],
)
def test_units_that_agree(ours: str, theirs: str) -> None:
    assert units_agree(read(ours), read(theirs))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("5 cm", r"5 \text{ m}"),
        ("5 cm", "5 cm^2"),
        ("5 cm^3", "5 cm^2"),
        ("5 miles", "5 miles per hour"),
        ("5 cents", r"\$5"),
        ("5 cm", r"5^\circ"),
    ],
)
def test_units_that_differ(ours: str, theirs: str) -> None:
    assert not units_agree(read(ours), read(theirs))


def test_words_must_be_units_or_the_question_s() -> None:
    question = "How many eggs, or not, does each hen lay?"
    assert strange_words(read("5 eggs"), question) == []
    assert strange_words(read("5 egg"), question) == []
    assert strange_words(read("5 miles per hour"), question) == []
    assert strange_words(read("5 cakes"), question) == ["cakes"]
    assert strange_words(read("5 eggs, 6 cakes"), question) == ["cakes"]
    assert strange_words(read(r"5 \text{ eggs or other}"), "any other eggs or so") == [
        "or",
        "other",
    ]
