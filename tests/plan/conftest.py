from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest

from penjing.errors import PenjingError
from penjing.hardware.budget import Budget, parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.plan.job import Job, Objective, RlJob, ServeJob, TrainJob
from penjing.plan.plan import Plan
from penjing.plan.planner import Terms, make_plan
from penjing.plan.price import Price
from penjing.plan.serving.figures import serving_plan
from penjing.plan.serving.search import Found, Limits, search_serving


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """A serving search, with all that it was asked."""

    model: ModelConfig
    job: ServeJob
    budget: Budget
    limits: Limits
    prices: dict[Chip, Price]
    found: Found


@pytest.fixture(scope="session")
def chip() -> Callable[[str], Chip]:
    """A chip of the catalogue."""
    return lambda name: load_catalogue().find(name).chip


@pytest.fixture(scope="session")
def budget() -> Callable[[str], Budget]:
    """A budget as on the command line."""
    return lambda text: parse_budget(text, load_catalogue())


@pytest.fixture(scope="session")
def searched() -> Callable[..., Searched]:
    """A search for the best way to serve; each is made once. Chips cost a dollar an hour."""

    @cache
    def search(
        model: str = "Qwen3-30B-A3B",
        chips: str = "4xH20",
        *,
        input_tokens: int = 4096,
        output_tokens: int = 1536,
        tpot_s: float | None = None,
        ttft_s: float | None = None,
        objective: Objective = Objective.THROUGHPUT,
        weights: str = "auto",
        cache: str = "auto",
    ) -> Searched:
        job = ServeJob(
            model=model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            tpot_limit_s=tpot_s,
            ttft_limit_s=ttft_s,
            objective=objective,
        )
        limits = Limits(weights=weights, cache=cache)
        had, config = parse_budget(chips, load_catalogue()), load_model(model)
        prices = one_dollar(had)
        return Searched(
            model=config,
            job=job,
            budget=had,
            limits=limits,
            prices=prices,
            found=search_serving(config, job, had, limits, prices),
        )

    return search


@pytest.fixture(scope="session")
def planned() -> Callable[..., Plan]:
    """The plan of a job on a budget written as on the command line; each is made once."""

    @cache
    def plan(job: Job, chips: str, *, priced: bool = True) -> Plan:
        had = parse_budget(chips, load_catalogue())
        terms = Terms(prices=one_dollar(had) if priced else {})
        return make_plan(load_model(job.model), job, had, terms)

    return plan


@pytest.fixture(scope="session")
def refusal() -> Callable[..., PenjingError]:
    """The error in place of a plan."""

    @cache
    def refused(job: Job, chips: str, limits: Limits | None = None) -> PenjingError:
        had = parse_budget(chips, load_catalogue())
        with pytest.raises(PenjingError) as caught:
            make_plan(load_model(job.model), job, had, Terms(limits=limits or Limits()))
        return caught.value

    return refused


@pytest.fixture(scope="session")
def led_by() -> Callable[[Searched, str], Plan]:
    """The plan of the best choice of a shape: its groups are ``serve``, ``prefill decode``, ..."""

    def lead(search: Searched, shape: str) -> Plan:
        same = tuple(c for c in search.found.choices if " ".join(g.role for g in c.groups) == shape)
        assert same, shape
        found = replace(search.found, choices=same)
        return serving_plan(search.job, search.budget, found, search.prices, search.budget.notes)

    return lead


@pytest.fixture(scope="session")
def plans(
    planned: Callable[..., Plan],
    searched: Callable[..., Searched],
    led_by: Callable[[Searched, str], Plan],
) -> dict[str, Plan]:
    """One real plan of every kind: together, apart, side by side, training, and GRPO both ways."""
    small = "R1-Distill-Qwen-1.5B"
    serve = ServeJob(model="DeepSeek-R1", input_tokens=4096, output_tokens=1536, tpot_limit_s=0.05)
    train = TrainJob(model=small, tokens=1e9, sequence=4096, batch=64)
    rl = RlJob(
        model=small, prompts=8, group=16, input_tokens=512, output_tokens=1024, longest_output=4096
    )
    return {
        "together": planned(serve, "16xH20"),
        "apart": led_by(searched(chips="2xH20", output_tokens=256), "prefill decode"),
        "side by side": led_by(searched(small, "2xH20+2x910B"), "serve serve"),
        "train": planned(train, "4xA800", priced=False),
        "rl in turn": planned(rl, "1xH20"),
        "rl apart": planned(rl, "2xH20+2xL20", priced=False),
    }


def one_dollar(budget: Budget) -> dict[Chip, Price]:
    return {
        c.chip: Price(chip=c.chip.name, usd_per_h=1.0, source="a test") for c in budget.clusters
    }
