"""Charts of each stage, and its alarms."""

import re
from pathlib import Path

from penjing.report.curves import alarm_list, curves
from penjing.report.run import Run, StageRun, read_run
from tests.report.conftest import write_lines


def test_rl_has_four_charts_and_texts_have_two(run: Run) -> None:
    titles = re.findall(r"<title>(\w+) of (\w+) over", curves(run))
    assert titles == [
        *((name, "zero") for name in ("Reward", "Accuracy", "Length", "Entropy")),
        *(
            (name, stage)
            for stage in ("base", "student_base", "distilled")
            for name in ("Loss", "Entropy")
        ),
    ]


def test_charts_say_where_they_begin_and_end(run: Run) -> None:
    made = curves(run)
    assert "Accuracy of zero over its steps, from 0.0\u202f% to 30.0\u202f%" in made
    assert "Length of zero over its steps, from 20 to 23" in made


def test_what_the_rollouts_went_on(run: Run) -> None:
    assert (
        "400 tokens; 40 more in groups thrown away; 2 groups a step taught nothing: all alike; "
        "25.0\u202f% cut short"
    ) in curves(run)


def test_a_figure_that_no_step_tells_has_no_chart(folder: Path) -> None:
    write_lines(folder / "zero" / "record.jsonl", [{"step": 0, "reward": 1.0, "length": "nan"}])
    titles = re.findall(r"<title>(\w+) of zero", curves(read_run(folder)))
    assert titles == ["Reward"]


def test_alarms_are_marked_and_told(folder: Path) -> None:
    alarm = {"step": 2, "cause": "entropy", "action": "stopped", "text": "entropy is <0.1>"}
    write_lines(folder / "zero" / "alarms.jsonl", [alarm])
    made = curves(read_run(folder))
    assert "step 3: entropy is &lt;0.1&gt;<small> stopped</small>" in made
    assert made.count('class="mark" x1="183.3"') == 4  # the third of four steps


def test_many_alarms_are_counted() -> None:
    alarms = tuple({"step": step, "cause": "gap"} for step in range(25))
    made = alarm_list(StageRun(name="a", kind="reinforce", start="b", alarms=alarms))
    assert made is not None
    assert made.count("<li>") == 21
    assert "and 5 more alarms" in made
