"""``penjing validate``: predicted beside measured, row by row and by group."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from penjing.cli.answer import Answer, Json, table
from penjing.cost.interval import Metric
from penjing.plan.validate.folds import Folds, LeftOut, leave_one_chip_out, leave_one_source_out
from penjing.plan.validate.outcome import Outcome, outcomes
from penjing.plan.validate.row import Row, read_rows
from penjing.plan.validate.summary import Breakdown, Run, Score, Summary, summarise

NAME = "validate"
HELP = "predicted against measured, row by row and by group, for a file of measurements"

SCORE_HEADERS = ("rows", "predicted", "runs", "median", "mean", "p90", "bias", "in interval")
FOLD_HEADERS = ("metric", "left out", "runs", "as is", "hidden", "recalibrated", "in interval")
_PROGRESS_ROWS = 500
_READING = (
    "Errors are |predicted / measured - 1| over runs: the rows of one run and metric count once. "
    "Bias is the median signed error, + where predicted too fast. In interval: share of the runs "
    "inside their 80 % intervals."
)
_READING_FOLDS = (
    "Left out: each source (chip) in turn is predicted with one factor a metric learnt from the "
    "others; a chip also has its kernel curves hidden. In interval: share of its runs inside the "
    "10-90 % range of the others' errors."
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.csv", help="measurements, one a row")
    parser.add_argument(
        "--folds", action="store_true", help="also leave out each source and chip (slower)"
    )
    parser.add_argument(
        "--worst", type=int, default=10, metavar="N", help="how many of the worst runs to list"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    found = outcomes(_told(read_rows(arguments.file)))
    summary = summarise(found)
    folds = _folds(found) if arguments.folds else {}
    document: Json = {
        "rows": [_row_document(outcome) for outcome in found],
        "summary": summary_document(summary, folds),
    }
    if not found:
        return Answer(document=document, text=f"{arguments.file} has no rows: nothing to compare")
    parts = [*_summary_text(summary, max(0, arguments.worst)), *_folds_text(folds)]
    return Answer(document=document, text="\n\n".join(parts))


def summary_document(summary: Summary, folds: Mapping[str, Folds]) -> dict[str, Json]:
    """The ``summary`` of ``--json``: fractions, not per cent."""
    coverage = summary.coverage
    document: dict[str, Json] = {
        "coverage": {**asdict(coverage), "share": coverage.share},
        "headline": _scores(summary.headline),
        "by_metric": _scores(summary.by_metric),
        "by_chip_family": _breakdowns(summary.by_chip_family),
        "by_model_family": _breakdowns(summary.by_model_family),
        "by_source": _breakdowns(summary.by_source),
        "by_engine": _breakdowns(summary.by_engine),
        "unmapped": dict(summary.unmapped),
    }
    if folds:
        document["folds"] = {name: _fold_document(fold) for name, fold in folds.items()}
    return document


def score_cells(score: Score) -> list[str]:
    """One line of a table of scores, in the order of its headers."""
    return [
        str(score.rows),
        str(score.mapped),
        str(score.leak_groups),
        percent(score.median_error),
        percent(score.mean_error),
        percent(score.p90_error),
        percent(score.bias, signed=True),
        percent(score.interval_coverage),
    ]


def percent(share: float | None, *, signed: bool = False) -> str:
    """``12.3 %``; ``-`` where there is none."""
    if share is None:
        return "-"
    return f"{100 * share:+.1f} %" if signed else f"{100 * share:.1f} %"


def _told(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows; says on a terminal how far it is."""
    for place, row in enumerate(rows):
        if place and place % _PROGRESS_ROWS == 0 and sys.stderr.isatty():
            print(f"{place} of {len(rows)} rows", file=sys.stderr)
        yield row


def _folds(found: Sequence[Outcome]) -> dict[str, Folds]:
    return {
        "leave_one_source_out": leave_one_source_out(found),
        "leave_one_chip_out": leave_one_chip_out(found),
    }


def _row_document(outcome: Outcome) -> Json:
    return {
        "id": outcome.row.id,
        "predicted": outcome.predicted,
        "low": outcome.low,
        "high": outcome.high,
        "measured": outcome.row.value,
        "error": None if outcome.predicted is None else outcome.error,
        "reason": outcome.reason or None,
    }


def _scores(scores: Mapping[str, Score]) -> Json:
    return {name: _score_document(score) for name, score in scores.items()}


def _score_document(score: Score) -> dict[str, Json]:
    return {**asdict(score), "coverage": score.coverage}


def _breakdowns(groups: Mapping[str, Breakdown]) -> Json:
    return {
        name: {**_score_document(group.total), "by_metric": _scores(group.by_metric)}
        for name, group in groups.items()
    }


def _fold_document(folds: Folds) -> Json:
    return {
        metric.value: {
            "overall": asdict(fold.overall),
            "parts": {name: asdict(part) for name, part in fold.parts.items()},
        }
        for metric, fold in folds.items()
    }


def _summary_text(summary: Summary, worst: int) -> Iterator[str]:
    coverage = summary.coverage
    yield (
        f"{coverage.rows} rows: {coverage.kernels} of single kernels, {coverage.ambiguous} "
        f"ambiguous (trust C), {coverage.scored} scored; {coverage.mapped} of these predicted "
        f"({percent(coverage.share)})"
    )
    yield _READING
    yield _score_table("headline", summary.headline)
    yield _score_table("metric", summary.by_metric)
    yield _score_table("chip family", _totals(summary.by_chip_family))
    yield _score_table("model family", _totals(summary.by_model_family))
    yield _score_table("source", _totals(summary.by_source))
    yield _score_table("engine", _totals(summary.by_engine))
    if summary.unmapped:
        yield table(("rows", "why not predicted"), [(n, r) for r, n in summary.unmapped.items()])
    if summary.worst[:worst]:
        yield _worst_table(summary.worst[:worst])


def _totals(groups: Mapping[str, Breakdown]) -> dict[str, Score]:
    return {name: group.total for name, group in groups.items()}


def _score_table(name: str, scores: Mapping[str, Score]) -> str:
    rows = [[label, *score_cells(score)] for label, score in scores.items()]
    return table((name, *SCORE_HEADERS), rows)


def _worst_table(worst: Iterable[Run]) -> str:
    headers = ("worst runs", "metric", "model", "chip", "run")
    rows = []
    for run in worst:
        row, side = run.outcomes[0].row, "fast" if run.faster > 0 else "slow"
        off = f"{math.exp(abs(run.faster)):.1f}x too {side}"
        rows.append((off, run.metric, row.model, f"{row.chips_total}x{row.chip}", run.name))
    return table(headers, rows)


def _folds_text(folds: Mapping[str, Folds]) -> Iterator[str]:
    if folds:
        yield _READING_FOLDS
    for name, fold in folds.items():
        yield f"{name.replace('_', ' ')}\n\n{table(FOLD_HEADERS, fold_rows(fold))}"


def fold_rows(folds: Folds) -> list[list[str]]:
    """All parts together and each part, metric by metric."""
    rows = []
    for metric, fold in folds.items():
        rows.append(_fold_row(metric, "all, each in turn", fold.overall))
        rows += [_fold_row(metric, name, part) for name, part in fold.parts.items()]
    return rows


def _fold_row(metric: Metric, name: str, part: LeftOut) -> list[str]:
    return [
        metric.value,
        name,
        str(part.leak_groups),
        percent(part.own_error),
        percent(part.hidden_error),
        percent(part.recalibrated_error),
        percent(part.within),
    ]
