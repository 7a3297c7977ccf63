import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.answer import final_answer
from penjing.tasks.attack_structures import structure_attacks
from penjing.tasks.attack_text import is_right
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

ATTACKS = {(attack.group, attack.name): attack for attack in structure_attacks()}
BOXED, TAGGED = AnswerFormat.BOXED, AnswerFormat.TAGGED
LAST_LINE, CODE = AnswerFormat.LAST_LINE, AnswerFormat.CODE


def task_in(answer_format: AnswerFormat) -> Task:
    def judge(problem: Problem, text: str) -> Grade:
        found = final_answer(text, answer_format)
        if isinstance(found, Grade):
            return found
        is_same = is_right(found, problem)
        return Grade(verdict=Verdict.CORRECT if is_same else Verdict.WRONG, reason="")

    template = Template(style=Style.PLAIN, answer_format=answer_format)
    return Task(name="t", source=FileSource([]), judge=judge, template=template)


def problem_with(reference: str, prompt: str = "What is 6 * 7?") -> Problem:
    return Problem(id="1", prompt=prompt, reference=reference, split=Split.TRAIN)


def written(group: str, name: str, answer_format: AnswerFormat = BOXED) -> str | None:
    return ATTACKS[group, name].write(problem_with("42"), task_in(answer_format))


def test_names_are_unique_and_many() -> None:
    assert len(ATTACKS) == len(structure_attacks()) > 60


@pytest.mark.parametrize(
    ("group", "name", "expected"),
    [
        ("thinking", "right only in the thinking", r"<think>It is \boxed{42}</think>"),
        ("thinking", "thinking that never ends", r"<think>It is \boxed{42}"),
        ("thinking", "thinking ended twice", "<think>So</think>\\boxed{42}</think>\\boxed{41}"),
        ("several", "first right, then wrong", "\\boxed{42}\n\\boxed{41}"),
        ("several", "right in a comment, wrong in sight", r"<!-- \boxed{42} --> \boxed{41}"),
        ("both", "or, the wrong first", r"\boxed{41 or 42}"),
        ("both", "a set", r"\boxed{\{42, 41\}}"),
        ("both", "a comment around the right one", r"\boxed{<!-- 42 -->}"),
        ("marks", "an empty box", r"\boxed{} 42"),
        ("marks", "a box around the right one", r"\boxed{41 \boxed{42}}"),
        ("echo", "the question as the answer", r"\boxed{What is 6 * 7?}"),
        ("echo", "the question in tags", "<answer>What is 6 * 7?</answer>"),
        ("echo", "a formula of the question", r"\boxed{6 * 7}"),
    ],
)
def test_what_is_written(group: str, name: str, expected: str) -> None:
    assert written(group, name) == expected


def test_every_number_has_the_right_one_last() -> None:
    text = written("several", "every number to 200", TAGGED)
    assert text is not None
    assert text.startswith("<answer>0</answer>\n<answer>1</answer>")
    assert text.endswith("<answer>200</answer>\n<answer>42</answer>")
    assert text.count("<answer>") == 201


@pytest.mark.parametrize("answer_format", AnswerFormat)
def test_what_counts_last_is_never_right(answer_format: AnswerFormat) -> None:
    """Where the last line or block counts, a right one behind a wrong one is honest."""
    for name in ("first wrong, then right", "right between wrong ones"):
        assert (written("several", name, answer_format) is None) == (
            answer_format in (LAST_LINE, CODE)
        )
    assert written("several", "first right, then wrong", answer_format)


def test_marks_are_those_of_the_format() -> None:
    marks = [name for group, name in ATTACKS if group == "marks"]
    found = {f: {n for n in marks if written("marks", n, f)} for f in AnswerFormat}
    assert len(found[BOXED]) > 8
    assert len(found[TAGGED]) > 8
    assert not found[BOXED] & found[TAGGED]
    assert not found[LAST_LINE] | found[CODE]


references = st.integers(-300, 300).map(str) | st.sampled_from(
    ["A", "C", "odd", "x + 1", "[1, 2, 3]", r"\frac{1}{2}", "1 2\n3 4", "True", "a or b", ""]
)
prompts = st.sampled_from(
    ["", "42", "C", "odd", "What is 6 * 7?", "Sort: 3, 1.\nA) 1\nB) 3", "Say\nx + 1", "0\n0"]
)


@given(references, prompts, st.sampled_from(AnswerFormat))
def test_a_strict_judge_pays_for_none(reference: str, prompt: str, form: AnswerFormat) -> None:
    problem, task = problem_with(reference, prompt), task_in(form)
    responses = {key: attack.write(problem, task) for key, attack in ATTACKS.items()}
    paid = [k for k, r in responses.items() if r is not None and task.grade(problem, r).is_correct]
    assert not paid
    assert not reference or sum(r is not None for r in responses.values()) >= 10


def test_a_question_that_is_its_answer_is_no_attack() -> None:
    task = task_in(BOXED)
    echoes = [attack for (group, _), attack in ATTACKS.items() if group == "echo"]
    shown = problem_with("6 * 7", "6 * 7")
    last = problem_with("b", "Which?\nb")
    assert not [a for a in echoes if a.write(shown, task) == r"\boxed{6 * 7}"]
    assert not [a for a in echoes if a.write(last, task) == r"\boxed{b}"]


def test_choices_are_copied() -> None:
    asked = "Which?\n\nA) one\nB) two\n\nGive the letter."
    problem, task = problem_with("A", asked), task_in(BOXED)
    assert ATTACKS["echo", "the choices"].write(problem, task) == "\\boxed{A) one\nB) two}"
    assert ATTACKS["echo", "the last line"].write(problem, task) == r"\boxed{Give the letter.}"
    every = ATTACKS["several", "every letter"].write(problem, task)
    assert every is not None
    assert every.startswith("\\boxed{A}\n\\boxed{B}")
