"""A plan in words and tables."""

from collections.abc import Sequence
from typing import assert_never

from tabulate import tabulate

from penjing.plan.job import Job, RlJob, ServeJob, TrainJob
from penjing.plan.plan import (
    MemoryUse,
    OperatorClass,
    Plan,
    Predicted,
    RlFigures,
    ServeFigures,
    ServingGroup,
    TrainFigures,
    TrainingGroup,
)
from penjing.units import format_bytes, format_seconds, format_si

Row = Sequence[object]


def explain(plan: Plan) -> str:
    """Everything a plan says, for people."""
    parts = [
        headline(plan),
        "\n".join(group_line(group) for group in plan.groups),
        _table(("", "predicted", "4 in 5 lie within", "basis"), figure_rows(plan)),
        _limits(plan),
        _table(("memory of the fullest chip", *_roles(plan)), memory_rows(plan)),
        _operators(plan),
        _alternatives(plan),
        _searched(plan),
        "\n".join(f"- {reason}" for reason in plan.reasons),
        "\n".join(f"- {line}" for line in plan.provenance),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(plan: Plan) -> str:
    return f"{plan.job.model} on {plan.budget}: {_wanted(plan.job)}"


def _wanted(job: Job) -> str:
    match job:
        case ServeJob():
            limits = [
                f"{name} within {format_seconds(limit)}"
                for name, limit in (("TPOT", job.tpot_limit_s), ("TTFT", job.ttft_limit_s))
                if limit is not None
            ]
            what = f"serve {job.input_tokens:,} tokens in, {job.output_tokens:,} out"
        case TrainJob():
            limits = []
            what = f"train on {_count(job.tokens)} tokens, {job.batch:,} x {job.sequence:,} a step"
        case RlJob():
            limits = []
            what = (
                f"GRPO, {job.prompts:,} prompts x {job.group} responses a step of "
                f"{job.output_tokens:,} tokens, up to {job.longest_output:,}"
            )
        case _:
            assert_never(job)
    return ", ".join([what, *limits, f"best {job.objective}"])


def _count(number: float) -> str:
    """Written as --tokens reads it: 1B, 14.8T."""
    return format_si(number, "").replace(" ", "").replace("G", "B")


def group_line(group: ServingGroup | TrainingGroup) -> str:
    """What one group of chips runs."""
    match group:
        case ServingGroup():
            drafts = f", {group.draft_depth} drafted tokens a step" if group.draft_depth else ""
            return (
                f"{group.role}: {group.instances} x [{group.layout}] on {group.chips} "
                f"{group.chip}, {group.weights} weights, {group.cache} cache{drafts}, "
                f"{group.sequences} sequences in flight on each, as {group.engine} would run it"
            )
        case TrainingGroup():
            return (
                f"train: [{group.layout}] on {group.chips} {group.chip}, {group.weights} products, "
                f"micro-batch {group.micro_batch}, {group.virtual_stages} virtual stages, "
                f"ZeRO-{group.zero}, recompute {group.recompute}, optimizer "
                f"{'in host memory' if group.offload else 'on the chip'}, "
                f"as well tuned as the {group.stack} stack"
            )
        case _:
            assert_never(group)


def figure_rows(plan: Plan) -> list[Row]:
    """Name, value, interval and basis of each predicted figure."""
    match plan.figures:
        case ServeFigures():
            return _serve_rows(plan.figures)
        case TrainFigures():
            return _train_rows(plan.figures)
        case RlFigures():
            return _rl_rows(plan.figures)
        case _:
            assert_never(plan.figures)


def _serve_rows(figures: ServeFigures) -> list[Row]:
    rows = [
        _row("throughput", figures.tokens_per_s, "tok/s"),
        _row("  for each chip", figures.tokens_per_s_per_chip, "tok/s"),
        _row("requests", figures.requests_per_s, "/s"),
        _row("time per output token", figures.tpot_s, "s"),
        _row("time to first token", figures.ttft_s, "s"),
    ]
    if figures.power_w is not None and figures.joules_per_token is not None:
        rows.append(_row("power, chips alone", figures.power_w, "W"))
        rows.append(_row("energy a token", figures.joules_per_token, "J"))
    if figures.usd_per_million_tokens is not None:
        rows.append(_row("price of 1M output tokens", figures.usd_per_million_tokens, "USD"))
    return rows


def _train_rows(figures: TrainFigures) -> list[Row]:
    rows = [
        _row("throughput", figures.tokens_per_s, "tok/s"),
        _row("  for each chip", figures.tokens_per_s_per_chip, "tok/s"),
        _row("model FLOPs of BF16 peak", figures.model_flops_utilization, "%"),
        _row("step", figures.step_s, "s"),
        *_part_rows(figures.parts_s),
        _row("whole run", figures.total_s, "s"),
        _row("chip-hours", figures.chip_hours, ""),
    ]
    if figures.power_w is not None:
        rows.append(_row("power, chips alone", figures.power_w, "W"))
    if figures.usd is not None:
        rows.append(_row("price", figures.usd, "USD"))
    return rows


def _rl_rows(figures: RlFigures) -> list[Row]:
    rows = [
        _row("step", figures.step_s, "s"),
        *_part_rows(figures.parts_s),
        _row("generated", figures.tokens_per_s, "tok/s"),
        _row("  for each chip", figures.tokens_per_s_per_chip, "tok/s"),
    ]
    if figures.usd_per_step is not None:
        rows.append(_row("price of a step", figures.usd_per_step, "USD"))
    return rows


def _part_rows(parts_s: dict[str, float]) -> list[Row]:
    return [(f"  {name}", format_seconds(s), "", "") for name, s in parts_s.items() if s > 0]


def _row(name: str, figure: Predicted, unit: str) -> Row:
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"{quantity(figure.low, unit)} to {quantity(figure.high, unit)}"
    return (name, quantity(figure.value, unit), interval, figure.basis)


def quantity(value: float, unit: str) -> str:
    """A figure with as many digits as it deserves."""
    match unit:
        case "s":
            return format_seconds(value)
        case "USD":
            return f"{value:,.2f} USD"
        case "%":
            return f"{value:.1%}"
        case _:
            digits = 0 if value >= 100 else 1 if value >= 10 else 2
            return f"{value:,.{digits}f} {unit}".rstrip()


def _limits(plan: Plan) -> str:
    """One sentence on what holds the plan back, one on what more of each rate would bring."""
    first = plan.operators[0]
    gains = ", ".join(f"{rate} {gain:+.1%}" for rate, gain in plan.gains.items())
    return (
        f"The largest part of {first.phase} is {first.name} ({first.share:.0%}), bound by "
        f"{first.bound}.\nThroughput with 10 % more of: {gains}."
    )


def _roles(plan: Plan) -> list[str]:
    return [g.role if isinstance(g, ServingGroup) else "train" for g in plan.groups]


def memory_rows(plan: Plan) -> list[Row]:
    """Bytes by kind, a column a group; kinds that nobody uses are left out."""
    uses = [group.memory for group in plan.groups]
    kinds = (
        "weights_bytes",
        "cache_bytes",
        "gradients_bytes",
        "optimizer_bytes",
        "activations_bytes",
        "reserved_bytes",
        "free_bytes",
        "capacity_bytes",
        "host_bytes",
    )
    return [
        (kind.removesuffix("_bytes"), *(_bytes(use, kind) for use in uses))
        for kind in kinds
        if any(getattr(use, kind) for use in uses)
    ]


def _bytes(use: MemoryUse, kind: str) -> str:
    return format_bytes(getattr(use, kind))


def _operators(plan: Plan) -> str:
    rows = [_operator_row(row) for row in plan.operators if row.share >= 0.005]
    headers = ("pass", "operators", "time", "share", "bound by", "slack")
    saved = ("+10% compute", "bandwidth", "link")
    return _table((*headers, *saved), rows)


def _operator_row(row: OperatorClass) -> Row:
    saved = (f"{-part:.1%}" if part else "" for part in row.saved_by.values())
    return (
        row.phase,
        row.name,
        format_seconds(row.seconds),
        f"{row.share:.1%}",
        row.bound,
        f"{row.slack:.0%}",
        *saved,
    )


def _alternatives(plan: Plan) -> str:
    rows = [
        (
            other.layout,
            f"{other.tokens_per_s:,.0f} tok/s",
            "" if other.tpot_s is None else format_seconds(other.tpot_s),
            "" if other.ttft_s is None else format_seconds(other.ttft_s),
            "" if other.step_s is None else format_seconds(other.step_s),
            f"{other.behind:.1%}",
        )
        for other in plan.alternatives
    ]
    if not rows:
        return ""
    headers = ("runners-up", "throughput", "TPOT", "TTFT", "step", "behind by")
    kept = [i for i in range(len(headers)) if any(row[i] for row in rows)]
    return _table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _searched(plan: Plan) -> str:
    fallen = "; ".join(f"{count:,}: {reason}" for reason, count in plan.infeasible.items())
    points = f", {plan.points_tried:,} operating points" if plan.points_tried else ""
    return f"{plan.layouts_tried:,} layouts tried{points}. Fell: {fallen or 'none'}."


def _table(headers: Sequence[str], rows: Sequence[Row]) -> str:
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)
