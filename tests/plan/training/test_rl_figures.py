from collections.abc import Callable
from dataclasses import replace

import pytest

from penjing.cost.interval import Metric, interval_of
from penjing.cost.reinforcement import grpo_step
from penjing.cost.training_setup import STACKS
from penjing.errors import DoesNotFit, PenjingError
from penjing.hardware.budget import Budget
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.plan.job import RlJob
from penjing.plan.plan import Basis, Plan, RlFigures, ServingGroup, TrainingGroup
from penjing.plan.planner import Terms, make_plan
from penjing.plan.price import Price
from penjing.plan.serving.search import Limits
from penjing.plan.training.reinforcement import RlFound, search_rl

MakePlan = Callable[..., Plan]
Refuse = Callable[..., PenjingError]
FindBudget = Callable[[str], Budget]
SMALL = "R1-Distill-Qwen-1.5B"
JOB = RlJob(
    model=SMALL, prompts=8, group=16, input_tokens=512, output_tokens=1024, longest_output=4096
)
BUDGETS = ["1xH20", "4xH20", "2xH20+2xL20"]


def figures(plan: Plan) -> RlFigures:
    assert isinstance(plan.figures, RlFigures)
    return plan.figures


def found_for(budget: Budget) -> RlFound:
    return search_rl(load_model(SMALL), JOB, budget, STACKS["megatron"], Limits())


def sides(plan: Plan) -> tuple[ServingGroup, TrainingGroup]:
    rollout, update = plan.groups
    assert isinstance(rollout, ServingGroup)
    assert isinstance(update, TrainingGroup)
    return rollout, update


@pytest.mark.parametrize("chips", BUDGETS)
def test_figures_agree_with_each_other(planned: MakePlan, chips: str) -> None:
    plan = planned(JOB, chips)
    found = figures(plan)
    rate = found.tokens_per_s.value
    assert rate * found.step_s.value == pytest.approx(8 * 16 * 1024)
    assert found.tokens_per_s_per_chip.value == pytest.approx(rate / plan.chips)
    spread = interval_of(Metric.RL, derived=found.step_s.basis is not Basis.MEASURED)
    assert found.tokens_per_s.low == pytest.approx(rate * spread.low)
    assert found.tokens_per_s.high == pytest.approx(rate * spread.high)
    assert found.step_s.low == pytest.approx(found.step_s.value / spread.high)
    assert found.step_s.high == pytest.approx(found.step_s.value / spread.low)


@pytest.mark.parametrize("chips", BUDGETS)
def test_parts_add_up_to_the_step_or_overlap(planned: MakePlan, chips: str) -> None:
    plan = planned(JOB, chips)
    parts = figures(plan).parts_s
    assert list(parts) == [
        *("rollout", "reward", "log-probabilities", "update", "weight hand-over")
    ]
    assert parts["weight hand-over"] > 0
    engines = parts["rollout"] + parts["reward"]
    trainer = parts["log-probabilities"] + parts["update"]
    apart = any("chips of their own" in reason for reason in plan.reasons)
    both = max(engines, trainer) if apart else engines + trainer
    assert figures(plan).step_s.value == pytest.approx(both + parts["weight hand-over"])


@pytest.mark.parametrize("chips", BUDGETS)
def test_a_step_costs_the_chips_it_holds(planned: MakePlan, chips: str) -> None:
    plan = planned(JOB, chips)
    rollout, update = sides(plan)
    turn = any("take the same chips in turn" in reason for reason in plan.reasons)
    held = rollout.chips if turn else rollout.chips + update.chips
    usd = figures(plan).usd_per_step
    assert usd is not None
    assert usd.value == pytest.approx(figures(plan).step_s.value / 3600 * held)
    assert figures(planned(JOB, chips, priced=False)).usd_per_step is None


def test_a_price_that_is_arithmetic_is_assumed(budget: FindBudget) -> None:
    had = budget("1xH20")
    (cluster,) = had.clusters
    for assumed, basis in ((False, Basis.MEASURED), (True, Basis.ASSUMED)):
        price = Price(chip="H20", usd_per_h=2.0, source="a test", is_assumed=assumed)
        terms = Terms(prices={cluster.chip: price})
        usd = figures(make_plan(load_model(SMALL), JOB, had, terms)).usd_per_step
        assert usd is not None
        assert usd.basis is basis


def test_the_basis_is_the_weaker_of_both_sides(planned: MakePlan) -> None:
    assert figures(planned(JOB, "1xH20")).step_s.basis is Basis.MEASURED
    mixed = planned(JOB, "2xH20+2xL20")
    assert {group.chip for group in mixed.groups} == {"H20", "L20"}
    assert figures(mixed).step_s.basis is Basis.DERIVED
    assert len(mixed.provenance) == 2


