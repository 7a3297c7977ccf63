"""What was measured behind a stage, as its record says, and whether it beat what it began from."""

from collections.abc import Mapping
from dataclasses import dataclass

from penjing.errors import Contradiction
from penjing.evaluate.compare import Comparison, compare
from penjing.report.run import Facts, Run, StageRun, found, number


@dataclass(frozen=True, kw_only=True)
class Share:
    """Between 0 and 1, with its interval."""

    value: float
    low: float
    high: float


def pass_at_one(stage: StageRun) -> Share | None:
    return _share(found(stage.done, "measures", "pass_at_k", "1"))


def pass_at_one_of_others(stage: StageRun) -> dict[str, Share]:
    """By task, of those measured beside the one that the stages are held against."""
    others = found(stage.done, "others")
    tasks = others if isinstance(others, Mapping) else {}
    shares = {str(task): _share(found(m, "pass_at_k", "1")) for task, m in tasks.items()}
    return {task: share for task, share in shares.items() if share is not None}


def consensus(stage: StageRun) -> Share | None:
    return _share(found(stage.done, "measures", "consensus"))


def mean_length(stage: StageRun) -> float | None:
    """Tokens of a response, thinking included."""
    return number(found(stage.done, "measures", "lengths", "mean"))


def thinking_share(stage: StageRun) -> float | None:
    """Of those tokens."""
    return number(found(stage.done, "measures", "thinking_share"))


def against_its_start(run: Run, stage: StageRun) -> Comparison | None:
    """Paired by problem; None where either was not measured, or no problem is in both."""
    before = run.stage(stage.start)
    if before is None or not (before.samples and stage.samples and stage.done and before.done):
        return None
    try:
        return compare(before.samples, stage.samples)
    except Contradiction:
        return None


def _share(facts: Facts | None) -> Share | None:
    value = number(found(facts, "value"))
    low, high = (number(found(facts, "interval", end)) for end in ("low", "high"))
    if value is None or low is None or high is None:
        return None
    return Share(value=value, low=low, high=high)
