"""Lay predictions beside public measurements, and fit the intervals that predictions carry.

    python benchmarks/validate.py MEASUREMENTS.csv [--write-intervals]

Writes `benchmarks/results/validate.json` (every group and fold, with machine, commit and date)
and the tables of docs/results.md. With --write-intervals it first rewrites
`penjing/cost/intervals.toml` from the errors of sources left out.
"""

import argparse
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from result import ROOT, publish, save, table, today, write

from penjing.cli.validate import (
    FOLD_HEADERS,
    SCORE_HEADERS,
    fold_rows,
    percent,
    score_cells,
    summary_document,
)
from penjing.cost import interval
from penjing.cost.interval import Metric
from penjing.plan.validate.folds import Folds, leave_one_chip_out, leave_one_source_out
from penjing.plan.validate.outcome import outcomes
from penjing.plan.validate.row import Row, read_rows
from penjing.plan.validate.spread import Fitted, fit_spreads
from penjing.plan.validate.summary import Breakdown, Run, Score, Summary, summarise

INTERVALS = ROOT / "penjing" / "cost" / "intervals.toml"
FEW_RUNS = 5  # a group of fewer is left out of the printed tables, not of the results
WORST = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="MEASUREMENTS.csv")
    parser.add_argument("--write-intervals", action="store_true")
    arguments = parser.parse_args()
    rows = read_rows(arguments.file)
    if arguments.write_intervals:
        write(INTERVALS, intervals_toml(fit_spreads(outcomes(rows)), rows))
        interval.spreads.cache_clear()
    found = outcomes(rows)
    summary = summarise(found)
    folds = {
        "leave_one_source_out": leave_one_source_out(found),
        "leave_one_chip_out": leave_one_chip_out(found),
    }
    measurements = {
        "file": arguments.file.name,
        "sha256": hashlib.sha256(arguments.file.read_bytes()).hexdigest(),
    }
    save("validate", {"measurements": measurements, "summary": summary_document(summary, folds)})
    publish("summary", summary_parts(summary))
    publish("folds", fold_parts(folds))


def intervals_toml(fitted: Mapping[tuple[Metric, bool], Fitted], rows: Sequence[Row]) -> str:
    missing = {metric for metric in Metric if (metric, True) not in fitted}
    if missing:
        raise SystemExit(f"no measurement of {', '.join(sorted(missing))}: intervals not written")
    sources = len({row.source_key for row in rows})
    lines = [
        "# Written by benchmarks/validate.py --write-intervals; figures are not edited by hand.",
        "",
        'provenance = """',
        f"{len(rows):,} public measurements from {sources} sources, {today()}: 10 % and 90 %",
        "quantiles of truth / predicted, every run counted once, each source about the centre of",
        "the others. Factors are on seconds for tpot and ttft, on rates for the rest. together:",
        "too few runs or sources for one kind of chip, so both kinds are pooled.",
        '"""',
    ]
    for (metric, derived), fit in fitted.items():
        lines += [
            "",
            "[[interval]]",
            f'metric = "{metric.value}"',
            f'curves = "{"derived" if derived else "measured"}"',
            f"low = {fit.spread.low:.3f}",
            f"high = {fit.spread.high:.3f}",
            f"groups = {fit.spread.groups}",
            f"sources = {fit.sources}",
            f"together = {str(fit.together).lower()}",
        ]
    return "\n".join(lines) + "\n"


def summary_parts(summary: Summary) -> Iterable[str]:
    coverage = summary.coverage
    yield (
        f"{coverage.rows:,} rows: {coverage.kernels:,} of single kernels, {coverage.ambiguous} "
        f"ambiguous (trust C), {coverage.scored:,} scored; {coverage.mapped:,} of these predicted "
        f"({percent(coverage.share)})."
    )
    yield score_table("headline", summary.headline)
    yield score_table("metric", summary.by_metric)
    yield crossed_table("chip family", summary.by_chip_family)
    yield crossed_table("model family", summary.by_model_family)
    yield crossed_table("source", summary.by_source)
    yield table(("rows", "why not predicted"), [(str(n), r) for r, n in summary.unmapped.items()])
    headers = ("worst runs", "metric", "model", "chips", "source")
    yield table(headers, [worst_row(run) for run in summary.worst[:WORST]])


def fold_parts(folds: Mapping[str, Folds]) -> Iterable[str]:
    for name, fold in folds.items():
        yield f"**{name.replace('_', ' ').capitalize()}**"
        yield table(FOLD_HEADERS, [row for row in fold_rows(fold) if int(row[2]) >= FEW_RUNS])


def worst_row(run: Run) -> tuple[str, ...]:
    row, side = run.outcomes[0].row, "fast" if run.faster > 0 else "slow"
    off = f"{math.exp(abs(run.faster)):.1f}x too {side}"
    return (off, run.metric, row.model, f"{row.chips_total} x {row.chip}", row.source_key)


def score_table(name: str, scores: Mapping[str, Score]) -> str:
    return table((name, *SCORE_HEADERS), [[n, *score_cells(s)] for n, s in scores.items()])


def crossed_table(name: str, groups: Mapping[str, Breakdown]) -> str:
    """Median error and bias by metric, with the number of runs."""
    metrics = [metric.value for metric in Metric]
    kept = {n: g for n, g in groups.items() if g.total.leak_groups >= FEW_RUNS}
    rows = [[n, *(crossed_cell(g.by_metric.get(m)) for m in metrics)] for n, g in kept.items()]
    return table((name, *metrics), rows)


def crossed_cell(score: Score | None) -> str:
    if score is None or score.median_error is None:
        return ""
    return (
        f"{percent(score.median_error)} ({percent(score.bias, signed=True)}; {score.leak_groups})"
    )


if __name__ == "__main__":
    main()
