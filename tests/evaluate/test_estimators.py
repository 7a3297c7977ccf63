from collections.abc import Mapping
from itertools import combinations, permutations
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import Contradiction
from penjing.evaluate.estimators import (
    consensus,
    grades_by_problem,
    has_votes,
    pass_at_k,
    sizes,
)
from penjing.evaluate.sample import Sample
from penjing.tasks.problem import Grade, Verdict

GRADES = {
    "c": Grade(verdict=Verdict.CORRECT, reason="it is equal", answer="1"),
    "w": Grade(verdict=Verdict.WRONG, reason="it is not equal", answer="0"),
    "v": Grade(verdict=Verdict.WRONG, reason="it is not equal", answer="-1"),
    "u": Grade(verdict=Verdict.UNGRADABLE, reason="there are no boxes"),
    "f": Grade(verdict=Verdict.UNGRADABLE, reason="the judge failed", is_fault=True),
}


def grades(letters: str) -> list[Grade]:
    return [GRADES[letter] for letter in letters]


def run(problems: Mapping[str, str]) -> list[Sample]:
    """One sample a letter of ``GRADES``, with some tokens and seconds."""
    return [
        Sample(
            problem=problem,
            index=index,
            seed=index,
            response="",
            finish_reason="stop",
            num_prompt_tokens=10,
            num_tokens=100 + index,
            num_thinking_tokens=None,
            wall_s=0.5,
            grade=grade,
        )
        for problem, letters in problems.items()
        for index, grade in enumerate(grades(letters))
    ]


@given(st.text("cwu", min_size=1, max_size=8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_one(
    letters: str, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(letters)))
    subsets = list(combinations(letters, k))
    assert pass_at_k(grades(letters), k) == sum("c" in s for s in subsets) / len(subsets)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(200, 3, 100), (200, 150, 10), (1024, 1, 512), (9, 9, 1)]
)
def test_pass_at_k_is_the_product_of_the_paper(n: int, c: int, k: int) -> None:
    # arXiv 2107.03374, figure 3: 1 - prod(1 - k / i) for i from n - c + 1 to n, where n - c >= k
    expected = 1 - prod(1 - k / i for i in range(n - c + 1, n + 1)) if n - c >= k else 1.0
    assert pass_at_k(grades("c" * c + "w" * (n - c)), k) == pytest.approx(expected, rel=1e-12)


@given(st.text("cwu", min_size=1, max_size=70))
def test_more_tries_never_pass_less(letters: str) -> None:
    values = [pass_at_k(grades(letters), k) for k in range(1, len(letters) + 1)]
    assert values == sorted(values)
    assert values[0] == letters.count("c") / len(letters)
    assert values[-1] == ("c" in letters)


def test_sizes_are_powers_of_two_and_the_most_there_are() -> None:
    assert sizes(0) == []
    assert sizes(1) == [1]
    assert sizes(6) == [1, 2, 4, 6]
    assert sizes(64) == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ccw", 1),
        ("cww", 0),
        ("cwv", 1 / 3),
        ("cw", 1 / 2),
        ("ccwwv", 1 / 2),
        ("cuuu", 1),  # who does not answer does not vote
        ("uuu", 0),
        ("c", 1),
        ("w", 0),
    ],
)
def test_the_answer_given_most_often_counts(letters: str, expected: float) -> None:
    assert consensus(grades(letters)) == expected


@given(st.text("cwvu", min_size=1, max_size=6))
def test_a_tie_is_a_fair_draw(letters: str) -> None:
    orders = list(permutations(letters.replace("u", "")))
    winners = [max(order, key=order.count) for order in orders if order]  # the first of the tied
    expected = winners.count("c") / len(winners) if winners else 0
    assert consensus(grades(letters)) == pytest.approx(expected, abs=1e-12)


def test_answers_are_compared_as_text() -> None:
    right = [Grade(verdict=Verdict.CORRECT, reason="", answer=a) for a in ("$1,2$", "1, 2", "1,2.")]
    assert consensus([*right, *grades("ww")]) == 1
    assert consensus([right[0], *grades("w"), GRADES["w"]]) == 0


def test_empty_answers_do_not_vote() -> None:
    empty = [Grade(verdict=Verdict.WRONG, reason="", answer=a) for a in ("", " ", "$$")]
    assert consensus([*empty, *grades("c")]) == 1


def test_an_answer_graded_both_ways_counts_by_its_share() -> None:
    late = Grade(verdict=Verdict.UNGRADABLE, reason="it took too long", answer="1")
    assert consensus([*grades("ccc"), late, *grades("ww")]) == 3 / 4


def test_votes_need_judges_that_say_what_was_correct() -> None:
    silent = Grade(verdict=Verdict.CORRECT, reason="it is right")
    assert has_votes(grades("cwu"))
    assert not has_votes([*grades("cwu"), silent])


def test_faults_are_left_out_and_problems_kept() -> None:
    samples = run({"b": "cfw", "a": "ff"})
    assert list(grades_by_problem(samples).items()) == [("a", []), ("b", grades("cw"))]
    assert grades_by_problem(samples[::-1]) == grades_by_problem(samples)


def test_a_sample_that_is_there_twice_is_named() -> None:
    samples = run({"a": "cw", "b": "c"})
    with pytest.raises(Contradiction, match="sample 1 of problem 'a' is there twice"):
        grades_by_problem([*samples, samples[1]])
