"""Stages become works: with their optimizer, their teacher, their rewards."""

from pathlib import Path

import pytest

from penjing.models.kernels.choice import Numerics
from penjing.train.distil import Distil
from penjing.train.fit import Fit
from penjing.train.journey import made_task
from penjing.train.lora import LoraOptimizer
from penjing.train.models import Held, new_model
from penjing.train.optimizer import Optimizer
from penjing.train.recipe import read_recipe
from penjing.train.reinforce import Reinforce
from penjing.train.stages import Trained
from penjing.train.works import Work, Workshop, learner_of
from tests.train.test_journey import TEXT

RECIPE = read_recipe(TEXT.replace("MODEL", "student"), "tiny")
STAGES: dict[str, Trained] = {s.name: s for s in RECIPE.stages if isinstance(s, Trained)}


def held(folder: Path, seed: int = 1) -> Held:
    return new_model("student", RECIPE.models["student"], folder / "model", seed)


def made(folder: Path, name: str, **changes: object) -> Work:
    shop = Workshop(
        seed=3,
        task=lambda task: made_task(RECIPE.tasks[task]),
        data=lambda data: folder / f"{data}.jsonl",
        begun=lambda name, stage: held(folder, 2),
    )
    return shop.work(STAGES[name].model_copy(update=changes), held(folder))


def test_texts_are_fitted(tmp_path: Path) -> None:
    found = made(tmp_path, "base")
    assert isinstance(found, Fit)
    assert found.num_steps == 60


def test_rewards_are_learnt_from_beside_a_reference_of_its_own(tmp_path: Path) -> None:
    found = made(tmp_path, "zero")
    assert isinstance(found, Reinforce)
    assert found.reference is not None  # the recipe has kl
    assert found.reference.decoder is not found.learner.decoder
    assert not found.reference.optimizer.state()
    without = made(tmp_path, "zero", kl=0.0, reference_every=0)
    assert isinstance(without, Reinforce)
    assert without.reference is None


def test_numerics_are_those_of_engine_and_learner(tmp_path: Path) -> None:
    found = made(tmp_path, "zero", numerics=Numerics.FAST)
    assert isinstance(found, Reinforce)
    assert found.collector.engine.numerics is found.learner.numerics is Numerics.FAST


def test_a_student_has_a_teacher(tmp_path: Path) -> None:
    found = made(tmp_path, "taught")
    assert isinstance(found, Distil)
    assert found.teacher.decoder is not found.learner.decoder
    facts = found.step(0)
    assert facts["reverse_kl"] >= 0


@pytest.mark.parametrize("has_adapter", [False, True])
def test_an_adapter_learns_in_place_of_all_weights(tmp_path: Path, has_adapter: bool) -> None:
    stage = STAGES["base"]
    if has_adapter:
        adapter = type(stage).model_fields["adapter"]
        assert adapter is not None
        text = TEXT.replace("MODEL", "student")
        text = text.replace('kind = "pretrain"', 'kind = "pretrain"\nadapter = { rank = 2 }', 1)
        found = read_recipe(text, "tiny").stages[0]
        assert isinstance(found, Trained)
        stage = found
    learner = learner_of(stage, held(tmp_path), 1)
    kind = LoraOptimizer if has_adapter else Optimizer
    assert isinstance(learner.optimizer, kind)
    assert learner.balance == (0.0 if has_adapter else stage.balance)
