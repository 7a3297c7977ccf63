"""What each stage came to, measured on the same held-out problems."""

from collections.abc import Sequence

from penjing.evaluate.compare import Comparison
from penjing.report.chart import interval_bar
from penjing.report.estimates import (
    Share,
    against_its_start,
    consensus,
    mean_length,
    pass_at_one,
    pass_at_one_of_others,
    thinking_share,
)
from penjing.report.markup import Html, Node, element, joined
from penjing.report.run import Run, StageRun, found, number
from penjing.report.table import noted, table
from penjing.report.wording import between, counted, percent, plain, points
from penjing.units import format_seconds


def stage_table(run: Run) -> Html:
    begun = [stage for stage in run.stages if stage.has_begun]
    others = list(dict.fromkeys(t for stage in begun for t in pass_at_one_of_others(stage)))
    task = found(run.recipe, "evaluation", "task")
    headers = (
        "Stage",
        f"pass@1, {task}" if task else "pass@1",
        "Against its start",
        "cons@n",
        *others,
        "Tokens",
        "Thinking",
        "Time",
    )
    rows = [_row(run, stage, others) for stage in begun]
    return joined(
        element("p", _lead(others), class_="lead"),
        table(headers, rows, figures=range(3, len(headers))) if rows else None,
        _not_begun(run),
    )


def _lead(others: Sequence[str]) -> str:
    beside = " Beside them stands pass@1 of other tasks." if others else ""
    return (
        "Every trained stage answers the same held-out problems. In brackets, and as lines from 0 "
        "to 100\u202f%, are intervals of 95\u202f% over problems; a stage is held against what it "
        f"began from problem by problem, in points of a hundred.{beside}"
    )


def _not_begun(run: Run) -> Html | None:
    names = [stage.name for stage in run.stages if not stage.has_begun]
    return element("p", f"Not begun: {', '.join(names)}.", class_="note") if names else None


def state(stage: StageRun) -> str:
    """How far a stage has come that is not done."""
    if stage.done is not None:
        return ""
    whole = number(stage.settings.get("steps"))
    of = f" of {whole:,.0f}" if whole else ""
    return f"stopped or still going: {len(stage.steps):,}{of} steps"


def _row(run: Run, stage: StageRun, others: Sequence[str]) -> list[Node]:
    length, thinking = mean_length(stage), thinking_share(stage)
    beside = pass_at_one_of_others(stage)
    is_held_out = stage.kind != "reject"  # which samples problems of training
    return [
        noted(stage.name, f"{stage.kind} from {stage.start}", state(stage), _rows_kept(stage)),
        _bar(pass_at_one(stage), stage) if is_held_out else None,
        _change(against_its_start(run, stage)),
        _share(consensus(stage)) if is_held_out else None,
        *(_share(beside.get(task)) for task in others),
        None if length is None else plain(length),
        None if thinking is None else percent(thinking, 0),
        None if stage.wall_s is None else format_seconds(stage.wall_s),
    ]


def _rows_kept(stage: StageRun) -> str:
    rows = number(found(stage.done, "rows"))
    samples = number(found(stage.done, "measures", "num_samples"))
    if rows is None:
        return ""
    of = "" if samples is None else f" of {counted(int(samples), 'sample')}"
    return f"keeps {rows:,.0f}{of}"


def _bar(share: Share | None, stage: StageRun) -> Html | None:
    if share is None:
        return None
    said = f"{percent(share.value)} ({between(share.low, share.high)})"
    label = f"pass@1 of {stage.name}: {said}"
    bar = element("span", interval_bar(share.value, share.low, share.high, label), class_="bar")
    return joined(bar, element("span", said, class_="said"))


def _share(share: Share | None) -> Html | None:
    if share is None:
        return None
    return noted(percent(share.value), f"({between(share.low, share.high)})")


def _change(comparison: Comparison | None) -> Html | None:
    if comparison is None:
        return None
    low, high = comparison.interval.low, comparison.interval.high
    sure = "up" if low > 0 else "down" if high < 0 else "unsure"
    sign = "+" if comparison.difference > 0 else ""
    said = f"{sign}{points(comparison.difference)} ({points(low)} to {points(high)})"
    return element("span", said, class_=f"change {sure}")
