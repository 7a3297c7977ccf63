"""Every family: its reference is right, and nothing that is none gets paid, runs or hangs."""

import copy
import itertools
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from penjing.errors import RequestError, UnknownName
from penjing.tasks.problem import Problem, Split, Verdict
from penjing.tasks.reasoning_gym_families import Status, families
from penjing.tasks.reasoning_gym_tasks import MAX_ANSWER, reasoning_gym
from penjing.tasks.task import Task

pytest.importorskip("reasoning_gym")

USABLE = sorted(n for n, f in families().items() if f.status is not Status.REFUSED)
WITHOUT_REFERENCE = {"boxnet", "rush_hour"}  # solved below
NUM_PROBLEMS = 2
MAX_S = 1.0  # for one answer, on a busy machine; the slowest takes some milliseconds


@cache
def made(name: str) -> tuple[Task, tuple[Problem, ...]]:
    task = reasoning_gym(name)
    return task, tuple(task.problems(None, seed=1, size=NUM_PROBLEMS))


def tagged(answer: str) -> str:
    return f"<think>\nhm\n</think>\n<answer>{answer}</answer>"


def attacks(problem: Problem, spy: Path) -> Iterator[str]:
    """Wrong for any problem of any family."""
    write = f"open('{spy}', 'w')"
    yield from ("", " ", "answer", "None", "null", "nan", "inf", "-inf", "Infinity", "1e999999999")
    yield from ("[]", "{}", "()", "[[]]", "[{}]", "{}{}", "-", "+", ",", "/", "1/0", '""', '"x"')
    yield from (r"\frac{1}{0}", "9**9**9**9", "10**10**10", "1e400", "1_0", "0x", "\x00", "\ud7ff")
    yield from ("9" * 5_000, "A" * MAX_ANSWER, "[" * 9_000 + "]" * 9_000, '{"a":' * 3_000)
    yield from (
        "(" * 9_000,
        "A=" * 9_000,
        "a b " * 4_900,
        "1 " * 9_900,
        "R " * 9_900,
        "[0," * 6_000,
    )
    yield from (write, f"[{write}]", f"exec({write!r})", f"__import__('os').system('touch {spy}')")
    yield from ("lambda: 0", "Integral(x, x)", "True False", "yes or no", "R999999999", "U U'")
    yield from ("A+999999999", "F+1 A+1", "Move disk 9 from Peg 9 to Peg 9", '{"0": true}')
    yield from ('[{"Agent[0.5, 0.5]": "move(box_red, square[9.5, 0.5])"}]', "\N{PILE OF POO}" * 99)
    yield from (problem.prompt, problem.prompt[-200:], f"{problem.prompt} {problem.reference}")
    if problem.reference:
        yield from near(problem.reference)


def near(reference: str) -> Iterator[str]:
    """The reference, with something about it that makes it none."""
    yield from (f"{reference} junk", f"junk {reference}", f"{reference} or 7", f"{reference}%")
    yield from (f"[{reference}", f"(({reference}", f"{reference} # x", f"'{reference}'+x", "zz")
    yield from (f"{reference}, extra, words", f"answer: {reference}", f"not {reference}")
    wide = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}
    yield reference.translate(wide) if reference.isascii() else "zz"


@pytest.mark.parametrize("name", USABLE)
def test_the_reference_is_right(name: str) -> None:
    task, problems = made(name)
    assert task.name == f"reasoning_gym/{name}"
    for problem in problems:
        assert bool(problem.reference) == (name not in WITHOUT_REFERENCE)
        if problem.reference:
            grade = task.grade(problem, tagged(problem.reference))
            assert grade.is_correct, grade.reason


@pytest.mark.parametrize("name", USABLE)
def test_nothing_else_is_paid(name: str, tmp_path: Path) -> None:
    task, problems = made(name)
    spy = tmp_path / "ran"
    for problem in problems:
        for answer in attacks(problem, spy):
            begun = time.process_time()
            grade = task.grade(problem, tagged(answer))
            assert time.process_time() - begun < MAX_S, answer[:80]
            assert not grade.is_fault, grade.reason
            assert not grade.is_correct, answer[:200]
            assert "\n" not in grade.reason
    assert not spy.exists()


def test_the_answer_stands_in_tags() -> None:
    task, (problem, *_) = made("chain_sum")
    reference = problem.reference
    assert task.grade(problem, reference).verdict is Verdict.UNGRADABLE
    assert task.grade(problem, f"<think><answer>{reference}</answer>").verdict is Verdict.UNGRADABLE
    twice = f"{tagged(reference)} <answer>1{reference}</answer>"
    assert task.grade(problem, twice).verdict is Verdict.WRONG
    assert task.grade(problem, tagged("9" * 30_000)).reason == "it has 30000 characters"
    assert "Assistant:" in task.prompt(problem)


def test_why_it_is_wrong() -> None:
    task, (problem, *_) = made("sentence_reordering")
    words = problem.reference.split()
    grade = task.grade(problem, tagged(" ".join([words[1], words[0], *words[2:]])))
    assert grade.verdict is Verdict.WRONG
    assert grade.reason.startswith("the scorer gives it 0.")
    assert task.grade(problem, tagged(problem.prompt)).reason == "it repeats the question"


