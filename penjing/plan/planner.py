"""From what is wanted and what is had to a plan."""

from dataclasses import dataclass, field
from typing import assert_never

from penjing.cost.training_setup import STACKS, TrainStack
from penjing.errors import Contradiction, Unpublished
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.models.config import ModelConfig
from penjing.plan.job import Job, Objective, RlJob, ServeJob, TrainJob
from penjing.plan.plan import Plan
from penjing.plan.price import Price
from penjing.plan.serving.choice import score
from penjing.plan.serving.figures import serving_plan
from penjing.plan.serving.nearest import does_not_serve
from penjing.plan.serving.search import Found, Limits, search_serving, traffic_of
from penjing.plan.training.figures import training_plan
from penjing.plan.training.rl_figures import rl_plan
from penjing.plan.training.search import Step


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a search may try, and what things cost."""

    limits: Limits = field(default_factory=Limits)
    prices: dict[Chip, Price] = field(default_factory=dict)
    stack: TrainStack = STACKS["megatron"]


def make_plan(model: ModelConfig, job: Job, budget: Budget, terms: Terms) -> Plan:
    """The best way to do ``job`` with ``budget``.

    Raises ``DoesNotFit`` where there is none, ``Unpublished`` where a chip lacks a figure that the
    answer rests on, and ``Contradiction`` where the model has no positions for so many tokens.
    """
    _check_context(model, job)
    limits, prices, notes = terms.limits, terms.prices, budget.notes
    match job:
        case ServeJob():
            found = search_serving(model, job, budget, limits, prices)
            if not found.choices:
                raise does_not_serve(model, job, budget, found, limits)
            _check_objective(job, budget, found, prices)
            return serving_plan(job, budget, found, prices, notes)
        case TrainJob():
            shared = Step(
                sequence=job.sequence, batch=job.batch, longest=job.sequence, stack=terms.stack
            )
            return training_plan(model, job, budget, shared, prices, notes, limits.weights)
        case RlJob():
            return rl_plan(model, job, budget, terms.stack, limits, prices, notes)
        case _:
            assert_never(job)


def _check_context(model: ModelConfig, job: Job) -> None:
    match job:
        case ServeJob():
            longest, flags = job.input_tokens + job.output_tokens, "--input and --output"
        case TrainJob():
            longest, flags = job.sequence, "--sequence"
        case RlJob():
            longest, flags = job.input_tokens + job.longest_output, "--input and --longest"
        case _:
            assert_never(job)
    if longest > model.max_positions:
        raise Contradiction(
            f"{job.model} has {model.max_positions:,} positions, fewer than the {longest:,} tokens "
            f"of {flags}: ask for fewer, or give a config.json with a longer context"
        )


def _check_objective(
    job: ServeJob, budget: Budget, found: Found, prices: dict[Chip, Price]
) -> None:
    """Ranking by a figure that no choice has would be no ranking."""
    best = score(found.choices[0], job.objective, traffic_of(job), prices)
    if best > -float("inf"):
        return
    figure, fix = (
        ("price", "give one with --price")
        if job.objective is Objective.USD
        else ("power rating", "choose another --objective")
    )
    raise Unpublished(f"{budget}: no {figure} is known to rank by; {fix}")
