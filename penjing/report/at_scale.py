"""What the same recipe would take at DeepSeek-R1's size, by the planner.

The recipe's counts stay: steps, batches, groups, problems. Its lengths become R1's, and so does
its model. What is assumed is in ``ASSUMED``, to be printed beside the figures.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil
from typing import assert_never

from penjing.errors import PenjingError
from penjing.hardware.budget import Budget, parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.plan.job import Job, RlJob, ServeJob, TrainJob
from penjing.plan.plan import Basis, Plan, Predicted, RlFigures, ServeFigures, TrainFigures
from penjing.plan.planner import Terms, make_plan
from penjing.plan.predicted import inverse, times
from penjing.plan.price import Price, prices
from penjing.report.run import Run, StageRun, found, number

MODEL = "deepseek-r1"
CHIPS = ("H20", "H800", "H200")
NUM_CHIPS = 128  # 16 nodes of 8: the fewest, in powers of two, that train R1 on all three
RESPONSE = 5355  # mean tokens of R1's 804,745 samples: arXiv 2501.12948v2, table 5
LONGEST = 32_768  # of a response in R1's reinforcement learning: doi 10.1038/s41586-025-09422-z
QUESTION = 256  # nobody says; a guess
H800_USD_PER_H = 2.0  # what DeepSeek reckons with: arXiv 2412.19437, table 1

ASSUMED = (
    f"{NUM_CHIPS} chips of each kind, in nodes of 8.",
    f"Responses of {RESPONSE:,} tokens, the mean of R1\u2019s 804,745 fine-tuning samples "
    f"(arXiv 2501.12948v2, table 5), none longer than {LONGEST:,}; questions of {QUESTION}, "
    "which is a guess.",
    "Steps, batches, groups and problems as in this recipe, each text at its mean length.",
    "Evaluations are not counted, nor are hosts, people, or anything that failed.",
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """``job`` done ``count`` times: steps, or for sampling the tokens that are generated."""

    stage: str
    kind: str
    job: Job
    count: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """``usd`` is None where no price is known; ``why`` says that no layout fits."""

    seconds: Predicted | None = None
    usd: Predicted | None = None
    why: str = ""

    @property
    def chip_hours(self) -> Predicted | None:
        return None if self.seconds is None else times(self.seconds, NUM_CHIPS / 3600)


@dataclass(frozen=True, kw_only=True)
class Column:
    """Of one chip: costs in the order of the works, and where its price comes from."""

    chip: str
    costs: tuple[Cost, ...]
    price: Price | None

    @property
    def total(self) -> Cost:
        """Of those that fit; ends of intervals add up as if all were off to the same side."""
        fitting = [cost for cost in self.costs if cost.seconds is not None]
        left_out = len(self.costs) - len(fitting)
        return Cost(
            seconds=_sum(cost.seconds for cost in fitting),
            usd=_sum(cost.usd for cost in fitting),
            why=f"without {left_out} that do not fit" if left_out else "",
        )


@dataclass(frozen=True, kw_only=True)
class AtScale:
    """``left_out`` says of a stage why it has no row."""

    works: tuple[Work, ...]
    columns: tuple[Column, ...]
    left_out: Mapping[str, str]


def at_scale(
    run: Run, show: Callable[[str], None] = lambda text: None, chips: Sequence[str] = CHIPS
) -> AtScale:
    """Takes the planner some ten seconds for each chip. ``show`` hears what is planned."""
    works, left_out = works_of(run)
    model = load_model(MODEL)
    columns = tuple(_column(chip, works, model, show) for chip in chips) if works else ()
    return AtScale(works=tuple(works), columns=columns, left_out=left_out)


def works_of(run: Run) -> tuple[list[Work], dict[str, str]]:
    """Stages of the model that the first one begins from: others are smaller on purpose."""
    works: list[Work] = []
    left_out: dict[str, str] = {}
    for stage in run.stages:
        work = _work(run, stage)
        if run.model_of(stage) != run.model_of(run.stages[0]):
            left_out[stage.name] = f"a smaller model, {run.model_of(stage)}"
        elif work is None:
            is_known = stage.kind in ("reinforce", "pretrain", "sft", "reject")
            left_out[stage.name] = "its counts are not known" if is_known else "not planned for"
        else:
            works.append(work)
    return works, left_out


def _work(run: Run, stage: StageRun) -> Work | None:
    match stage.kind:
        case "reinforce":
            wanted = _counts(stage, "steps", "problems", "group_size")
            return None if wanted is None else _reinforce(stage, *wanted)
        case "pretrain":
            wanted = _counts(stage, "steps", "batch")
            return None if wanted is None else _train(stage, *wanted)
        case "sft":
            wanted = _counts(stage, "epochs", "batch")
            rows = num_rows(run, stage)
            if wanted is None or not rows:
                return None
            epochs, batch = wanted
            return _train(stage, epochs * ceil(rows / batch), batch)
        case "reject":
            wanted = _counts(stage, "problems", "samples")
            return None if wanted is None else _sample(stage, *wanted)
        case _:
            return None


def num_rows(run: Run, stage: StageRun) -> int | None:
    """That a fine-tuning learns from; of data still to come, as many as its stage may keep."""
    total = 0.0
    data = stage.settings.get("data")
    for name in data if isinstance(data, list) else ():
        source = run.stage(str(name))
        if source is None:
            return None
        kept = number(found(source.done, "rows"))
        most = _counts(source, "problems", "samples")
        if kept is None:
            if most is None:
                return None
            keep = number(source.settings.get("keep")) or 1.0
            kept = most[0] * min(keep, most[1])
        total += kept
    return int(total)


def _counts(stage: StageRun, *keys: str) -> list[int] | None:
    """All of them, or None where one is no count."""
    values = [number(stage.settings.get(key)) for key in keys]
    counts = [int(v) for v in values if v is not None and 1 <= v <= 1e7 and v == int(v)]
    return counts if len(counts) == len(keys) else None


def _reinforce(stage: StageRun, steps: int, problems: int, group: int) -> Work:
    job = RlJob(
        model=MODEL,
        prompts=problems,
        group=group,
        input_tokens=QUESTION,
        output_tokens=RESPONSE,
        longest_output=LONGEST,
    )
    return Work(stage=stage.name, kind=stage.kind, job=job, count=steps)


def _train(stage: StageRun, steps: int, batch: int) -> Work:
    sequence = QUESTION + RESPONSE
    job = TrainJob(model=MODEL, tokens=float(batch * sequence), sequence=sequence, batch=batch)
    return Work(stage=stage.name, kind=stage.kind, job=job, count=steps)


def _sample(stage: StageRun, problems: int, samples: int) -> Work:
    job = ServeJob(model=MODEL, input_tokens=QUESTION, output_tokens=RESPONSE)
    return Work(stage=stage.name, kind=stage.kind, job=job, count=problems * samples * RESPONSE)


def _column(
    chip: str, works: Sequence[Work], model: ModelConfig, show: Callable[[str], None]
) -> Column:
    budget = parse_budget(f"{NUM_CHIPS}x{chip}", load_catalogue())
    known = prices(budget, {})
    price = known.get(budget.clusters[0].chip) or _reckoned(chip)
    costs: dict[Job, Cost] = {}
    for work in works:
        if work.job not in costs:
            show(f"{work.stage} on {budget}")
            costs[work.job] = _once(model, work.job, budget, price)
    return Column(
        chip=chip,
        costs=tuple(_multiplied(costs[work.job], work.count) for work in works),
        price=price,
    )


def _reckoned(chip: str) -> Price | None:
    if chip != "H800":
        return None
    source = "what DeepSeek reckons with (arXiv 2412.19437, table 1)"
    return Price(chip=chip, usd_per_h=H800_USD_PER_H, source=source, is_assumed=True)


def _once(model: ModelConfig, job: Job, budget: Budget, price: Price | None) -> Cost:
    try:
        plan = make_plan(model, job, budget, Terms())
    except PenjingError as error:
        return Cost(why=str(error))
    seconds = _seconds(plan)
    usd = None
    if price is not None:
        usd = times(seconds, NUM_CHIPS / 3600 * price.usd_per_h)
    return Cost(seconds=seconds, usd=usd)


def _seconds(plan: Plan) -> Predicted:
    """Of one step, or of one generated token."""
    match plan.figures:
        case RlFigures() | TrainFigures():
            return plan.figures.step_s
        case ServeFigures():
            return inverse(plan.figures.tokens_per_s, 1.0)
        case _:
            assert_never(plan.figures)


def _multiplied(cost: Cost, count: float) -> Cost:
    return Cost(
        seconds=None if cost.seconds is None else times(cost.seconds, count),
        usd=None if cost.usd is None else times(cost.usd, count),
        why=cost.why,
    )


def _sum(figures: Iterable[Predicted | None]) -> Predicted | None:
    known = [figure for figure in figures if figure is not None]
    return reduce(_plus, known) if known else None


def _plus(one: Predicted, other: Predicted) -> Predicted:
    order = (Basis.MEASURED, Basis.DERIVED, Basis.ASSUMED)
    return Predicted(
        value=one.value + other.value,
        low=None if one.low is None or other.low is None else one.low + other.low,
        high=None if one.high is None or other.high is None else one.high + other.high,
        basis=max(one.basis, other.basis, key=order.index),
    )
