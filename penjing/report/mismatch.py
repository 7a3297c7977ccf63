"""How far the engine that speaks and the trainer that learns differ on the same tokens."""

from collections.abc import Sequence
from statistics import fmean

from penjing.report.axis import domain
from penjing.report.chart import Frame, line_chart
from penjing.report.markup import Html, Node, element, joined
from penjing.report.run import Run, StageRun
from penjing.report.series import every, series
from penjing.report.table import table
from penjing.report.wording import counted, percent, plain, tick

HEADERS = ("Stage", "Largest gap", "Mean gap", "Ratios", "Clipped", "Divergence")


def mismatch(run: Run) -> Html:
    stages = [stage for stage in run.stages if every(stage, "largest_gap")]
    lead = (
        "The gap is between the log-probabilities that the engine gave its tokens and those that "
        "the trainer gives them before it learns. A gap is learnt from as if it were a signal. "
        "Ratios are of probabilities after updates from the same rollouts to those before."
    )
    if not stages:
        return element("p", "No stage has learnt from rewards so far.", class_="lead")
    rows = [_row(stage) for stage in stages]
    return joined(
        element("p", lead, class_="lead"),
        element("p", _verdict(stages), class_="finding"),
        table(HEADERS, rows, figures=range(1, len(HEADERS))),
        _charts([stage for stage in stages if max(every(stage, "largest_gap")) > 0]),
    )


def _verdict(stages: Sequence[StageRun]) -> str:
    gaps = [gap for stage in stages for gap in every(stage, "largest_gap")]
    if max(gaps) == 0:
        return f"None: the same bits in all of {counted(len(gaps), 'step')}."
    worst = max(stages, key=lambda stage: max(every(stage, "largest_gap")))
    return f"At most {plain(max(gaps))}, in {worst.name}."


def _row(stage: StageRun) -> list[Node]:
    least, most = every(stage, "least_ratio"), every(stage, "most_ratio")
    clipped, divergence = every(stage, "clipped"), every(stage, "divergence")
    return [
        stage.name,
        plain(max(every(stage, "largest_gap"))),
        _mean(every(stage, "mean_gap")),
        f"{plain(min(least))} to {plain(max(most))}" if least and most else None,
        percent(fmean(clipped)) if clipped else None,
        _mean(divergence),
    ]


def _mean(values: Sequence[float]) -> str | None:
    return plain(fmean(values)) if values else None


def _charts(stages: Sequence[StageRun]) -> Html | None:
    if not stages:
        return None
    ends = domain((gap for stage in stages for gap in every(stage, "largest_gap")), least=0.0)
    drawn = [_chart(stage, ends) for stage in stages]
    return element("div", *drawn, class_="charts")


def _chart(stage: StageRun, ends: tuple[float, float]) -> Html | None:
    line = series(stage, "largest_gap")
    if line is None:
        return None
    frame = Frame(steps=(1.0, line.steps[-1]), values=ends, write=tick)
    label = f"Largest gap of log-probabilities in {stage.name} over its steps"
    caption = element("figcaption", element("b", f"Largest gap, {stage.name}"))
    return element("figure", caption, line_chart(line, frame, label))
