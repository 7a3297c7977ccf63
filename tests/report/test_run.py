"""Runs that are whole, unfinished, damaged, or none at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile
from penjing.report.run import Run, found, number, read_run
from tests.report.conftest import rl_step, write_lines


def test_a_whole_run(run: Run) -> None:
    assert run.name == "tiny"
    assert [stage.name for stage in run.stages] == [
        *("base", "zero", "data", "student_base", "distilled")
    ]
    assert run.complaints == ()
    zero = run.stages[1]
    assert [facts["length"] for facts in zero.steps] == [20.0, 21.0, 22.0, 23.0]
    assert zero.settings["group_size"] == 8
    assert len(zero.samples) == 12
    assert zero.wall_s == 60.0
    assert zero.peak_bytes == 3 << 30


def test_a_stage_that_has_not_ended_tells_what_it_has(folder: Path) -> None:
    (folder / "zero" / "done.json").unlink()
    shutil.rmtree(folder / "distilled")
    run = read_run(folder)
    zero, distilled = run.stages[1], run.stages[4]
    assert zero.done is None
    assert zero.has_begun
    assert zero.wall_s == 8.0
    assert zero.peak_bytes == 1 << 30
    assert not distilled.has_begun
    assert distilled.wall_s is None
    assert run.complaints == ()


def test_a_stage_that_went_on_took_at_least_as_long_as_its_steps(
    folder: Path, change: Callable[..., None]
) -> None:
    change("zero/done.json", wall_s=3.0)  # of the last process alone
    assert read_run(folder).stages[1].wall_s == 8.0


def test_steps_done_again_count_once(folder: Path) -> None:
    rows = [rl_step(0), rl_step(1, length=1.0), rl_step(1, length=2.0), rl_step(0, length=3.0)]
    write_lines(folder / "zero" / "record.jsonl", rows)
    assert [s["length"] for s in read_run(folder).stages[1].steps] == [3.0, 2.0]


def test_what_was_set_and_what_is_explained_are_settings(
    folder: Path, change: Callable[..., None]
) -> None:
    path = folder / "recipe.toml"
    added = '\n[[settings]]\nkey = "zero.steps"\nvalue = 9\n'
    path.write_text(path.read_text(encoding="utf-8") + added, encoding="utf-8")
    rows = [{"stage": "zero", "key": "group_size", "value": 16, "source": "preset"}, 3, {}]
    change("run.json", explained=rows)
    settings = read_run(folder).stages[1].settings
    assert (settings["steps"], settings["group_size"], settings["problems"]) == (9, 16, 16)


def test_a_plan_is_known_before_a_stage_ends(folder: Path) -> None:
    (folder / "zero" / "done.json").unlink()
    rows = [{"stage": "zero", "seconds": 7.0}, {"stage": "base", "seconds": 8.0}, 3]
    (folder / "plan.json").write_text(json.dumps({"stages": rows}), encoding="utf-8")
    base, zero = read_run(folder).stages[:2]
    assert zero.predicted == {"stage": "zero", "seconds": 7.0}
    assert base.predicted == {"seconds": 50.0, "bytes": 2 << 30}  # as its end has it


def test_alarms_of_one_step_all_count(folder: Path) -> None:
    write_lines(folder / "zero" / "alarms.jsonl", [{"step": 1, "cause": c} for c in "ab"])
    assert [alarm["cause"] for alarm in read_run(folder).stages[1].alarms] == ["a", "b"]


def test_damage_is_told_and_the_rest_is_shown(folder: Path) -> None:
    record = folder / "zero" / "record.jsonl"
    record.write_text(record.read_text() + '{"step": 4, "rew\n[]\n{"step": "x"}\n')
    (folder / "base" / "done.json").write_text("{")
    (folder / "distilled" / "evaluation" / "samples.jsonl").write_text("no\n")
    (folder / "recipe.toml").write_text("name = ")
    run = read_run(folder)
    assert len(run.stages[1].steps) == 4
    assert run.stages[0].done is None
    assert run.stages[4].samples == ()
    said = "\n".join(run.complaints)
    assert len(run.complaints) == 4
    assert "zero/record.jsonl: 3 lines are no steps" in said
    assert "recipe.toml cannot be read" in said


def test_a_recipe_that_is_too_deep_is_damage(folder: Path) -> None:
    (folder / "recipe.toml").write_text(f"a = {'[' * 100_000}")
    assert "recipe.toml cannot be read" in read_run(folder).complaints[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "it has no run.json; give what penjing train wrote"),
        ("{", "cannot be read"),
        ("[1]", "holds no object"),
        ('{"task": "gsm8k"}', "names no stages"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadFile, match=said) as error:
        read_run(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../secret", "", "A", 3, None, "a" * 200])
def test_a_stage_is_never_sought_outside_the_folder(
    folder: Path, change: Callable[..., None], name: object
) -> None:
    change("run.json", stages=[{"name": name}, "zero", {"name": "zero", "kind": "reinforce"}])
    run = read_run(folder)
    assert [stage.name for stage in run.stages] == ["zero"]
    assert len(run.complaints) == 2


def test_the_model_of_a_stage_is_where_its_line_began(run: Run) -> None:
    assert [run.model_of(stage) for stage in run.stages] == [
        *("teacher", "teacher", "teacher", "student", "student")
    ]


def test_a_circle_of_stages_ends(folder: Path, change: Callable[..., None]) -> None:
    change("run.json", stages=[{"name": "a", "start": "b"}, {"name": "b", "start": "a"}])
    run = read_run(folder)
    assert run.model_of(run.stages[0]) == "a"


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers() | st.floats(), st.lists))
def test_numbers_are_finite_or_none(value: object) -> None:
    assert number(value) is None or number(value) == value


def test_what_is_no_number() -> None:
    strange = [True, "1", "nan", float("inf"), float("nan"), 10**400, None, [], {}]
    assert [number(value) for value in strange] == [None] * len(strange)
    assert number(json.loads("3")) == 3.0


def test_what_is_not_there_is_none() -> None:
    facts = {"a": {"b": 1}}
    assert found(facts, "a", "b") == 1
    assert [found(facts, *path) for path in ("ac", "x", "abc")] == [None] * 3
    assert found(None, "a") is None
