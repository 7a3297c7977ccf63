"""Figures of a run and of two runs as text for people."""

from tabulate import tabulate

from penjing.evaluate.compare import Comparison
from penjing.evaluate.intervals import Estimate
from penjing.evaluate.measures import Distribution, Measures

_MOST_CHANGES = 10


def measures_text(found: Measures) -> str:
    rows = [*_correctness(found), *_cost(found)]
    text = tabulate(rows, tablefmt="plain", disable_numparse=True)
    notes = _notes(found)
    return "\n\n".join([text, *notes])


def comparison_text(found: Comparison) -> str:
    """The second against the first."""
    low, high = found.interval.low, found.interval.high
    lines = [
        f"first   {_percent(found.first)}",
        f"second  {_percent(found.second)}",
        f"difference {_points(found.difference)}, 95 % interval {_points(low)} to {_points(high)}, "
        f"p = {found.p_value:.3g} ({found.test}, paired, {found.num_problems:,} problems)",
        f"{found.num_better:,} problems better, {found.num_worse:,} worse, "
        f"{found.num_equal:,} equal",
    ]
    alone = [
        (found.num_only_first, "problems only in the first"),
        (found.num_only_second, "problems only in the second"),
        (found.num_unjudged, "problems that the judge failed on"),
    ]
    left_out = [f"{count:,} {what}" for count, what in alone if count]
    if left_out:
        lines.append(f"left out: {', '.join(left_out)}")
    changes = [(c.problem, _percent(c.first), _percent(c.second)) for c in found.changed]
    if changes:
        headers = ("changed most", "first", "second")
        rows = changes[:_MOST_CHANGES]
        lines += ["", tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)]
    return "\n".join(lines)


def _correctness(found: Measures) -> list[tuple[str, str]]:
    rows = [(f"pass@{k}", _estimate(one)) for k, one in found.pass_at_k.items()]
    if found.consensus is not None:
        rows.append((f"cons@{found.most_samples}", _estimate(found.consensus)))
    return rows


def _cost(found: Measures) -> list[tuple[str, str]]:
    rows = [
        ("problems", f"{found.num_problems:,}, {found.num_samples:,} samples"),
        ("truncated", _percent(found.truncated_share)),
        ("no answer", _percent(found.ungradable_share)),
        ("thinking", _percent(found.thinking_share)),
        ("tokens", _lengths(found.lengths)),
        ("  of correct ones", _lengths(found.correct_lengths)),
        ("  of the others", _lengths(found.wrong_lengths)),
        (
            "tokens in all",
            f"{found.num_tokens:,} generated, {found.num_prompt_tokens:,} of prompts",
        ),
        ("  for each correct", _number(found.tokens_per_correct)),
        ("seconds a sample", f"{found.wall_s.mean:.2f}, at most {found.wall_s.max:.2f}"),
    ]
    return [(name, value) for name, value in rows if value]


def _notes(found: Measures) -> list[str]:
    notes = []
    if found.num_faults:
        notes.append(
            f"THE JUDGE FAILED on {found.num_faults:,} samples, which count neither way; "
            f"{found.num_unjudged_problems:,} problems have nothing else"
        )
    if found.fewest_samples < found.most_samples:
        notes.append(
            f"incomplete: problems have {found.fewest_samples:,} to {found.most_samples:,} samples"
        )
    return notes


def _estimate(one: Estimate) -> str:
    low, high = one.interval.low, one.interval.high
    return f"{_percent(one.value)}  95 % interval {100 * low:.1f} to {100 * high:.1f}"


def _lengths(found: Distribution | None) -> str:
    if found is None:
        return ""
    middle = f"mean {found.mean:,.0f}, median {found.p50:,.0f}"
    return f"{middle}, 95 % {found.p95:,.0f}, most {found.max:,.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} tokens"