def test_splits_and_seeds() -> None:
    task = reasoning_gym("gcd")
    train, held_out = (task.problems(split, seed=3, size=30) for split in Split)
    assert {p.split for p in train} == {Split.TRAIN}
    assert not {p.prompt for p in train} & {p.prompt for p in held_out}
    assert train == reasoning_gym("gcd").problems(Split.TRAIN, seed=3, size=30)
    assert train != task.problems(Split.TRAIN, seed=4, size=30)


def test_a_scorer_does_not_change_the_problem() -> None:
    """knight_swap's writes into the metadata."""
    task, problems = made("knight_swap")
    before = copy.deepcopy([dict(p.metadata) for p in problems])
    for problem in problems:
        otherwise_spaced = problem.reference.replace(", ", ",")
        assert task.grade(problem, tagged(otherwise_spaced)).is_correct
        longer = [*json.loads(problem.reference), *json.loads(problem.reference)]
        assert not task.grade(problem, tagged(json.dumps(longer))).is_correct
    assert [dict(p.metadata) for p in problems] == before


def test_threads() -> None:
    names = ("jugs", "knights_knaves", "simple_integration", "sokoban", "rubiks_cube")
    work = [(made(name)[0], problem) for name in names for problem in made(name)[1]] * 20
    with ThreadPoolExecutor(4) as pool:
        grades = list(pool.map(lambda w: w[0].grade(w[1], tagged(w[1].reference)), work))
    assert all(grade.is_correct for grade in grades)


def test_boxnet_has_a_right_answer() -> None:
    """Each box walks to the row, then to the column of its target, and onto it."""
    task, problems = made("boxnet")
    for problem in problems:
        steps = list(boxnet_steps(problem.metadata["initial_state"]))
        assert task.grade(problem, tagged(json.dumps(steps))).is_correct
        assert not task.grade(problem, tagged(json.dumps(steps[:-1]))).is_correct


def boxnet_steps(state: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    places = {thing: [float(c) for c in at.split("_")] for at in state for thing in state[at]}
    for box, (row, column) in places.items():
        if not box.startswith("box_"):
            continue
        target = f"target_{box.removeprefix('box_')}"
        at, goal = [row, column], places[target]
        while at != goal:
            axis = 0 if at[0] != goal[0] else 1
            after = list(at)
            after[axis] += 1 if goal[axis] > at[axis] else -1
            yield {f"Agent[{at[0]}, {at[1]}]": f"move({box}, square[{after[0]}, {after[1]}])"}
            at = after
        yield {f"Agent[{at[0]}, {at[1]}]": f"move({box}, {target})"}


def test_rush_hour_has_a_right_answer() -> None:
    """Found by trying every move after every other; the shortest is as long as the board says."""
    task = reasoning_gym("rush_hour", {"min_moves": 3, "max_moves": 5})
    problem, *_ = task.problems(None, seed=1, size=1)
    board = problem.prompt.partition("Board:\n")[2].replace("\n", "")
    moves = rush_hour_moves(board)
    assert len(moves) == problem.metadata["min_moves"]
    assert task.grade(problem, tagged(" ".join(moves))).is_correct
    assert not task.grade(problem, tagged(" ".join(moves[:-1]))).is_correct
    assert not task.grade(problem, tagged(f"I move {' '.join(moves)}")).is_correct


def rush_hour_moves(board: str) -> list[str]:
    """Breadth first on 36 letters: a move slides a car over empty squares (".")."""
    queue: deque[tuple[str, list[str]]] = deque([(board, [])])
    seen = {board}
    while queue:
        at, moves = queue.popleft()
        if at[17] == "A":  # the end of the third row
            return moves
        for car, by in itertools.product(
            sorted(set(at) - {".", "x"}), (-4, -3, -2, -1, 1, 2, 3, 4)
        ):
            after = slid(at, car, by)
            if after and after not in seen:
                seen.add(after)
                queue.append((after, [*moves, f"{car}{by:+d}"]))
    raise AssertionError("no way out")


def slid(board: str, car: str, by: int) -> str | None:
    squares = [i for i, c in enumerate(board) if c == car]
    stride = squares[1] - squares[0]
    for _ in range(abs(by)):
        moved = [i + (stride if by > 0 else -stride) for i in squares]
        in_line = all(0 <= i < 36 and (stride == 6 or i // 6 == squares[0] // 6) for i in moved)
        if not in_line or any(board[i] not in (".", car) for i in moved):
            return None
        cells = ["." if c == car else c for c in board]
        for i in moved:
            cells[i] = car
        board, squares = "".join(cells), moved
    return board


@pytest.mark.parametrize(
    ("name", "error"), [("propositional_logic", RequestError), ("gdc", UnknownName)]
)
def test_no_task(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        reasoning_gym(name)


def test_metadata_are_the_librarys() -> None:
    _, (problem, *_) = made("coin_flip")
    known: Mapping[str, Any] = problem.metadata
    assert known["source_dataset"] == "coin_flip"
