"""Each kind: a text that keeps it, and one that nearly does."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.constraints import (
    KINDS,
    Constraint,
    constraint,
    count_sentences,
    overlap,
    paragraphs,
    words,
)

AT_LEAST, LESS = "at least", "less than"

# kind, arguments, a text that keeps it, texts that do not
CASES: list[tuple[str, dict[str, object], str, list[str]]] = [
    ("keywords:existence", {"keywords": ["sun", "Moon"]}, "Sunny moon", ["sun", ""]),
    (
        "keywords:frequency",
        {"keyword": "sun", "frequency": 2, "relation": AT_LEAST},
        "sun Sun",
        ["sun"],
    ),
    (
        "keywords:frequency",
        {"keyword": "sun", "frequency": 2, "relation": LESS},
        "sun",
        ["sun Sun"],
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["sun"]}, "sunny", ["the Sun.", "sun"]),
    (
        "keywords:letter_frequency",
        {"letter": "k", "let_frequency": 2, "let_relation": AT_LEAST},
        "Kick",
        ["kite"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": AT_LEAST},
        'He said: "Go!" I went',
        ["One.", "3.14 is it"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        "a\n***\nb",
        ["a", "a***\n***b"],
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": LESS}, "a b", ["a b c"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": AT_LEAST}, "a b c", ["a b"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        'one\n\n"Then, it',
        ["one\n\nit then", "then\n\nthen\n\nthen", "then"],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        "[a] [b]",
        ["[a] []", "[["],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "bye\np. p. s. more",
        ["bye\nP.S. more", "bye P.P.S."],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        "hm\n- a\n * b",
        ["- a", "- a\n- b\n- c", "** a\n- b"],
    ),
    ("detectable_format:constrained_response", {}, "My answer is no.", ["My answer is no", "no"]),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*a b* and **c**",
        ["*a b*", "** ** * *", "****"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1\na\nPart 2\nb",
        ["Part 1 a", "Part 1 Part 2", "part 1 a part 2 b"],
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', ["{a: 1}", "1", "[" * 50_000]),
    ("detectable_format:title", {}, "<<My title>>\nhm", ["<<>>", "<My title>", "<< >>", ">> a <<"]),
    (
        "combination:two_responses",
        {},
        "a\n******\nb",
        ["a", "a******a", "a******b******c", "a******"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write. "},
        "write. Now",
        ["Write.", "Now write.", "Write! Now"],
    ),
    ("startend:end_checker", {"end_phrase": "The end."}, 'It is "the end."', ["The end. No"]),
    ("startend:start_checker", {"start_phrase": "Once"}, "once upon", ["At once"]),
    ("startend:quotation", {}, '"a"', ['"a', "a", '"']),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": AT_LEAST, "capital_frequency": 2},
        "NO, I see",
        ["No I see"],
    ),
    ("change_case:english_capital", {}, "NO 1!", ["No", "1"]),
    ("change_case:english_lowercase", {}, "no 1!", ["No", "1"]),
    ("punctuation:no_comma", {}, "a; b", ["a, b"]),
]


@pytest.mark.parametrize(("kind", "arguments", "right", "wrong"), CASES)
def test_kinds(kind: str, arguments: dict[str, object], right: str, wrong: list[str]) -> None:
    made = constraint(kind, arguments)
    assert made.holds(right)
    assert [text for text in wrong if made.holds(text)] == []


def test_every_kind_has_a_case() -> None:
    assert {case[0] for case in CASES} == KINDS.keys()
    assert len(KINDS) >= 20


@pytest.mark.parametrize(("kind", "arguments", "right", "wrong"), CASES)
def test_checks_are_linear(
    kind: str, arguments: dict[str, object], right: str, wrong: list[str]
) -> None:
    made = constraint(kind, arguments)
    begun = time.perf_counter()
    for text in ("[", "*", "<<", ".", "-\n", "\n", " ", "*a", "P.", '"', "Part 1 ", "***", "a" * 9):
        made.holds(text * (100_000 // len(text)))
    assert time.perf_counter() - begun < 2


@given(st.sampled_from(CASES), st.text())
def test_no_text_makes_one_raise(
    case: tuple[str, dict[str, object], str, list[str]], text: str
) -> None:
    kind, arguments, _, _ = case
    assert constraint(kind, arguments).holds(text) in (True, False)


def test_sentences_and_paragraphs() -> None:
    assert count_sentences("One. Two? Three! Four") == 4
    assert count_sentences("Pi is 3.14.") == 1
    assert count_sentences("(He said so.) Yes.") == 2
    assert count_sentences("") == 0
    assert paragraphs("***\na\n***\nb\n***") == ["a", "b"]
    assert paragraphs("a\n***\n***\nb") is None


def test_overlap() -> None:
    assert overlap("a b c d e", "x a b c d y") == 0.5
    assert overlap("A B C D", "a b c d") == 1
    assert overlap("a b c", "a b c") == 0
    assert words("don't stop-now") == ["don", "t", "stop", "now"]


def test_what_files_say_is_read_kindly_but_checked() -> None:
    found = constraint(
        "length_constraints:number_words", {"num_words": 3.0, "relation": LESS, "keywords": None}
    )
    assert found == Constraint(
        kind="length_constraints:number_words", arguments={"num_words": 3, "relation": LESS}
    )


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (
            "length_constraints:number_words",
            {"relation": LESS},
            "num_words None; it must be a whole",
        ),
        ("length_constraints:number_words", {"num_words": 3.5, "relation": LESS}, "num_words 3.5"),
        ("length_constraints:number_words", {"num_words": -1, "relation": LESS}, "num_words -1"),
        (
            "length_constraints:number_words",
            {"num_words": True, "relation": LESS},
            "num_words True",
        ),
        (
            "length_constraints:number_words",
            {"num_words": 3, "relation": "around"},
            "relation 'around'; it must be 'at least' or 'less than'",
        ),
        ("keywords:existence", {"keywords": "sun"}, "keywords 'sun'; it must be a list of texts"),
        ("keywords:existence", {"keywords": []}, "keywords"),
        ("keywords:existence", {"keywords": [1]}, "keywords"),
        ("startend:end_checker", {"end_phrase": " "}, "end_phrase ' '; it must be a text"),
    ],
)
def test_bad_arguments(kind: str, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        constraint(kind, arguments)
