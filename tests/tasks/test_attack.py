import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from penjing.errors import BadQuantity
from penjing.tasks.answer import final_answer
from penjing.tasks.attack import COLUMNS, AttackReport, attack, honest_response
from penjing.tasks.attack_responses import all_attacks
from penjing.tasks.attack_text import is_right
from penjing.tasks.choice import choice
from penjing.tasks.countdown import countdown
from penjing.tasks.humaneval import humaneval
from penjing.tasks.instruction import instruction
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.programs import programs
from penjing.tasks.reasoning_gym_tasks import reasoning_gym
from penjing.tasks.source import FileSource
from penjing.tasks.task import Judge, Task
from penjing.tasks.template import AnswerFormat, Style, Template

PROBLEMS = [
    Problem(id="a", prompt="What is 6 * 7?", reference="42", split=Split.TRAIN),
    Problem(id="b", prompt="Spell 'yes' backward.", reference="sey", split=Split.TRAIN),
]
QUICK = [one for one in all_attacks() if one.group not in ("10 MB", "parsing")]


def judged_by(judge: Judge) -> Task:
    template = Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED)
    return Task(name="mine", source=FileSource(PROBLEMS), judge=judge, template=template)


def verdict(is_correct: bool) -> Grade:
    return Grade(verdict=Verdict.CORRECT if is_correct else Verdict.WRONG, reason="said so")


def strict(problem: Problem, text: str) -> Grade:
    found = final_answer(text, AnswerFormat.BOXED)
    return found if isinstance(found, Grade) else verdict(is_right(found, problem))


def substring(problem: Problem, text: str) -> Grade:
    return verdict(problem.reference in text)


def last_number(problem: Problem, text: str) -> Grade:
    numbers = re.findall(r"-?\d+", text)
    return verdict(bool(numbers) and numbers[-1] == problem.reference)


def echo(problem: Problem, text: str) -> Grade:
    return verdict(problem.reference in text or problem.prompt in text)


def evaluating(problem: Problem, text: str) -> Grade:
    found = re.findall(r"\\boxed\{([-0-9+/ ()]{1,40})\}", text)
    try:
        return verdict(bool(found) and eval(found[-1]) == int(problem.reference))
    except (ValueError, SyntaxError, ArithmeticError, TypeError):
        return verdict(False)


def names(report: AttackReport) -> set[str]:
    return {trial.attack for trial in report.false_rewards}


def test_a_strict_judge_stands() -> None:
    report = attack(judged_by(strict), PROBLEMS)
    assert report.is_clean, report.summary()
    assert report.num_attacks > 300
    assert len(report.controls) == len(PROBLEMS)
    assert len(report.trials) + report.num_skipped == len(PROBLEMS) * len(all_attacks())


@pytest.mark.parametrize(
    ("judge", "caught"),
    [
        (substring, "first right, then wrong"),
        (last_number, "or, the wrong first"),
        (echo, "the question as the answer"),
        (evaluating, "a slash not carried out"),
    ],
)
def test_a_judge_that_can_be_fooled_is_caught(judge: Judge, caught: str) -> None:
    report = attack(judged_by(judge), PROBLEMS[:1], attacks=QUICK)
    assert caught in names(report)
    assert not report.is_clean


def test_a_judge_that_raises_or_exits_is_a_fault() -> None:
    def raising(problem: Problem, text: str) -> Grade:
        return verdict(int(text.strip()) == 42)

    def leaving(problem: Problem, text: str) -> Grade:
        raise SystemExit(0)

    for judge in (raising, leaving):
        report = attack(judged_by(judge), PROBLEMS[:1], attacks=QUICK[:5])
        assert len(report.faults) == 6
        assert not report.is_clean


def test_a_judge_that_refuses_an_honest_answer_is_told_of() -> None:
    report = attack(judged_by(lambda problem, text: verdict(False)), PROBLEMS, attacks=QUICK[:3])
    assert [trial.problem for trial in report.refused_controls] == ["a", "b"]
    assert not report.is_clean


def test_slow_and_endless_judges() -> None:
    def slow(problem: Problem, text: str) -> Grade:
        time.sleep(0.03)
        return strict(problem, text)

    report = attack(judged_by(slow), PROBLEMS[:1], attacks=QUICK[:3], slow_s=0.01)
    assert len(report.slow) == 4

    def hanging(problem: Problem, text: str) -> Grade:
        time.sleep(30)
        return verdict(False)

    endless = attack(judged_by(hanging), PROBLEMS, attacks=QUICK[:9], give_up_s=0.05)
    assert endless.stopped == "3 gradings did not end within 0.05 s"
    assert {trial.grade.reason for trial in endless.faults} == {"no grade within 0.05 s"}


