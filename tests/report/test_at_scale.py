"""From a recipe's counts to the planner's jobs, and from its steps to hours and dollars."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.hardware.budget import parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.plan.job import RlJob, ServeJob, TrainJob
from penjing.plan.plan import Basis, Predicted, TrainFigures
from penjing.plan.planner import Terms, make_plan
from penjing.report import at_scale as module
from penjing.report.at_scale import Column, Cost, at_scale, num_rows, works_of
from penjing.report.run import Run, read_run


def test_works_are_the_recipe_in_counts_and_r1_in_lengths(run: Run) -> None:
    works, left_out = works_of(run)
    base, zero, data = works
    assert base.job == TrainJob(model="deepseek-r1", tokens=32 * 5611, sequence=5611, batch=32)
    assert base.count == 4
    assert isinstance(zero.job, RlJob)
    assert (zero.job.prompts, zero.job.group, zero.count) == (16, 8, 4)
    assert (zero.job.output_tokens, zero.job.longest_output) == (5355, 32768)
    assert isinstance(data.job, ServeJob)
    assert data.count == 50 * 4 * 5355
    assert left_out == {
        "student_base": "a smaller model, student",
        "distilled": "a smaller model, student",
    }


def test_a_recipe_that_cannot_be_read_has_no_works(folder: Path) -> None:
    (folder / "recipe.toml").write_text("")
    works, left_out = works_of(read_run(folder))
    assert works == []
    assert left_out["zero"] == "its counts are not known"
    assert at_scale(read_run(folder)).columns == ()


@pytest.mark.parametrize("value", ["-1", "1.5", "'x'", "true", "1e30"])
def test_absurd_counts_are_not_priced(folder: Path, value: str) -> None:
    path = folder / "recipe.toml"
    path.write_text(path.read_text().replace("group_size = 8", f"group_size = {value}"))
    assert "zero" in works_of(read_run(folder))[1]


def test_what_the_planner_has_no_job_for_is_said(folder: Path, change: Callable[..., None]) -> None:
    change("run.json", stages=[{"name": "zero", "kind": "distil", "start": "teacher"}])
    assert works_of(read_run(folder)) == ([], {"zero": "not planned for"})


def test_fine_tuning_counts_the_rows_that_were_kept(
    folder: Path, change: Callable[..., None]
) -> None:
    run = read_run(folder)
    assert num_rows(run, run.stages[4]) == 30
    (folder / "data" / "done.json").unlink()
    run = read_run(folder)
    assert num_rows(run, run.stages[4]) == 50  # one of four of each problem, at most
    change("run.json", stages=[{"name": "distilled", "kind": "sft", "start": "teacher"}])
    run = read_run(folder)
    assert num_rows(run, run.stages[0]) is None
    assert works_of(run)[0] == []


def test_fine_tuning_steps_are_epochs_of_batches(folder: Path, change: Callable[..., None]) -> None:
    stages = [("data", "reject"), ("distilled", "sft")]
    change("run.json", stages=[{"name": n, "kind": k, "start": "teacher"} for n, k in stages])
    work = works_of(read_run(folder))[0][1]
    assert work.count == 2 * 4  # 30 rows in batches of 8, twice


def test_what_the_planner_says_times_the_steps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MODEL", "qwen2.5-0.5b")  # planned in no time
    path = folder / "recipe.toml"
    path.write_text(path.read_text().replace("group_size = 8", "").replace("samples = 4", ""))
    said: list[str] = []
    scale = at_scale(read_run(folder), said.append, chips=["H20"])
    assert said == ["base on 128xH20"]
    (column,) = scale.columns
    (cost,) = column.costs
    budget = parse_budget("128xH20", load_catalogue())
    plan = make_plan(load_model("qwen2.5-0.5b"), scale.works[0].job, budget, Terms())
    assert isinstance(plan.figures, TrainFigures)
    assert cost.seconds is not None
    assert cost.seconds.value == pytest.approx(4 * plan.figures.step_s.value)
    assert cost.chip_hours is not None
    assert cost.chip_hours.value == pytest.approx(cost.seconds.value * 128 / 3600)
    assert column.price is not None
    assert cost.usd is not None
    assert cost.usd.value == pytest.approx(cost.chip_hours.value * column.price.usd_per_h)


def test_what_fits_nowhere_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUM_CHIPS", 8)
    path = folder / "recipe.toml"
    path.write_text(path.read_text().replace("group_size = 8", "").replace("samples = 4", ""))
    (column,) = at_scale(read_run(folder), chips=["H800"]).columns
    assert column.costs[0].seconds is None
    assert "cannot be trained on 8xH800 SXM" in column.costs[0].why
    assert column.total.seconds is None
    assert column.price is not None
    assert column.price.usd_per_h == 2.0  # no price of its own: DeepSeek's


def seconds(value: float, basis: Basis = Basis.MEASURED) -> Predicted:
    return Predicted(value=value, low=value / 2, high=value * 3, basis=basis)


def test_a_total_adds_what_fits_and_says_what_does_not() -> None:
    costs = (
        Cost(seconds=seconds(10), usd=seconds(1)),
        Cost(why="no room"),
        Cost(seconds=seconds(20, Basis.ASSUMED), usd=seconds(2)),
    )
    total = Column(chip="H20", costs=costs, price=None).total
    assert total.seconds == Predicted(value=30, low=15, high=90, basis=Basis.ASSUMED)
    assert total.usd == Predicted(value=3, low=1.5, high=9, basis=Basis.MEASURED)
    assert total.why == "without 1 that do not fit"
