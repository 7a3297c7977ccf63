"""What the table of stages says."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from penjing.report.run import Run, read_run
from penjing.report.stage_table import stage_table, state


def cells(made: str, stage: str) -> str:
    """The text of a row."""
    row = next(r for r in re.findall(r"<tr>.*?</tr>", made) if f">{stage}<" in r)
    return re.sub(r"<svg.*?</svg>|<[^>]*>", " ", row)


def test_a_row_has_estimates_with_intervals(run: Run) -> None:
    zero = cells(stage_table(run), "zero")
    assert "reinforce from base" in zero
    assert re.search(r"66\.7\u202f% \(30\.0 to 90\.3\)", zero)  # Wilson of 4 in 6
    assert "+50.0 (" in zero
    assert "43\u202f%" in zero
    assert "60 s" in zero


def test_data_has_no_figures_of_held_out_problems(run: Run) -> None:
    data = cells(stage_table(run), "data")
    assert "keeps 30 of 200 samples" in data
    assert "90.0" not in data


def test_what_has_not_begun_is_one_line(folder: Path) -> None:
    shutil.rmtree(folder / "distilled")
    shutil.rmtree(folder / "student_base")
    made = stage_table(read_run(folder))
    assert "Not begun: student_base, distilled." in made
    assert '<th scope="row">distilled' not in made


def test_how_far_a_stage_has_come(folder: Path) -> None:
    assert state(read_run(folder).stages[1]) == ""
    (folder / "zero" / "done.json").unlink()
    assert state(read_run(folder).stages[1]) == "stopped or still going: 4 of 4 steps"


def test_a_loss_is_told_from_a_gain_and_from_neither(folder: Path) -> None:
    made = stage_table(read_run(folder))
    assert 'class="change unsure"' in made or 'class="change up"' in made
    evaluation = folder / "zero" / "evaluation"
    shutil.copytree(folder / "student_base" / "evaluation", evaluation, dirs_exist_ok=True)
    shutil.copytree(folder / "zero" / "evaluation", folder / "base" / "x")
    text = (folder / "base" / "evaluation" / "samples.jsonl").read_text()
    (folder / "base" / "evaluation" / "samples.jsonl").write_text(text.replace("wrong", "correct"))
    assert 'class="change down"' in stage_table(read_run(folder))


def test_other_tasks_have_columns(folder: Path, change: Callable[..., None]) -> None:
    words = {"pass_at_k": {"1": {"value": 0.3, "interval": {"low": 0.2, "high": 0.4}}}}
    change("zero/done.json", others={"words": words})
    made = stage_table(read_run(folder))
    assert '<th scope="col" class="figure">words</th>' in made
    assert '<td data-label="words" class="figure">30.0\u202f%<small>(20.0 to 40.0)' in made
    assert "pass@1, sums" in made
