"""What was planned beside what happened."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.report.plan_table import plan_table, ratio, stage_plan
from penjing.report.run import Run, read_run


def test_time_and_memory_beside_their_plan(run: Run) -> None:
    made = plan_table(run)
    assert "zero: took 60 s, 50 s were planned" in made
    assert "60 s<small>planned 50 s</small><small>\u00d7\u202f1.20</small>" in made
    assert "3.0 GiB<small>planned 2.0 GiB</small><small>\u00d7\u202f1.50</small>" in made


def test_a_run_without_a_plan_says_so(folder: Path, change: Callable[..., None]) -> None:
    for stage in ("base", "zero", "data", "student_base", "distilled"):
        change(f"{stage}/done.json", predicted=None)
    made = plan_table(read_run(folder))
    assert "No plan was made" in made
    assert "zero: took 60 s<" in made
    assert "planned" not in made


@pytest.mark.parametrize("predicted", [None, "soon", {"seconds": "1"}, []])
def test_what_is_no_plan(folder: Path, change: Callable[..., None], predicted: object) -> None:
    change("zero/done.json", predicted=predicted)
    assert stage_plan(read_run(folder).stages[1]) is None


def test_a_stage_still_going_is_marked(folder: Path) -> None:
    (folder / "zero" / "done.json").unlink()
    assert "zero<small>so far</small>" in plan_table(read_run(folder))


def test_what_has_not_begun_has_its_plan(folder: Path) -> None:
    shutil.rmtree(folder / "distilled")
    assert "distilled" not in plan_table(read_run(folder))
    rows = [{"stage": "distilled", "seconds": 40.0, "bytes": 1 << 30}]
    (folder / "plan.json").write_text(json.dumps({"stages": rows}), encoding="utf-8")
    made = plan_table(read_run(folder))
    assert "distilled: not begun, 40 s were planned" in made
    assert "<small>planned 40 s</small></td>" in made


def test_ratios_need_a_plan() -> None:
    assert ratio(3.0, 2.0) == "\u00d7\u202f1.50"
    assert ratio(3.0, None) == ""
    assert ratio(3.0, 0.0) == ""
