"""Reward, accuracy, length and entropy over the steps of each stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from penjing.report.axis import domain
from penjing.report.chart import Frame, line_chart
from penjing.report.markup import Html, element, joined
from penjing.report.run import Run, StageRun, number
from penjing.report.series import every, series
from penjing.report.stage_table import state
from penjing.report.wording import counted, percent, plain, share_tick, tick


@dataclass(frozen=True, kw_only=True)
class Measure:
    """``least`` is a figure that the axis always holds."""

    key: str
    name: str
    unit: str = ""
    is_share: bool = False
    least: float | None = 0.0

    @property
    def tick(self) -> Callable[[float], str]:
        return share_tick if self.is_share else tick

    def write(self, value: float) -> str:
        return percent(value) if self.is_share else plain(value)


OF_REWARDS = (
    Measure(key="reward", name="Reward"),
    Measure(key="reward.accuracy", name="Accuracy", is_share=True),
    Measure(key="length", name="Length", unit="tokens"),
    Measure(key="entropy", name="Entropy", unit="nats"),
)
OF_TEXTS = (
    Measure(key="loss", name="Loss", unit="nats"),
    Measure(key="entropy", name="Entropy", unit="nats"),
)


def curves(run: Run) -> Html:
    kinds = (
        (
            "Learning from rewards",
            OF_REWARDS,
            [s for s in run.stages if s.kind in ("reinforce", "distil")],
        ),
        ("Learning from texts", OF_TEXTS, [s for s in run.stages if s.kind in ("pretrain", "sft")]),
    )
    lead = (
        "From the first step to the last; thin each step, thick the mean of a tenth of the steps "
        "around it. Beside each name stand the means of the first tenth and of the last. Charts of "
        "one name share their scale. Loss and entropy are per token."
    )
    return joined(
        element("p", lead, class_="lead"),
        *(_kind(title, measures, stages) for title, measures, stages in kinds),
    )


def _kind(title: str, measures: Sequence[Measure], stages: Sequence[StageRun]) -> Html | None:
    begun = [stage for stage in stages if stage.steps]
    if not begun:
        return None
    frames = {measure.key: _ends(measure, begun) for measure in measures}
    shown = [_stage(stage, measures, frames) for stage in begun]
    return joined(element("h3", title), *shown)


def _ends(measure: Measure, stages: Sequence[StageRun]) -> tuple[float, float]:
    values = [value for stage in stages for value in every(stage, measure.key)]
    return domain(values, least=measure.least)


def _stage(
    stage: StageRun, measures: Sequence[Measure], ends: dict[str, tuple[float, float]]
) -> Html:
    drawn = [_chart(stage, measure, ends[measure.key]) for measure in measures]
    head = element(
        "h4", stage.name, " ", element("small", state(stage) or counted(len(stage.steps), "step"))
    )
    return element(
        "section",
        head,
        _spent(stage),
        element("div", *drawn, class_="charts"),
        alarm_list(stage),
        class_="stage",
    )


def _chart(stage: StageRun, measure: Measure, ends: tuple[float, float]) -> Html | None:
    line = series(stage, measure.key)
    if line is None:
        return None
    first, last = (measure.write(value) for value in line.ends)
    last_step = max(float(number(stage.settings.get("steps")) or 0.0), line.steps[-1])
    frame = Frame(steps=(1.0, last_step), values=ends, write=measure.tick)
    label = f"{measure.name} of {stage.name} over its steps, from {first} to {last}"
    alarms = [step + 1 for alarm in stage.alarms if (step := number(alarm.get("step"))) is not None]
    name = element("b", measure.name)
    unit = element("small", f" {measure.unit}") if measure.unit else None
    said = element("span", f"{first} \u2192 {last}", class_="said")
    return element(
        "figure",
        element("figcaption", element("span", name, unit), said),
        line_chart(line, frame, label, alarms),
    )


def _spent(stage: StageRun) -> Html | None:
    """On what the rollouts went."""
    tokens, wasted = (sum(every(stage, key)) for key in ("tokens", "wasted_tokens"))
    flat, cut = every(stage, "flat_groups"), every(stage, "truncated")
    facts = [f"{tokens:,.0f} tokens"]
    if wasted:
        facts.append(f"{wasted:,.0f} more in groups thrown away")
    if flat:
        facts.append(f"{plain(fmean(flat))} groups a step taught nothing: all alike")
    if cut:
        facts.append(f"{percent(fmean(cut))} cut short")
    return element("p", "; ".join(facts), class_="note") if tokens else None


def alarm_list(stage: StageRun) -> Html | None:
    """What went wrong, and what was done about it."""
    if not stage.alarms:
        return None
    rows = [
        element(
            "li",
            f"step {(number(alarm.get('step')) or 0.0) + 1:,.0f}: "
            f"{alarm.get('text') or alarm.get('cause') or 'an alarm'}",
            element("small", f" {action}") if (action := alarm.get("action")) else None,
        )
        for alarm in stage.alarms[:20]
    ]
    more = len(stage.alarms) - len(rows)
    rest = element("li", f"and {counted(more, 'more alarm')}") if more else None
    return element("ul", *rows, rest, class_="alarms")
