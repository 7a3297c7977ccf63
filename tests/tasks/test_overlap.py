"""What shares text with a benchmark is found, however it is dressed; nothing else is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.tasks.overlap import (
    MAX_PROBLEMS,
    WORDS,
    overlaps,
    runs,
    split_words,
    split_words_and_signs,
)
from penjing.tasks.problem import Problem, Split

LONG = "A train leaves at noon and goes sixty miles an hour for three hours. How far is it then?"
CHINESE = "小明有十二个苹果，他给了小红三个，又从市场买了五个，请问他现在一共有多少个苹果？"  # noqa: RUF001


def problems(*prompts: str) -> list[Problem]:
    return [
        Problem(id=str(place), prompt=prompt, reference="", split=Split.TRAIN)
        for place, prompt in enumerate(prompts)
    ]


def has_overlap(ours: str, theirs: str, words: int = WORDS) -> bool:
    return bool(overlaps(problems(ours), problems(theirs), words))


@pytest.mark.parametrize(
    "dressed",
    [
        LONG,
        LONG.upper(),
        LONG.replace(" ", "  \n").replace(".", "!"),
        f"Solve. {LONG} Thanks.",
        LONG.replace("A train", "One train").replace("then?", "now?"),
        "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in LONG),  # full width
    ],
)
def test_a_question_is_found_in_any_dress(dressed: str) -> None:
    (found,) = overlaps(problems("Something else.", dressed), problems("Other.", LONG))
    assert (found.problem.id, found.benchmark.id) == ("1", "1")
    assert len(found.text.split()) == 13


def test_a_run_must_be_whole() -> None:
    half = " ".join(LONG.split()[:12]) + " and nothing more of that"
    assert not has_overlap(half, LONG)
    assert has_overlap(half, LONG, words=12)


def test_the_text_is_the_first_run_that_both_have() -> None:
    (found,) = overlaps(problems(f"Well: {LONG}"), problems(LONG), words=4)
    assert found.text == "a train leaves at"


def test_chinese_is_counted_by_characters() -> None:
    assert split_words("他有3个，abc") == ["他", "有", "3", "个", "abc"]  # noqa: RUF001
    assert has_overlap(f"题目 {CHINESE.replace('五', '六')}", CHINESE)
    assert not has_overlap("小红有十二个梨，她吃了三个，还剩下几个？", CHINESE)  # noqa: RUF001


@pytest.mark.parametrize(
    ("ours", "theirs", "is_found"),
    [
        ("What is 2+3?", "what is 2 + 3", True),
        ("2 + 3 = ?", "2+3=", True),
        ("Reason step by step. What is 2+3? Box the answer.", "What is 2+3?", True),
        ("What is 2+3?", "Reason step by step. What is 2+3? Box the answer.", True),
        ("What is 2*3?", "What is 2+3?", False),
        ("What is 2*3?", "What is 2/3?", False),
        ("What is 2 × 3?", "What is 2 ÷ 3?", False),  # noqa: RUF001
        ("What is 2+3?", "What is 2+30?", False),
        ("What is -2?", "What is 2?", False),
        ("A well-known fact?", "A well known fact.", True),
        ("What is 2+3 and more?", "What is 2+3 or less?", False),
        ("?!", "...", False),
    ],
)
def test_short_questions_overlap_as_a_whole(ours: str, theirs: str, is_found: bool) -> None:
    assert has_overlap(ours, theirs) is is_found


def test_every_copy_of_a_short_question_is_found() -> None:
    found = overlaps(problems("Why 7?", "x", "why 7"), problems("Say: why 7 then", LONG))
    assert [(o.problem.id, o.benchmark.id, o.text) for o in found] == [
        ("0", "0", "why 7"),
        ("2", "0", "why 7"),
    ]


def asked(*what: str) -> list[Problem]:
    how = "Give the letter of the right choice, and nothing else, as the final answer to me."
    return problems(*(f"{one}\n{how}" for one in what))


@pytest.mark.parametrize("count", [2, 3, MAX_PROBLEMS + 1, 30])
def test_how_a_benchmark_asks_is_no_overlap(count: int) -> None:
    benchmark = asked(*(f"Question {n}?" for n in range(count)))
    assert overlaps(asked("Something else?"), benchmark) == []
    (found,) = overlaps(asked("Something else?", "Question 1?"), benchmark)
    assert (found.problem.id, found.benchmark.id) == ("1", "1")


def test_what_some_problems_share_is_no_phrase() -> None:
    benchmark = problems(*(f"{LONG} {n}" for n in range(MAX_PROBLEMS)), "Other.")
    assert overlaps(problems(f"So: {LONG}"), benchmark)
    assert not overlaps(problems(f"So: {LONG}"), [*benchmark, *problems(f"{LONG} more")])


def test_one_question_in_two_dresses_is_no_phrase() -> None:
    assert overlaps(problems(f"So: {LONG}"), problems(LONG, LONG.upper(), LONG + "!"))


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.integers(1, 6))
def test_runs(letters: list[str], size: int) -> None:
    found = list(runs(letters, size))
    assert len(found) == max(len(letters) - size + 1, 0)
    assert all(len(run) == size for run in found)


@given(st.text("aß2二+-_. é", max_size=20))
def test_signs_are_all_that_is_added_to_words(text: str) -> None:
    with_signs = split_words_and_signs(text)
    assert [part for part in with_signs if part[0].isalnum()] == split_words(text)


@given(st.lists(st.text("ab+ ", min_size=1, max_size=12), max_size=5), st.integers(1, 4))
def test_everything_overlaps_with_itself(texts: list[str], words: int) -> None:
    own = problems(*texts)
    assert len(overlaps(own, own, words)) == sum(bool(split_words(text)) for text in texts)


@given(
    st.lists(st.text("ab ", max_size=14), min_size=1, max_size=4),
    st.text("ab ", max_size=14),
    st.integers(1, 4),
)
def test_an_overlap_is_in_both(theirs: list[str], ours: str, words: int) -> None:
    for found in overlaps(problems(ours), problems(*theirs), words):
        for text in (found.problem.prompt, found.benchmark.prompt):
            assert f" {found.text} " in f" {' '.join(split_words(text))} "


def test_short_problems_take_no_longer_than_long_ones() -> None:
    short = problems(*(f"Compute {n} plus {n}" for n in range(2_000)))
    benchmark = problems(*(f"{LONG} {n}" for n in range(1_000)))
    begun = time.process_time()
    assert overlaps(short, benchmark) == []
    assert time.process_time() - begun < 5  # it would be far more if each met each


def test_a_run_has_a_word() -> None:
    with pytest.raises(BadQuantity, match="runs of 0 words"):
        overlaps([], [], 0)
