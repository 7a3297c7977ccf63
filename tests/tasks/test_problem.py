"""What a problem and a grade promise."""

from dataclasses import FrozenInstanceError

import pytest

from penjing.tasks.problem import Grade, Problem, Split, Verdict


def test_a_problem_can_stand_in_a_set_whatever_its_metadata() -> None:
    def made(metadata: dict[str, object]) -> Problem:
        return Problem(id="1", prompt="p", reference="r", split=Split.TRAIN, metadata=metadata)

    assert hash(made({"tests": [1, 2]})) == hash(made({}))
    assert made({"tests": [1]}) != made({"tests": [2]})
    assert made({}).metadata is not made({}).metadata


def test_a_problem_does_not_change() -> None:
    problem = Problem(id="1", prompt="p", reference="r", split=Split.TRAIN)
    with pytest.raises(FrozenInstanceError):
        problem.reference = "another"  # type: ignore[misc]


@pytest.mark.parametrize("verdict", Verdict)
def test_only_correct_is_correct(verdict: Verdict) -> None:
    grade = Grade(verdict=verdict, reason="because")
    assert grade.is_correct is (verdict is Verdict.CORRECT)
    assert not grade.is_fault


@pytest.mark.parametrize("verdict", [Verdict.CORRECT, Verdict.WRONG])
def test_a_judge_that_failed_has_decided_nothing(verdict: Verdict) -> None:
    with pytest.raises(AssertionError):
        Grade(verdict=verdict, reason="the judge failed", is_fault=True)


def test_names_are_those_that_files_hold() -> None:
    assert [str(split) for split in Split] == ["train", "held_out"]
    assert [str(verdict) for verdict in Verdict] == ["correct", "wrong", "ungradable"]
