"""Settings and their sources."""

from collections.abc import Callable
from pathlib import Path

from penjing.report.knobs import RECIPE, SET, Knob, explained, knobs, knobs_of
from penjing.report.run import Run, read_run


def values(found: list[Knob]) -> dict[tuple[str, str], str]:
    return {(knob.stage, knob.key): knob.value for knob in found}


def test_every_key_of_the_recipe_is_there(run: Run) -> None:
    found = knobs(run.recipe)
    assert {knob.source for knob in found} == {RECIPE}
    said = values(found)
    assert said["zero", "group_size"] == "8"
    assert said["zero", "rewards.accuracy"] == "1"
    assert said["base", "learning_rate"] == "0.002"
    assert said["distilled", "data"] == "data"
    assert said["evaluation", "samples"] == "2"
    assert said["model teacher", "config.tie_word_embeddings"] == "yes"
    assert said["task sums", "name"] == "jsonl"
    assert ("zero", "name") not in said


def test_what_the_run_explains_goes_first(folder: Path, change: Callable[..., None]) -> None:
    row = {"stage": "zero", "key": "kl", "value": 0.001, "source": "preset r1_paper"}
    change("run.json", explained=[row, {"stage": "zero"}, 3])
    found = knobs_of(read_run(folder))
    assert [knob for knob in found if knob.stage == "zero"] == [
        Knob(stage="zero", key="kl", value="0.001", source="preset r1_paper")
    ]
    assert values(found)["base", "steps"] == "4"
    order = list(dict.fromkeys(knob.stage for knob in found))
    assert order == [
        *("task sums", "model teacher", "evaluation"),
        *("base", "zero", "data", "student_base", "distilled"),
    ]


def test_what_was_set_from_outside_says_so(folder: Path) -> None:
    path = folder / "recipe.toml"
    rows = ["zero.rewards.format", "evaluation.samples", "tasks.sums.style", "base.batch"]
    added = "".join(f'\n[[settings]]\nkey = "{row}"\nvalue = 5\n' for row in rows)
    path.write_text(path.read_text(encoding="utf-8") + added, encoding="utf-8")
    found = knobs(read_run(folder).recipe)
    assert {(knob.stage, knob.key) for knob in found if knob.source == SET} == {
        *(("zero", "rewards.format"), ("evaluation", "samples")),
        *(("task sums", "style"), ("base", "batch")),
    }
    assert {knob.value for knob in found if knob.source == SET} == {"5"}


def test_without_an_explanation_the_recipe_speaks(run: Run) -> None:
    assert knobs_of(run) == knobs(run.recipe)


def test_a_recipe_of_other_shapes_is_no_error() -> None:
    assert knobs({}) == []
    assert knobs({"stages": 3, "tasks": [1], "models": {"a": 1}, "evaluation": "x"}) == []
    assert knobs({"stages": [4, {"kind": "sft"}]})[0].key == "kind"
    assert explained("no") == []
