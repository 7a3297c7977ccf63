"""Recipes: what ships is whole, and what is wrong is named by its key."""

from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile, UnknownName
from penjing.models.huggingface import model_from_hf
from penjing.train.recipe import Recipe, load_recipe, read_recipe, tokenizer_folder

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
