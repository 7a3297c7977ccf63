import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from penjing.cost.training_setup import STACKS
from penjing.errors import Contradiction, DoesNotFit, PenjingError, Unpublished
from penjing.hardware.budget import Budget
from penjing.models.catalogue import load_model
from penjing.plan.job import Job, Objective, RlJob, ServeJob, TrainJob
from penjing.plan.plan import (
    Plan,
    RlFigures,
    ServeFigures,
    ServingGroup,
    TrainFigures,
    TrainingGroup,
    plan_from_json,
)
from penjing.plan.planner import Terms, make_plan
from penjing.plan.serving.search import Limits

FindBudget = Callable[[str], Budget]
MakePlan = Callable[..., Plan]
Refuse = Callable[..., PenjingError]
SMALL = "R1-Distill-Qwen-1.5B"
SERVE = ServeJob(model=SMALL, input_tokens=512, output_tokens=512)
TRAIN = TrainJob(model=SMALL, tokens=1e9, sequence=2048, batch=64)
RL = RlJob(
    model=SMALL, prompts=8, group=8, input_tokens=256, output_tokens=512, longest_output=2048
)


@pytest.mark.parametrize(
    ("job", "figures", "roles"),
    [
        (SERVE, ServeFigures, [ServingGroup]),
        (TRAIN, TrainFigures, [TrainingGroup]),
        (RL, RlFigures, [ServingGroup, TrainingGroup]),
    ],
)
def test_each_job_gets_its_kind_of_plan(
    planned: MakePlan, job: Job, figures: type, roles: list[type]
) -> None:
    plan = planned(job, "1xH20")
    assert plan.job == job
    assert (plan.budget, plan.chips) == ("1xH20", 1)
    assert type(plan.figures) is figures
    assert [type(group) for group in plan.groups] == roles
    assert plan.sealed() == plan
    assert plan_from_json(plan.to_json()) == plan


def test_what_was_taken_for_a_name_is_the_first_reason(planned: MakePlan) -> None:
    note = "H20 is the 96 GB part; H20-3e (141 GB) also exists"
    for job in (SERVE, TRAIN, RL):
        assert planned(job, "1xH20").reasons[0] == note
        assert note not in planned(job, "1xH20-3e").reasons


def test_the_terms_reach_every_search(budget: FindBudget) -> None:
    terms = Terms(limits=Limits(weights="bf16", cache="fp8", engine="vllm"), stack=STACKS["fsdp"])
    model, had = load_model(SMALL), budget("1xH20")
    (served,) = make_plan(model, SERVE, had, terms).groups
    (trained,) = make_plan(model, TRAIN, had, terms).groups
    rollout, update = make_plan(model, RL, had, terms).groups
    for group in (served, rollout):
        assert isinstance(group, ServingGroup)
        assert (group.weights, group.cache, group.engine) == ("bf16", "fp8", "vllm")
    for group in (trained, update):
        assert isinstance(group, TrainingGroup)
        assert group.stack == "fsdp"


def test_plans_are_made_alike_every_time(budget: FindBudget) -> None:
    model, had = load_model(SMALL), budget("2xH20")
    for job in (SERVE, TRAIN, RL):
        assert make_plan(model, job, had, Terms()) == make_plan(model, job, had, Terms())


@pytest.mark.parametrize("job", [SERVE, TRAIN, RL])
def test_what_does_not_fit_is_no_plan(refusal: Refuse, job: Job) -> None:
    large = replace(job, model="R1-Distill-Llama-70B")
    error = refusal(large, "1xH20")
    assert isinstance(error, DoesNotFit)
    assert error.shortfall_bytes > 0
    assert str(error).startswith("R1-Distill-Llama-70B ")


@pytest.mark.parametrize("job", [SERVE, TRAIN, RL])
@pytest.mark.parametrize("chip", ["MLU590", "S60"])
def test_a_chip_with_unpublished_figures_is_refused_with_the_reason(
    refusal: Refuse, job: Job, chip: str
) -> None:
    error = refusal(job, f"1x{chip}")
    assert isinstance(error, Unpublished)
    assert re.match(rf"{chip}: .* is not published \(.+\); nothing is guessed, ", str(error))


def test_no_ranking_by_a_price_that_nobody_knows(refusal: Refuse, planned: MakePlan) -> None:
    dear = replace(SERVE, objective=Objective.USD)
    error = refusal(dear, "2xA800")
    assert isinstance(error, Unpublished)
    assert str(error) == "2xA800 80GB SXM: no price is known to rank by; give one with --price"
    assert planned(dear, "2xA800").job == dear  # priced
    assert planned(SERVE, "2xA800", priced=False).job == SERVE  # needs none


def test_no_ranking_by_a_power_that_nobody_knows(budget: FindBudget) -> None:
    had = budget("1xH20")
    (cluster,) = had.clusters
    dark = replace(had, clusters=(replace(cluster, chip=replace(cluster.chip, power_w=None)),))
    frugal = replace(SERVE, objective=Objective.WATT)
    with pytest.raises(Unpublished, match=r"^1xH20: no power rating is known to rank by; choose "):
        make_plan(load_model(SMALL), frugal, dark, Terms())
    figures = make_plan(load_model(SMALL), SERVE, dark, Terms()).figures
    assert isinstance(figures, ServeFigures)
    assert figures.power_w is None
    assert figures.joules_per_token is None


@pytest.mark.parametrize(
    ("job", "flags"),
    [
        (replace(SERVE, input_tokens=131_000), "--input and --output"),
        (replace(TRAIN, sequence=131_073), "--sequence"),
        (replace(RL, longest_output=131_000), "--input and --longest"),
    ],
)
def test_a_model_is_not_asked_for_more_than_its_context(
    refusal: Refuse, job: Job, flags: str
) -> None:
    error = refusal(job, "1xH20")
    assert isinstance(error, Contradiction)
    said = str(error)
    assert said.startswith(f"{SMALL} has 131,072 positions, fewer than the 131,")
    assert f" tokens of {flags}: ask for fewer" in said


def test_a_context_may_be_filled(planned: MakePlan) -> None:
    assert planned(replace(SERVE, input_tokens=131_072 - 512), "1xH20").groups
