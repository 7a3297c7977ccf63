"""Responses on the page: hostile, long, empty."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from penjing.report.answer_panes import MOST_CHARACTERS, answer_panes, response
from penjing.report.run import Run, read_run
from tests.report.conftest import sample, write_samples
from tests.report.test_markup import Seen

TAGS = st.lists(st.sampled_from(["<think>", "</think>", "<script>", "</pre>", "a", "\n", "<"]))


def test_a_question_its_answer_and_both_responses(run: Run) -> None:
    made = answer_panes(run)
    assert "What is 1 + p1?" in made
    assert "<small>right: 2</small>" in made
    assert "base \u2192 zero" in made
    assert "student_base \u2192 distilled, taught by zero" in made
    assert (
        "Of 6 problems: 3 wrong before, right after; 1 right both times; 0 right before, wrong "
        "after; 2 wrong both times."
    ) in made


def test_thinking_is_told_from_the_answer() -> None:
    made = response("a<think>b</think>c<think>d")
    assert made == (
        '<pre dir="auto">a<span class="thinking">&lt;think&gt;b&lt;/think&gt;</span>c'
        '<span class="thinking">&lt;think&gt;d</span></pre>'
    )


@given(TAGS.map("".join))
def test_nothing_in_a_response_is_markup(text: str) -> None:
    seen = Seen()
    seen.feed(response(text))
    seen.close()
    assert {tag for tag, _ in seen.tags} <= {"pre", "span"}
    assert seen.data == (text or "(nothing)")


def test_long_responses_are_cut_and_it_is_said() -> None:
    made = response("x" * (MOST_CHARACTERS + 1))
    assert made.count("x") == MOST_CHARACTERS
    assert "1 more character<" in made


def test_without_the_questions_there_are_ids(folder: Path) -> None:
    (folder / "problems.jsonl").unlink()
    made = answer_panes(read_run(folder))
    assert "The questions are left out: its task cannot be made again here" in made
    assert "<code>p1</code>" in made


def test_an_answer_that_nobody_could_grade_is_no_answer(folder: Path) -> None:
    one = sample("p0", 0, right=False)
    text = one.to_json() | {"grade": one.to_json()["grade"] | {"verdict": "ungradable"}}
    write_samples(folder / "zero", [type(one).from_json(text)])
    assert "\u2013 no answer" in answer_panes(read_run(folder))


def test_a_run_with_nothing_to_compare(folder: Path) -> None:
    for name in ("base", "student_base"):
        (folder / name / "evaluation" / "samples.jsonl").unlink()
    assert "No two stages have answered" in answer_panes(read_run(folder))
