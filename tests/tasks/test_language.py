import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.language import Language, language_share

EN, ZH = Language.ENGLISH, Language.CHINESE


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("First we add the two numbers, then we're done.", EN, 1.0),
        ("First we add the two numbers, then we're done.", ZH, 0.0),
        ("首先我们把两个数相加。", ZH, 1.0),
        ("首先我们把两个数相加。", EN, 0.0),
        ("so 所以", EN, 1 / 3),  # a word against two characters
        ("so 所以", ZH, 2 / 3),
        ("まず足します", Language.JAPANESE, 1.0),
        ("まず足します", ZH, 1 / 6),
        ("먼저 더합니다", Language.KOREAN, 1.0),
        ("сначала сложим", Language.RUSSIAN, 1.0),
        ("сначала we add", EN, 2 / 3),
        ("naïve Poincaré", EN, 1.0),
        ("d\u2019accord", EN, 1.0),  # the limit of telling by script
    ],
)
def test_shares(text: str, language: Language, expected: float) -> None:
    assert language_share(text, language) == pytest.approx(expected)


@pytest.mark.parametrize(
    "formula",
    [
        "x",
        "\u03b1",
        "3.14",
        "ABC",
        r"\frac{1}{2}",
        r"$\text{area} = \sin x$",
        r"$$\sum_{i} \mathrm{cost}_i$$",
        r"\(\text{area}\)",
        r"\[\begin{matrix} a \\[2pt] b \end{matrix}\]",
        "`number_of_things`",
        "```python\nwhile total < limit:\n    total += step\n```",
        "https://example.org/a/page",
    ],
)
def test_formulas_and_code_are_in_no_language(formula: str) -> None:
    assert language_share(f"所以 {formula} 是对的", ZH) == 1.0
    assert language_share(f"所以 {formula} 是对的", EN) == 0.0
    assert language_share(formula, EN) == 0.0


@pytest.mark.parametrize("text", ["", "  \n", "123 + 4 = 127", "...", "$x$", "\u200b"])
def test_a_text_without_words_earns_nothing(text: str) -> None:
    assert language_share(text, EN) == 0.0
    assert language_share(text, ZH) == 0.0


@pytest.mark.parametrize(
    "text", ["```\n我们在这里思考\n```", "$我们在这里思考$", "`我们`", r"\(我们\)", r"\text{我们}"]
)
def test_prose_of_another_script_cannot_hide_in_a_formula(text: str) -> None:
    assert language_share(f"word {text}", EN) < 1.0


def test_a_long_block_of_code_is_prose() -> None:
    hidden = "```\n" + "this is no code at all " * 300 + "\n```"
    assert language_share(f"所以{hidden}", ZH) < 0.01


def test_a_word_of_two_scripts_is_of_none() -> None:
    assert language_share("paypal", EN) == 1.0
    assert language_share("p\u0430yp\u0430l", EN) == 0.0  # Cyrillic a
    assert language_share("\uff41\uff42\uff43", EN) == 0.0  # full width


@given(st.text(), st.sampled_from(Language))
def test_a_share_is_a_share(text: str, language: Language) -> None:
    assert 0.0 <= language_share(text, language) <= 1.0


@given(st.lists(st.sampled_from(["word", "sum", "数", "слово", "$x$", "4"])))
def test_shares_of_two_scripts_never_exceed_the_whole(words: list[str]) -> None:
    text = " ".join(words)
    languages = (EN, ZH, Language.KOREAN, Language.RUSSIAN)
    assert sum(language_share(text, language) for language in languages) <= 1.0 + 1e-9


@pytest.mark.parametrize("piece", [r"\(", r"\[", "$", "`a", "```", r"\a", "http://", "x'", "''"])
def test_no_text_takes_long(piece: str) -> None:
    began = time.process_time()
    language_share(piece * (1_000_000 // len(piece)), EN)
    assert time.process_time() - began < 2.0
