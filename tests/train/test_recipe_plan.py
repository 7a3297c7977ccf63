"""The plan of a recipe: counted work, measured rates, and what does not fit is refused."""

from pathlib import Path

import pytest
import torch

from penjing.errors import DoesNotFit
from penjing.tasks.task import Task
from penjing.train import forecast as forecast_module
from penjing.train.journey import made_task
from penjing.train.models import Held, new_model
from penjing.train.recipe import Recipe, read_recipe
from penjing.train.recipe_plan import plan_recipe, root_of
from penjing.train.stages import Dtype
from tests.train.test_journey import TEXT

RECIPE = read_recipe(TEXT.replace("MODEL", "student"), "tiny")


def made(recipe: Recipe, folder: Path) -> tuple[list[str], list[forecast_module.Forecast]]:
    asked = []

    def fresh(name: str, dtype: Dtype) -> Held:
        asked.append(f"{name} {dtype}")
        made = torch.bfloat16 if dtype is Dtype.BF16 else torch.float32
        return new_model(name, recipe.models[name], folder / name, 1, made)

    def task(name: str) -> Task:
        return made_task(recipe.tasks[name])

    return asked, plan_recipe(recipe, fresh, task)


def test_every_stage_is_planned_and_each_model_measured_once(tmp_path: Path) -> None:
    asked, found = made(RECIPE, tmp_path)
    assert asked == ["student fp32"]
    assert [one.stage for one in found] == [stage.name for stage in RECIPE.stages]
    assert all(one.seconds > 0 for one in found)
    assert all(one.shortfall_bytes == 0 for one in found)
    by_name = {one.stage: one.footprint for one in found}
    assert by_name["zero"].reference == by_name["zero"].weights  # its recipe has a divergence
    assert by_name["base"].reference == 0
    assert by_name["zero"].engine > 0
    assert (by_name["data"].optimizer, by_name["data"].activations) == (0, 0)


def test_twice_the_steps_take_twice_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = forecast_module.Rates(generate=1e-3, learn=1e-4)
    monkeypatch.setattr("penjing.train.recipe_plan.measure_rates", lambda held, work: rates)
    longer = TEXT.replace("MODEL", "student").replace("steps = 60", "steps = 120")
    (_, short), (_, long) = made(RECIPE, tmp_path), made(read_recipe(longer, "tiny"), tmp_path)
    evaluation = 4 * 2 * 6 * 1e-3  # problems x samples x half of 12 tokens
    base, twice = short[0].seconds - evaluation, long[0].seconds - evaluation
    assert twice == pytest.approx(2 * base)


def test_what_does_not_fit_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_module, "available_bytes", lambda device: 0.1e6)
    monkeypatch.setattr("penjing.train.recipe_plan.measure_rates", None)
    with pytest.raises(DoesNotFit, match=r"stage base takes .* lack here; .* would fit"):
        made(RECIPE, tmp_path)


def test_where_a_stage_comes_from() -> None:
    assert root_of(RECIPE, "tuned") == "student"
    assert root_of(RECIPE, "student") == "student"
    assert root_of(RECIPE, "some/checkpoint") == "some/checkpoint"


def test_stages_of_another_dtype_are_measured_by_themselves(tmp_path: Path) -> None:
    text = TEXT.replace("MODEL", "student").replace(
        'name = "zero"', 'name = "zero"\ndtype = "bf16"'
    )
    asked, found = made(read_recipe(text, "tiny"), tmp_path)
    assert asked == ["student fp32", "student bf16"]
    by_name = {one.stage: one.footprint for one in found}
    assert by_name["zero"].weights == by_name["base"].weights / 2


def test_a_stage_may_have_an_evaluation_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = forecast_module.Rates(generate=1e-3, learn=0.0)
    monkeypatch.setattr("penjing.train.recipe_plan.measure_rates", lambda held, work: rates)
    own = '[stages.evaluation]\ntask = "sums"\nproblems = 40\nsamples = 2\nmax_tokens = 12\n'
    text = TEXT.replace("MODEL", "student").replace(
        "snapshot_every = 15\n", f"snapshot_every = 15\n{own}"
    )
    _, found = made(read_recipe(text, "tiny"), tmp_path)
    assert found[0].seconds == pytest.approx(40 * 2 * 6 * 1e-3)
