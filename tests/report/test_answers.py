"""Who answers what, and which answers are shown."""

import json
from collections.abc import Callable
from pathlib import Path

from penjing.report.answers import GAINED, KEPT, LOST, NEITHER, contests
from penjing.report.run import Run, read_run
from tests.report.conftest import sample, samples, write_samples


def test_the_first_rl_and_the_student_with_its_teacher(run: Run) -> None:
    zero, student = contests(run)
    assert zero.stages == ("base", "zero")
    assert zero.tally == {GAINED: 3, KEPT: 1, NEITHER: 2}
    assert student.stages == ("zero", "student_base", "distilled")
    assert student.tally == {GAINED: 2, NEITHER: 4}


def test_nobody_picks_what_is_shown(run: Run) -> None:
    shown = contests(run)[0].shown
    assert [exchange.problem for exchange in shown] == ["p1", "p2", "p3", "p0", "p4"]
    assert [exchange.outcome for exchange in shown] == [GAINED, GAINED, GAINED, KEPT, NEITHER]


def test_what_was_lost_is_shown_too(folder: Path) -> None:
    write_samples(folder / "zero", samples("011111"))
    contest = contests(read_run(folder))[0]
    assert contest.tally == {GAINED: 5, LOST: 1}
    assert [exchange.outcome for exchange in contest.shown] == [GAINED] * 3 + [LOST]


def test_the_first_sample_of_a_problem_answers(folder: Path) -> None:
    mixed = [sample("p0", 1, right=True), sample("p0", 0, right=False, response="first")]
    write_samples(folder / "zero", mixed)
    (exchange,) = contests(read_run(folder))[0].shown
    assert [answer.response for answer in exchange.answers][-1] == "first"


def test_without_samples_there_is_no_contest(folder: Path) -> None:
    for name in ("base", "student_base"):
        (folder / name / "evaluation" / "samples.jsonl").unlink()
    assert contests(read_run(folder)) == []


def test_a_teacher_without_samples_is_left_out(folder: Path) -> None:
    (folder / "zero" / "evaluation" / "samples.jsonl").unlink()
    (student,) = contests(read_run(folder))
    assert student.stages == ("student_base", "distilled")


def test_a_teacher_that_grades_is_named(folder: Path, change: Callable[..., None]) -> None:
    rows = json.loads((folder / "run.json").read_text())["stages"]
    rows[-1]["kind"] = "distil"
    explained = [{"stage": "distilled", "key": "teacher", "value": "base", "source": "recipe"}]
    change("run.json", stages=rows, explained=explained)
    assert contests(read_run(folder))[1].stages == ("base", "student_base", "distilled")


def test_without_a_common_problem_there_is_no_contest(folder: Path) -> None:
    write_samples(folder / "zero", [sample("elsewhere", 0, right=True)])
    assert all(contest.stages[-1] != "zero" for contest in contests(read_run(folder)))
