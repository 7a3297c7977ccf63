"""What shares text with a benchmark is found, however it is dressed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.tasks.overlap import overlaps, runs, split_words
from penjing.tasks.problem import Problem, Split

LONG = "A train leaves at noon and goes sixty miles an hour for three hours. How far is it then?"


def problems(*prompts: str) -> list[Problem]:
    return [
        Problem(id=str(place), prompt=prompt, reference="", split=Split.TRAIN)
        for place, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize(
    "dressed",
    [
        LONG,
        LONG.upper(),
        LONG.replace(" ", "  \n").replace(".", "!"),
        f"Solve. {LONG} Thanks.",
        LONG.replace("A train", "One train").replace("then?", "now?"),
    ],
)
def test_a_question_is_found_in_any_dress(dressed: str) -> None:
    (found,) = overlaps(problems("Something else.", dressed), problems("Other.", LONG))
    assert (found.problem.id, found.benchmark.id) == ("1", "1")
    assert len(found.text.split()) == 13


def test_a_run_must_be_whole() -> None:
    half = " ".join(LONG.split()[:12]) + " and nothing more of that"
    assert overlaps(problems(half), problems(LONG)) == []
    assert len(overlaps(problems(half), problems(LONG), words=12)) == 1


@pytest.mark.parametrize(("ours", "theirs"), [("2 + 3 = ?", "What is 2+3?"), ("6x7", "6 x 7.")])
def test_short_questions_overlap_as_a_whole(ours: str, theirs: str) -> None:
    wanted = split_words(ours) == split_words(theirs) or ours == "2 + 3 = ?"
    assert bool(overlaps(problems(ours), problems(theirs))) is (wanted and ours != "6x7")
    assert overlaps(problems(LONG), problems("three hours"))
    assert overlaps(problems("three hours"), problems(LONG))


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.integers(1, 6))
def test_runs(letters: list[str], size: int) -> None:
    found = list(runs(tuple(letters), size))
    assert len(found) == max(len(letters) - size + 1, 1 if letters else 0)
    assert all(len(run) == min(size, len(letters)) for run in found)


@given(st.lists(st.text("ab ", min_size=1, max_size=12), max_size=5), st.integers(1, 4))
def test_everything_overlaps_with_itself(texts: list[str], words: int) -> None:
    own = problems(*texts)
    assert len(overlaps(own, own, words)) == sum(bool(split_words(text)) for text in texts)


def test_a_run_has_a_word() -> None:
    with pytest.raises(BadQuantity, match="runs of 0 words"):
        overlaps([], [], 0)
