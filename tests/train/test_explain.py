"""Each value with where it comes from: the recipe, a preset, a default, or the command line."""

import pytest

from penjing.train.explain import Explained, explained
from penjing.train.recipe import load_recipe, read_recipe, recipe_names
from penjing.train.settings import with_settings

TEXT = """
name = "mine"
[tasks.sums]
name = "reasoning_gym/chain_sum"
[checkpoints.base]
source = "./base"
[evaluation]
task = "sums"
problems = 2
samples = 1
max_tokens = 8
[[stages]]
name = "zero"
kind = "reinforce"
preset = "dapo"
start = "base"
task = "sums"
steps = 3
kl = 0.1
[[stages]]
name = "more"
kind = "reinforce"
start = "zero"
task = "sums"
steps = 3
problems = 2
group_size = 2
max_tokens = 8
learning_rate = 1e-5
clip = "cispo"
"""


def by_key(*settings: str, seed: int | None = None) -> dict[tuple[str, str], Explained]:
    recipe = read_recipe(with_settings(TEXT, settings), "here")
    return {(one.stage, one.key): one for one in explained(recipe, seed)}


def test_sources_are_told_apart() -> None:
    found = by_key("zero.steps=4", "zero.rewards.format=0.5")
    said = {key: found["zero", key].source for key in ("kl", "max_tokens", "beta2", "steps")}
    assert said == {
        "kl": "recipe",
        "max_tokens": "preset dapo: arXiv 2503.14476, section 4.1",
        "beta2": "default: DeepSeek-V3, arXiv 2412.19437, section 4.2",
        "steps": "--set",
    }
    assert found["zero", "steps"].value == 4
    assert found["zero", "rewards"].source.startswith("--set of format; the rest: preset dapo: ")
    assert found["zero", "rewards"].value == {"accuracy": 2.0, "over_length": 1.0, "format": 0.5}
    high, low = found["more", "clip_high"], found["more", "clip_low"]
    assert (high.value, low.value) == (4.0, None)
    assert "default: arXiv 2506.13585" in high.source
    assert found["", "checkpoints.base.think_tokens"].source.startswith("default: ")
    assert found["", "evaluation.problems"].source == "recipe"


def test_the_seed_is_explained_too() -> None:
    assert by_key()["", "seed"].source.startswith("default: ")
    assert by_key("seed=4")["", "seed"] == Explained(stage="", key="seed", value=4, source="--set")
    given = by_key("seed=4", seed=7)["", "seed"]
    assert (given.value, given.source) == (7, "--seed")


@pytest.mark.parametrize("name", recipe_names())
def test_every_key_of_every_stage_that_ships_has_a_source(name: str) -> None:
    recipe = load_recipe(name)
    found = explained(recipe)
    assert all(one.source for one in found)
    for stage in recipe.stages:
        keys = [one.key for one in found if one.stage == stage.name]
        assert sorted(keys) == sorted(type(stage).model_fields.keys() - {"name"})
    sources = {one.source for one in found if one.stage}
    kinds = {source.partition(":")[0].partition(" ")[0] for source in sources}
    assert kinds <= {"recipe", "preset", "default"}
