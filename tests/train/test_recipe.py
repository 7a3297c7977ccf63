"""Recipes: what ships is whole, and what is wrong is named by its key."""

from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile, UnknownName
from penjing.models.huggingface import model_from_hf
from penjing.tasks.catalogue import find_task
from penjing.train.complaints import complain
from penjing.train.recipe import (
    Recipe,
    load_recipe,
    read_recipe,
    recipe_names,
    tokenizer_folder,
)

TEXT = """
name = "mine"
[tasks.sums]
name = "reasoning_gym/chain_sum"
[models.tiny]
tokenizer = "quickstart"
config = { model_type = "qwen2" }
[[stages]]
name = "base"
kind = "pretrain"
start = "tiny"
task = "sums"
steps = 3
batch = 2
learning_rate = 1e-3
[[stages]]
name = "data"
kind = "reject"
start = "base"
task = "sums"
problems = 4
samples = 2
max_tokens = 16
[[stages]]
name = "student"
kind = "sft"
start = "tiny"
data = ["data"]
epochs = 1
batch = 2
learning_rate = 1e-3
"""


def test_a_recipe_is_read() -> None:
    recipe = read_recipe(TEXT, "here")
    assert [stage.kind for stage in recipe.stages] == ["pretrain", "reject", "sft"]
    assert recipe.text == TEXT
    assert (
        recipe.digest == read_recipe(TEXT, "there").digest != read_recipe(TEXT + "\n", "x").digest
    )


def test_the_quickstart_ships() -> None:
    recipe = load_recipe("quickstart")
    kinds = [stage.kind for stage in recipe.stages]
    assert {"pretrain", "sft", "reinforce", "reject"} == set(kinds)
    for name, choice in recipe.models.items():
        model_from_hf(choice.config, name)
        assert (tokenizer_folder(choice.tokenizer) / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "steps = 3",
            "stepz = 3",
            "stages.0.pretrain.stepz is no key that is known; did you mean steps",
        ),
        ("steps = 3", "", "stages.0.pretrain.steps: Field required"),
        ("steps = 3", "steps = 0", r"greater than or equal to 1 \(given: 0\)"),
        ('kind = "sft"', 'kind = "magic"', "stages.2"),
        ('start = "base"', 'start = "bass"', "stage data starts from 'bass', which is not there"),
        ('start = "base"', 'start = "data"', "stage data starts from 'data', which is not there"),
        ('data = ["data"]', 'data = ["base"]', "stage student has the data 'base'"),
        ('task = "sums"\nsteps', 'task = "sum"\nsteps', "stage base has the task 'sum'"),
        ('name = "student"', 'name = "base"', "two things are called base"),
        ('name = "student"', 'name = "a/b"', "stages.2.sft.name"),
        ('name = "mine"', "name = mine", "is no TOML"),
        ('name = "mine"', "", "name: Field required"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, message: str) -> None:
    assert before in TEXT
    with pytest.raises(BadFile, match=message) as caught:
        read_recipe(TEXT.replace(before, after, 1), "here")
    assert str(caught.value).startswith("here: ") or "is no TOML" in message
    assert "\n" not in str(caught.value)


def test_files_and_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding="utf-8")
    found: Any = load_recipe(str(path))
    assert isinstance(found, Recipe)
    with pytest.raises(UnknownName, match="unknown recipe 'quickstar'; nearest: quickstart"):
        load_recipe("quickstar")
    with pytest.raises(BadFile, match="cannot be read"):
        load_recipe(str(tmp_path / "nothing.toml"))


SHIPPED = ["countdown_3b", "gsm8k_0_5b", "gsm8k_1_5b", "own_jsonl", "quickstart", "r1_paper"]


def test_these_ship() -> None:
    assert recipe_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_that_ships_names_what_exists(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    complain(recipe)
    for task in recipe.tasks.values():
        assert task.mixture or find_task(task.name).name == task.name
    used = {getattr(stage, "task", None) for stage in recipe.stages} - {None}
    used |= {part for task in recipe.tasks.values() for part in task.mixture}
    assert recipe.evaluation is not None
    assert set(recipe.tasks) == used | {recipe.evaluation.task, *recipe.evaluation.others}


def test_the_paper_has_every_stage_of_r1() -> None:
    """arXiv 2501.12948: what each stage starts from, and how many updates Nature counts."""
    stages: dict[str, Any] = {stage.name: stage for stage in load_recipe("r1_paper").stages}
    starts = {name: stage.start for name, stage in stages.items()}
    assert starts["zero"] == starts["cold_start"] == starts["sft"] == "v3_base"
    assert (starts["zero_long"], starts["rl1"], starts["rl2"]) == ("zero", "cold_start", "sft")
    updates = [stages[name] for name in ("zero", "zero_long")]
    assert sum(one.steps * one.minibatches for one in updates) == 10_400
    second = stages["rl2"]
    assert abs(second.steps * second.minibatches - 1_700) < second.minibatches
    assert second.temperature == 0.7
    rates = {name: s.learning_rate for name, s in stages.items() if name.startswith("distilled_")}
    assert sorted(rates.values()) == [2e-5, 5e-5, 6e-5, 7e-5, 8e-5, 1e-4]  # v2, B.4


def test_settings_make_another_recipe_that_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding="utf-8")
    plain, found = (load_recipe(str(path), given) for given in ([], ["base.steps=9"]))
    assert plain.text == TEXT
    assert plain.digest != found.digest
    again = read_recipe(found.text, "the run")
    assert again == found
    steps: Any = [recipe.stages[0] for recipe in (plain, found, again)]
    assert [one.steps for one in steps] == [3, 9, 9]
    with pytest.raises(UnknownName, match=r"mine\.toml: unknown stage or key .* nearest: base"):
        load_recipe(str(path), ["bass.steps=9"])
    with pytest.raises(BadFile, match=r"stages\.0\.pretrain\.steps"):
        load_recipe(str(path), ["base.steps=none"])