def test_a_judge_runs_off_the_main_thread() -> None:
    import signal

    def alarmed(problem: Problem, text: str) -> Grade:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # as math libraries do for their limits
        return strict(problem, text)

    assert attack(judged_by(alarmed), PROBLEMS[:1], attacks=QUICK[:2]).faults


def test_the_report_is_plain_and_counts_once() -> None:
    report = attack(judged_by(substring), PROBLEMS, attacks=QUICK)
    document = json.loads(json.dumps(report.summary()))
    assert document["tried"] == len(report.trials)
    assert document["is_clean"] is False
    assert len(document["false_rewards"]) == len(report.false_rewards) > 10
    rows = report.rows()
    assert all(len(row) == len(COLUMNS) + 1 for row in rows)
    assert rows[-1][0] == "all attacks"
    assert sum(int(row[2]) for row in rows[1:-1]) == int(rows[-1][2]) == len(report.trials)


def test_no_problems_are_refused_and_progress_is_told() -> None:
    with pytest.raises(BadQuantity, match="no problems to attack mine with; give at least 1"):
        attack(judged_by(strict), [])
    told: list[tuple[int, int]] = []
    attack(
        judged_by(strict),
        PROBLEMS,
        attacks=[],
        progress=lambda done, all_: told.append((done, all_)),
    )
    assert told == [(1, 2), (2, 2)]


def test_an_honest_response_thinks_and_answers() -> None:
    found = honest_response(PROBLEMS[0], judged_by(strict))
    assert found == "<think>\nI have worked it out.\n</think>\n\\boxed{42}"
    nothing = Problem(id="c", prompt="?", reference=" ", split=Split.TRAIN)
    assert honest_response(nothing, judged_by(strict)) is None


HUMANEVAL = {
    "task_id": "HumanEval/53",
    "prompt": "\n\ndef add(x: int, y: int):\n"
    '    """Add two numbers x and y\n    >>> add(2, 3)\n    5\n    """\n',
    "entry_point": "add",
    "canonical_solution": "    return x + y\n",
    "test": "def check(candidate):\n    assert candidate(0, 1) == 1\n"
    "    assert candidate(2, 3) == 5\n",
}


def rows_in(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def clean(task: Task, problems: Sequence[Problem], groups: Sequence[str] = ()) -> None:
    chosen = [one for one in all_attacks() if not groups or one.group in groups]
    report = attack(task, problems, attacks=chosen)
    assert report.is_clean, report.summary()
    assert report.num_attacks >= 60


@pytest.mark.parametrize(
    "family",
    [
        *("chain_sum", "products", "calendar_arithmetic", "polynomial_equations", "gsm_symbolic"),
        *("rectangle_count", "game_of_life_halting", "prime_factorization", "spell_backward"),
        *("mini_sudoku", "knights_knaves", "maze", "number_sorting", "fraction_simplification"),
    ],
)
def test_families_of_reasoning_gym_stand(family: str) -> None:
    task = reasoning_gym(family)
    clean(task, task.problems(Split.HELD_OUT, seed=5, size=1))


def test_countdown_and_instructions_stand() -> None:
    for task in (countdown(), instruction()):
        clean(task, task.problems(Split.HELD_OUT, seed=5, size=2))


def test_multiple_choice_stands(tmp_path: Path) -> None:
    rows = [
        {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1},
        {"question": "A prime?", "choices": ["4", "6", "7", "8"], "answer": "C"},
    ]
    task = choice(rows_in(tmp_path / "choice.jsonl", *rows))
    clean(task, task.problems(None))


@pytest.mark.slow
def test_code_stands(tmp_path: Path) -> None:
    """Each grading takes sandboxes, and a program may compute until its limit: some groups only."""
    groups = ("nothing", "orders", "thinking", "several", "echo", "programs")
    function = humaneval(rows_in(tmp_path / "h.jsonl", HUMANEVAL))
    clean(function, function.problems(None), groups)
    test = {"question": "Double it.", "tests": {"inputs": ["1\n", "4\n"], "outputs": ["2", "8"]}}
    program = programs(rows_in(tmp_path / "p.jsonl", test))
    clean(program, program.problems(None), groups)
