"""Settings on the page."""

from collections.abc import Callable
from pathlib import Path

from penjing.report.knob_table import knob_table
from penjing.report.run import Run, read_run


def test_one_source_is_said_once(run: Run) -> None:
    made = knob_table(run)
    assert "Those without a source stand in the recipe; what it leaves unsaid" in made
    assert "<div><dt>group_size</dt><dd>8</dd></div>" in made
    assert "<h4>zero</h4>" in made


def test_several_sources_are_said_at_each_setting(
    folder: Path, change: Callable[..., None]
) -> None:
    rows = [
        {"stage": "zero", "key": "kl", "value": 0.001, "source": "preset"},
        {"stage": "zero", "key": "clip", "value": "<10>", "source": "default"},
    ]
    change("run.json", explained=rows)
    made = knob_table(read_run(folder))
    assert '<dt>kl</dt><dd>0.001</dd><dd class="source">preset</dd>' in made
    assert '<dt>clip</dt><dd>&lt;10&gt;</dd><dd class="source">default</dd>' in made
    assert made.count('"source">') == 2
    assert "stand in the recipe.<" in made


def test_no_recipe_no_settings(folder: Path) -> None:
    (folder / "recipe.toml").unlink()
    assert "The recipe cannot be read." in knob_table(read_run(folder))
