"""The gap between engine and trainer."""

import shutil
from pathlib import Path

from penjing.report.mismatch import mismatch
from penjing.report.run import Run, read_run
from tests.report.conftest import rl_step, write_lines


def test_no_gap_is_said_to_be_none(run: Run) -> None:
    made = mismatch(run)
    assert "None: the same bits in all of 4 steps." in made
    assert "<svg" not in made


def test_a_gap_is_named_and_drawn(folder: Path) -> None:
    rows = [rl_step(0), rl_step(1, largest_gap=0.25, mean_gap=0.01, most_ratio=1.3)]
    write_lines(folder / "zero" / "record.jsonl", rows)
    made = mismatch(read_run(folder))
    assert "At most 0.25, in zero." in made
    assert "1 to 1.3" in made
    assert "0.005" in made  # the mean of the means
    assert "Largest gap of log-probabilities in zero" in made


def test_a_run_without_rl_has_none_to_tell(folder: Path) -> None:
    shutil.rmtree(folder / "zero")
    assert "No stage has learnt from rewards so far." in mismatch(read_run(folder))
