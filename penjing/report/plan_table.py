"""What the plan said of each stage, and what happened."""

from collections.abc import Callable

from penjing.report.chart import target_bar
from penjing.report.markup import Html, Node, element, joined
from penjing.report.run import Run, StageRun, number
from penjing.report.table import noted, table
from penjing.units import format_bytes, format_seconds

HEADERS = ("Stage", "Time", "Took", "Peak memory")


def plan_table(run: Run) -> Html:
    shown = [stage for stage in run.stages if stage.has_begun or stage_plan(stage)]
    most = max((_most_s(stage) for stage in shown), default=0.0)
    lead = (
        "A bar is the time a stage took, the stroke across it what was planned before its first "
        "step. Memory is the most that the process held meanwhile."
        if any(stage_plan(stage) for stage in shown)
        else "No plan was made before these stages ran, so there is nothing to hold them against."
    )
    rows = [_row(stage, most or 1.0) for stage in shown]
    return joined(element("p", lead, class_="lead"), table(HEADERS, rows, figures=range(2, 4)))


def stage_plan(stage: StageRun) -> tuple[float | None, float | None] | None:
    """Seconds and bytes that were predicted, if any were."""
    seconds = number(stage.predicted.get("seconds"))
    size = number(stage.predicted.get("bytes"))
    return None if seconds is None and size is None else (seconds, size)


def _most_s(stage: StageRun) -> float:
    seconds, _ = stage_plan(stage) or (None, None)
    return max(stage.wall_s or 0.0, seconds or 0.0)


def _row(stage: StageRun, most_s: float) -> list[Node]:
    planned_s, planned_bytes = stage_plan(stage) or (None, None)
    took_s, had_bytes = stage.wall_s, stage.peak_bytes
    took = "not begun" if took_s is None else f"took {format_seconds(took_s)}"
    planned = "" if planned_s is None else f", {format_seconds(planned_s)} were planned"
    bar = target_bar(took_s or 0.0, planned_s, most_s, f"{stage.name}: {took}{planned}")
    state = "" if stage.done is not None else "so far" if stage.has_begun else "not begun"
    return [
        noted(stage.name, state),
        element("span", bar, class_="bar"),
        _beside(took_s, planned_s, format_seconds),
        _beside(had_bytes, planned_bytes, format_bytes),
    ]


def _beside(
    real: float | None, planned: float | None, write: Callable[[float], str]
) -> Html | None:
    note = "" if planned is None else f"planned {write(planned)}"
    if real is None:
        return noted(None, note) if note else None
    return noted(write(real), note, ratio(real, planned))


def ratio(real: float, planned: float | None) -> str:
    """Of a plan that foresaw something."""
    return f"\u00d7\u202f{real / planned:.2f}" if planned and planned > 0 else ""
