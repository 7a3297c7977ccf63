"""Questions made up here: no benchmark's text is shipped."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile
from penjing.tasks.choice import choice, judge
from penjing.tasks.problem import Problem, Split, Verdict

CORRECT, WRONG, UNGRADABLE = Verdict.CORRECT, Verdict.WRONG, Verdict.UNGRADABLE

Writer = Callable[..., Path]

GPQA = {
    "Question": "What is 6 times 7?",
    "Correct Answer": "42",
    "Incorrect Answer 1": "13",
    "Incorrect Answer 2": "67",
    "Incorrect Answer 3": "41 ",
    "Explanation": "Count.",
}
TEXTS = ["13", "42", "67", "41"]


@pytest.fixture
def written(tmp_path: Path) -> Writer:
    def write(*rows: object, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return path

    return write


def only(data: Path) -> Problem:
    (problem,) = choice(data).problems(None)
    return problem


def test_a_question_as_it_is_asked(written: Writer) -> None:
    problem = only(written(GPQA))
    question, empty, *lines, end, asked = problem.prompt.split("\n")
    assert (question, empty, end) == ("What is 6 times 7?", "", "")
    assert asked.startswith("Give the letter")
    assert [line[:3] for line in lines] == ["A) ", "B) ", "C) ", "D) "]
    assert sorted(line[3:] for line in lines) == sorted(TEXTS)
    assert f"{problem.reference}) 42" in lines


@pytest.mark.parametrize(
    "row",
    [
        {"question": "What is 6 times 7?", "choices": TEXTS, "answer": 1},
        {"question": "What is 6 times 7?", "choices": TEXTS, "answer": "B"},
        {"question": "What is 6 times 7?", "choices": json.dumps(TEXTS), "answer": "1"},
        {
            "question": "What is 6 times 7?",
            "choices": {"text": TEXTS, "label": ["1", "2", "3", "4"]},
            "answerKey": "2",
        },
        {
            "question": {
                "stem": "What is 6 times 7?",
                "choices": [
                    {"text": t, "label": lab} for t, lab in zip(TEXTS, "ABCD", strict=True)
                ],
            },
            "answerKey": "B",
        },
    ],
)
def test_every_writing_gives_the_same_problem(written: Writer, row: object) -> None:
    found, wanted = only(written(row)), only(written(GPQA, name="gpqa.jsonl"))
    assert (found.id, found.prompt, found.reference) == (wanted.id, wanted.prompt, wanted.reference)


def test_the_right_letters_are_spread_evenly(written: Writer) -> None:
    """400 questions, whose right answer stands first in the file: about 100 for each letter."""
    data = written(*({**GPQA, "Question": f"Question {i}?"} for i in range(400)))
    problems = choice(data).problems(None)
    counts = Counter(p.reference for p in problems)
    assert counts.keys() == set("ABCD")
    assert min(counts.values()) > 70
    assert max(counts.values()) < 130


def test_the_order_hangs_on_the_question_alone(written: Writer) -> None:
    others = [{**GPQA, "Question": f"Question {i}?"} for i in range(5)]
    first = {p.prompt for p in choice(written(*others, GPQA)).problems(None)}
    assert only(written(GPQA, name="alone.jsonl")).prompt in first


@pytest.mark.parametrize("last", ["All of the above", "None of these above.", "none of the above"])
def test_what_speaks_of_the_above_stays_below(written: Writer, last: str) -> None:
    for i in range(10):
        row = {**GPQA, "Question": f"Question {i}?", "Correct Answer": last}
        assert only(written(row)).reference == "D"


def test_choices_that_name_letters_stay(written: Writer) -> None:
    texts = ["one", "two", "A and B", "neither A nor B"]
    for i in range(10):
        row = {"question": f"Question {i}?", "choices": texts, "answer": i % 4}
        assert only(written(row)).reference == "ABCD"[i % 4]


@pytest.mark.parametrize(
    ("box", "verdict", "reason"),
    [
        ("B", CORRECT, "B is right"),
        ("b", CORRECT, ""),
        (" (B) ", CORRECT, ""),
        ("B)", CORRECT, ""),
        ("B.", CORRECT, ""),
        (r"\text{B}", CORRECT, ""),
        (r"\textbf{(B)}", CORRECT, ""),
        ("$B$", CORRECT, ""),
        ("A", WRONG, "A is not the right choice"),
        ("F", WRONG, "there is no choice F"),
        ("A, B", WRONG, "it is not one letter"),
        ("A or B", WRONG, "it is not one letter"),
        ("AB", WRONG, "it is not one letter"),
        ("ABCD", WRONG, "it is not one letter"),
        ("B) 42", WRONG, "it is not one letter"),
        ("42", WRONG, "it is not one letter"),
        ("not B", WRONG, "it is not one letter"),
        (r"\text{A} \text{B}", WRONG, "it is not one letter"),
        ("\N{GREEK CAPITAL LETTER BETA}", WRONG, "it is not one letter"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER B}", WRONG, "it is not one letter"),
        ("", UNGRADABLE, ""),
    ],
)
def test_answers(box: str, verdict: Verdict, reason: str) -> None:
    problem = Problem(
        id="1", prompt="?", reference="B", split=Split.TRAIN, metadata={"num_choices": 4}
    )
    grade = judge(problem, rf"So it is \boxed{{{box}}}.")
    assert grade.verdict is verdict, grade.reason
    assert reason in grade.reason


@given(st.text(max_size=30))
def test_no_other_text_is_right(text: str) -> None:
    problem = Problem(
        id="1", prompt="?", reference="B", split=Split.TRAIN, metadata={"num_choices": 4}
    )
    if text.strip(" ().$:\t\n").lower() != "b":
        assert not judge(problem, rf"\boxed{{{text} x}}").is_correct
    assert not judge(problem, text).is_correct


def test_several_boxes_and_thinking(written: Writer) -> None:
    data = written(GPQA)
    task, problem = choice(data), only(data)
    right = rf"\boxed{{{problem.reference}}}"
    other = next(c for c in "ABCD" if c != problem.reference)
    assert task.grade(problem, f"<think>{right}</think> it is {right}").is_correct
    assert task.grade(problem, f"<think>{right}</think> hm").verdict is UNGRADABLE
    assert task.grade(problem, rf"{right} or \boxed{{{other}}}").verdict is WRONG
    assert task.grade(problem, problem.prompt).verdict is UNGRADABLE
    assert r"\boxed{}" in str(task.prompt(problem))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"Correct Answer": "1", "Incorrect Answer 1": "2"}, "there is no question"),
        ({"question": " ", "choices": TEXTS, "answer": 1}, "there is no question"),
        ({"question": "?", "answer": 1}, "it has 0 choices"),
        ({"question": "?", "choices": ["1"], "answer": 0}, "it has 1 choices"),
        ({"question": "?", "choices": "1, 2", "answer": 0}, "it has 0 choices"),
        ({"question": "?", "choices": ["1", ""], "answer": 0}, "it has 2 choices, 1 of them not"),
        ({"question": "?", "choices": ["x"] * 27, "answer": 0}, "it has 27 choices"),
        ({"question": "?", "choices": ["Yes", "yes "], "answer": 0}, "a choice is there twice"),
        ({"question": "?", "choices": TEXTS, "answer": 4}, "answer names no choice"),
        ({"question": "?", "choices": TEXTS, "answer": "E"}, "answer names no choice"),
        ({"question": "?", "choices": TEXTS, "answer": True}, "answer names no choice"),
        ({"question": "?", "choices": TEXTS}, "answer names no choice"),
    ],
)
def test_bad_rows(written: Writer, row: object, said: str) -> None:
    with pytest.raises(BadFile, match=rf"data\.jsonl, row 2: {said}"):
        choice(written(GPQA, row))


def test_a_question_twice(written: Writer) -> None:
    with pytest.raises(BadFile, match="id must belong to one problem"):
        choice(written(GPQA, {**GPQA, "Question": "what is 6  times 7?"}))