@pytest.mark.parametrize("chips", BUDGETS)
def test_the_plan_is_that_of_the_fastest_way(
    planned: MakePlan, budget: FindBudget, chips: str
) -> None:
    plan, found = planned(JOB, chips), found_for(budget(chips))
    best = found.choices[0]
    rollout, update = sides(plan)
    assert figures(plan).step_s.value == best.step.step_s
    assert rollout.instances == best.rollout.replicas
    assert rollout.layout == best.rollout.instance.layout
    assert update.layout == best.training.setup.layout
    assert plan.layouts_tried == found.tried
    assert plan.points_tried == found.tried + sum(f.tried for f in found.trainings)


@pytest.mark.parametrize("chips", BUDGETS)
def test_memory_of_both_sides_fits(planned: MakePlan, chips: str) -> None:
    for group in planned(JOB, chips).groups:
        assert 0 <= group.memory.free_bytes < group.memory.capacity_bytes
    rollout, update = sides(planned(JOB, chips))
    assert rollout.memory.cache_bytes > 0 == update.memory.cache_bytes
    assert update.memory.gradients_bytes > 0 == rollout.memory.gradients_bytes


@pytest.mark.parametrize("chips", BUDGETS)
def test_gains_come_from_faster_chips_on_both_sides(
    planned: MakePlan, budget: FindBudget, chips: str
) -> None:
    best = found_for(budget(chips)).choices[0]
    plan = planned(JOB, chips)
    hardware = best.setup.rollout.hardware
    for rate, gain in plan.gains.items():
        assert -1e-9 <= gain <= 0.1 + 1e-9
        bound = next(b for b in type(plan.operators[0].bound) if b == rate)
        rollout = replace(best.setup.rollout, hardware=hardware.scaled(bound, 1.1))
        faster = replace(best.setup, rollout=rollout, trainer=best.setup.trainer.scaled(bound, 1.1))
        step = grpo_step(load_model(SMALL), faster).step_s
        assert gain == pytest.approx(best.step.step_s / step - 1)


@pytest.mark.parametrize("chips", BUDGETS)
def test_both_passes_are_in_the_table(planned: MakePlan, chips: str) -> None:
    rows = planned(JOB, chips).operators
    assert list(dict.fromkeys(row.phase for row in rows)) == ["rollout", "forward", "backward"]
    for phase in ("rollout", "forward", "backward"):
        assert sum(row.share for row in rows if row.phase == phase) == pytest.approx(1.0)


def test_runners_up_name_how_the_sides_share_the_chips(planned: MakePlan) -> None:
    plan = planned(JOB, "4xH20")
    assert len(plan.alternatives) == 3
    for row in plan.alternatives:
        assert row.layout.startswith(("apart: rollout ", "in turn: rollout "))
        assert ", update H20 [" in row.layout
        assert row.step_s is not None
        assert row.tokens_per_s * row.step_s == pytest.approx(8 * 16 * 1024)
        assert row.behind == pytest.approx(1 - figures(plan).step_s.value / row.step_s)
        assert row.behind >= 0


def test_what_stays_idle_is_said(budget: FindBudget) -> None:
    """Two of three kinds work at most; in turn it is one."""
    had = budget("1xH20+1xA800+1xL20")
    plan = make_plan(load_model(SMALL), JOB, had, Terms())
    rollout, update = sides(plan)
    turn = any("take the same chips in turn" in reason for reason in plan.reasons)
    used = 1 if turn else rollout.chips + update.chips
    assert f"{3 - used} of 3 chips stay idle" in plan.reasons
    assert {g.chip for g in plan.groups} <= {c.chip.name for c in had.clusters}


def test_where_no_engine_fits_the_engine_is_what_lacks(refusal: Refuse) -> None:
    job = replace(JOB, model="R1-Distill-Llama-70B")
    error = refusal(job, "1xH20")
    assert isinstance(error, DoesNotFit)
    assert str(error).startswith("R1-Distill-Llama-70B does not fit on 1xH20: ")
    assert error.nearest.startswith("2xH20")
    assert error.shortfall_bytes > 0


def test_where_engines_fit_the_training_state_is_what_lacks(refusal: Refuse) -> None:
    job = replace(JOB, model="R1-Distill-Llama-70B")
    error = refusal(job, "2xH20")
    assert isinstance(error, DoesNotFit)
    assert str(error).startswith("R1-Distill-Llama-70B cannot be trained on 2xH20: ")
    assert error.shortfall_bytes > 0
    count = int(error.nearest.partition("x")[0])
    cluster = load_catalogue().find("H20").chip
    assert error.nearest == f"{count}x{cluster.name}"
