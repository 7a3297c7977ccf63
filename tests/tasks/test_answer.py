import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.answer import (
    MAX_ANSWER_CHARS,
    MAX_ANSWERS,
    final_answer,
    last_box,
    normalised,
    undecorated,
)
from penjing.tasks.problem import Grade, Verdict
from penjing.tasks.template import AnswerFormat

BOXED, TAGGED = AnswerFormat.BOXED, AnswerFormat.TAGGED
LAST_LINE, CODE = AnswerFormat.LAST_LINE, AnswerFormat.CODE


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        (r"so \boxed{42}.", BOXED, "42"),
        (r"\boxed {\frac{1}{2}} and again \fbox{ \frac{1}{2} }", BOXED, r"\frac{1}{2}"),
        (r"\boxed{\text{a \} b}}", BOXED, r"\text{a \} b}"),
        (r"\boxed{\boxed{7}}", BOXED, "7"),
        (r"\boxed 7", BOXED, "7"),
        (r"\boxed{} then \boxed{3}", BOXED, "3"),
        ("it is <answer> 7 </answer>", TAGGED, "7"),
        ("<answer>7</answer> <answer>$7$</answer>", TAGGED, "7"),
        ("first\nThe answer is **12**.", LAST_LINE, "12"),
        ("so\n**Answer:** $x$\n\n", LAST_LINE, "x"),
        ("#### 18", LAST_LINE, "18"),
        ("a\n```python\nx = 1\n```\nb", CODE, "x = 1\n"),
        ("```\nold\n```\n````py\n```\nnew\n````", CODE, "```\nnew\n"),
    ],
)
def test_one_answer_is_found(text: str, kind: AnswerFormat, answer: str) -> None:
    assert final_answer(text, kind) == answer


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("the answer is 42", BOXED, "there are no boxes"),
        (r"\boxed{}", BOXED, "no boxes hold anything"),
        (r"\boxed{4", BOXED, "a box never closes"),
        (r"\boxedly{4}", BOXED, "there are no boxes"),
        (r"\\boxed{4}", BOXED, "there are no boxes"),
        (r"\boxed{" + "1" * (MAX_ANSWER_CHARS + 1) + "}", BOXED, "never closes within"),
        (r"\boxed{1} " * (MAX_ANSWERS + 1), BOXED, "more than 100 boxes"),
        ("42", TAGGED, "there are no answers in tags"),
        ("<answer>4", TAGGED, "an answer tag never closes"),
        ("<answer><answer>4</answer></answer>", TAGGED, "do not pair"),
        ("4</answer>", TAGGED, "do not pair"),
        ("", LAST_LINE, "holds no answer"),
        ("The answer is:", LAST_LINE, "holds no answer"),
        ("x" * (MAX_ANSWER_CHARS + 1), LAST_LINE, "at most 2000 are read"),
        ("x = 1", CODE, "there is no fenced block"),
        ("```\n\n```", CODE, "is empty"),
        ("```\nx = 1", CODE, "never closes"),
    ],
)
def test_no_answer_is_ungradable(text: str, kind: AnswerFormat, reason: str) -> None:
    found = final_answer(text, kind)
    assert isinstance(found, Grade)
    assert found.verdict is Verdict.UNGRADABLE
    assert reason in found.reason


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (r"\boxed{1} or \boxed{2}", BOXED),
        (r"\boxed{1} \boxed{1} \fbox{2}", BOXED),
        ("<answer>1</answer><answer>2</answer>", TAGGED),
    ],
)
def test_several_that_differ_are_wrong(text: str, kind: AnswerFormat) -> None:
    found = final_answer(text, kind)
    assert isinstance(found, Grade)
    assert found.verdict is Verdict.WRONG
    assert "differ: 1 and 2" in found.reason


@pytest.mark.parametrize("kind", AnswerFormat)
@pytest.mark.parametrize(
    "piece", ["x", "{", "\\", r"\boxed{", "<answer>", "</answer>", "```\n", "**", "$", "\n", " "]
)
def test_time_grows_no_faster_than_the_text(piece: str, kind: AnswerFormat) -> None:
    def cpu_s(length: int) -> float:
        text = piece * (length // len(piece))
        began_s = time.process_time()
        final_answer(text, kind)
        return time.process_time() - began_s

    assert cpu_s(1 << 21) < 40 * cpu_s(1 << 18) + 0.1  # eight times the text


@given(st.text(alphabet=st.sampled_from("\\boxed{}fansw</>er`*$#1 \n"), max_size=60))
def test_any_text_gives_an_answer_or_a_reason(text: str) -> None:
    for kind in AnswerFormat:
        found = final_answer(text, kind)
        if isinstance(found, str):
            assert found.strip()
        else:
            assert found.verdict is not Verdict.CORRECT


@given(st.text(alphabet=st.sampled_from("12 .$*\\,{}"), max_size=12))
def test_stripping_what_sets_off_twice_is_once(text: str) -> None:
    assert undecorated(undecorated(text)) == undecorated(text)
    assert " " not in normalised(text)


def test_the_last_of_several_boxes() -> None:
    assert last_box(r"\boxed{1} and \boxed{\sqrt{2}}") == r"\sqrt{2}"
    assert last_box("none") is None
    assert last_box(r"\boxed{1} \boxed{2") is None
