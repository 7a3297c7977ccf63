"""Seconds are work times rates; bytes are the footprint and the engine's plan."""

from pathlib import Path

import pytest

from penjing.errors import DoesNotFit
from penjing.train.footprint import Batch, Footprint
from penjing.train.forecast import (
    Forecast,
    Rates,
    Work,
    footprint_of,
    forecast,
    measure_rates,
    require_room,
)
from penjing.train.models import Held, new_model
from penjing.train.recipe import read_recipe
from tests.train.test_journey import TEXT

RECIPE = read_recipe(TEXT.replace("MODEL", "student"), "tiny")
WORK = Work(
    generated=1000.0,
    learnt_from=500.0,
    prompt=10.0,
    response=5.0,
    length=40,
    batch=Batch(tokens=64, learnt=32, longest=16),
)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder: Path = tmp_path_factory.mktemp("model")
    return new_model("student", RECIPE.models["student"], folder, 1)


def test_seconds_are_work_times_rates(held: Held) -> None:
    rates = Rates(generate=1e-3, learn=2e-3)
    assert forecast("s", WORK, None, held, rates).seconds == pytest.approx(2.0)
    more = Work(generated=100.0, prompt=1, response=1)
    assert forecast("s", WORK, more, held, rates).seconds == pytest.approx(2.1)


def test_only_who_generates_has_an_engine_and_only_who_learns_has_moments(held: Held) -> None:
    both = footprint_of(WORK, held)
    assert both.engine > 0
    assert both.optimizer == 2 * both.weights
    reads = footprint_of(Work(generated=5.0, prompt=1, response=1, length=20), held)
    assert (reads.optimizer, reads.gradients, reads.activations) == (0, 0, 0)
    learns = footprint_of(Work(learnt_from=5.0, prompt=1, response=1, batch=WORK.batch), held)
    assert learns.engine == 0


def test_rates_are_measured(held: Held) -> None:
    found = measure_rates(held, WORK)
    assert found.generate > 0
    assert found.learn > 0
    assert measure_rates(held, Work(generated=1.0, prompt=3, response=4)).learn == 0


def test_a_shortfall_is_an_error_that_adds_up() -> None:
    footprint = Footprint(weights=4e9, gradients=4e9, optimizer=8e9, activations=1e9)
    require_room(Forecast(stage="s", seconds=1, footprint=footprint), "less")
    short = Forecast(stage="s", seconds=1, footprint=footprint, shortfall_bytes=2e9)
    with pytest.raises(
        DoesNotFit, match=r"stage s takes 15\.8 GiB \(weights 3\.7 GiB.*less"
    ) as error:
        require_room(short, "less")
    assert error.value.shortfall_bytes == 2e9
