from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.interval import Metric, interval_of
from penjing.cost.roofline import Bound
from penjing.cost.training_setup import STACKS
from penjing.cost.training_step import model_flops_per_token, train_step
from penjing.errors import DoesNotFit, PenjingError, Unpublished
from penjing.hardware.budget import Budget, parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.precision import Precision
from penjing.models.catalogue import load_model
from penjing.plan.bottleneck import RATES
from penjing.plan.job import TrainJob
from penjing.plan.plan import Basis, Plan, Predicted, TrainFigures, TrainingGroup
from penjing.plan.planner import Terms, make_plan
from penjing.plan.price import Price
from penjing.plan.serving.search import Limits
from penjing.plan.training.figures import describe, gain
from penjing.plan.training.search import Step, TrainFound, search_training

MakePlan = Callable[..., Plan]
Refuse = Callable[..., PenjingError]
SMALL = "R1-Distill-Qwen-1.5B"
JOB = TrainJob(model=SMALL, tokens=1e9, sequence=4096, batch=64)
LARGE = replace(JOB, model="R1-Distill-Qwen-32B")


def figures(plan: Plan) -> TrainFigures:
    assert isinstance(plan.figures, TrainFigures)
    return plan.figures


def group(plan: Plan) -> TrainingGroup:
    (only,) = plan.groups
    assert isinstance(only, TrainingGroup)
    return only


def found_for(job: TrainJob, chips: str) -> TrainFound:
    (cluster,) = parse_budget(chips, load_catalogue()).clusters
    shared = Step(
        sequence=job.sequence, batch=job.batch, longest=job.sequence, stack=STACKS["megatron"]
    )
    return search_training(load_model(job.model), cluster.chip, cluster.count, shared)


@pytest.mark.parametrize("chips", ["1xH20", "4xA800", "2xL20"])
def test_figures_agree_with_each_other(planned: MakePlan, chips: str) -> None:
    plan = planned(JOB, chips)
    found, used = figures(plan), group(plan).chips
    rate = found.tokens_per_s.value
    assert rate * found.step_s.value == pytest.approx(JOB.batch * JOB.sequence)
    assert rate * found.total_s.value == pytest.approx(JOB.tokens)
    assert found.tokens_per_s_per_chip.value == pytest.approx(rate / plan.chips)
    assert found.chip_hours.value == pytest.approx(found.total_s.value / 3600 * used)
    assert found.usd is not None
    assert found.usd.value == pytest.approx(found.chip_hours.value)  # a dollar an hour
    assert sum(found.parts_s.values()) == pytest.approx(found.step_s.value)
    assert all(seconds >= 0 for seconds in found.parts_s.values())
    assert found.parts_s["backward"] > found.parts_s["forward"] > 0


def test_utilization_counts_the_flops_of_the_model_over_the_bf16_peak(planned: MakePlan) -> None:
    plan = planned(JOB, "4xA800")
    chip = load_catalogue().find("A800").chip
    flops = model_flops_per_token(load_model(SMALL), 4096)
    assert 6 * 1.5e9 < flops < 6 * 1.8e9 * 1.5  # six for each weight, and attention
    used = figures(plan).tokens_per_s.value * flops / 4
    found = figures(plan).model_flops_utilization.value
    assert found == pytest.approx(used / chip.flops_per_s(Precision.BF16))
    assert 0.2 < found < 0.7


@settings(deadline=None, max_examples=10)
@given(tokens=st.floats(1e6, 1e15), usd=st.floats(0.01, 100))
def test_time_and_money_grow_with_the_tokens(tokens: float, usd: float) -> None:
    budget = parse_budget("1xH20", load_catalogue())
    (cluster,) = budget.clusters
    price = Price(chip="H20", usd_per_h=usd, source="a test")
    job = replace(JOB, tokens=tokens, batch=8)
    plan = make_plan(load_model(SMALL), job, budget, Terms(prices={cluster.chip: price}))
    found = figures(plan)
    assert found.total_s.value == pytest.approx(tokens / found.tokens_per_s.value)
    assert found.usd is not None
    assert found.usd.value == pytest.approx(found.chip_hours.value * usd)


def test_intervals_are_those_of_training_and_turn_round_for_time(planned: MakePlan) -> None:
    for chips, derived in (("1xH20", False), ("2xL20", True)):
        found = figures(planned(JOB, chips))
        spread = interval_of(Metric.PRETRAINING, derived=derived)
        rate = found.tokens_per_s
        assert rate.basis is (Basis.DERIVED if derived else Basis.MEASURED)
        assert rate.low == pytest.approx(rate.value * spread.low)
        assert rate.high == pytest.approx(rate.value * spread.high)
        for figure in (found.total_s, found.step_s, found.chip_hours):
            assert figure.low == pytest.approx(figure.value / spread.high)
            assert figure.high == pytest.approx(figure.value / spread.low)


def test_a_price_that_is_arithmetic_is_assumed() -> None:
    budget = parse_budget("1xH20", load_catalogue())
    (cluster,) = budget.clusters

    def usd(assumed: bool) -> Predicted | None:
        price = Price(chip="H20", usd_per_h=1.0, source="a test", is_assumed=assumed)
        terms = Terms(prices={cluster.chip: price})
        return figures(make_plan(load_model(SMALL), JOB, budget, terms)).usd

    given_usd, written_off = usd(False), usd(True)
    assert given_usd is not None
    assert written_off is not None
    assert (given_usd.basis, written_off.basis) == (Basis.MEASURED, Basis.ASSUMED)
    assert given_usd.value == written_off.value


def test_without_price_or_rating_there_is_neither_figure(planned: MakePlan) -> None:
    found = figures(planned(JOB, "4xA800", priced=False))
    assert found.usd is None
    assert found.power_w is not None
    assert found.power_w.basis is Basis.ASSUMED
    rated = load_catalogue().find("A800").chip.power_w
    assert rated is not None
    assert 0.35 * rated.value < found.power_w.value / 4 <= rated.value


def test_one_run_spans_one_kind_of_chip_and_the_rest_stays_idle(planned: MakePlan) -> None:
    plan = planned(JOB, "4xH20+4xA800")
    alone = {name: figures(planned(JOB, f"4x{name}")).step_s.value for name in ("H20", "A800")}
    best = min(alone, key=lambda name: alone[name])
    assert group(plan).chip.startswith(best)
    assert figures(plan).step_s.value == alone[best]
    assert "one training run spans one kind of chip: 4 of 8 stay idle" in plan.reasons
    assert figures(plan).tokens_per_s_per_chip.value == pytest.approx(
        figures(plan).tokens_per_s.value / 8
    )
    assert not any("idle" in reason for reason in planned(JOB, "4xA800").reasons)
    tried = sum(planned(JOB, f"4x{name}").layouts_tried for name in ("H20", "A800"))
    assert plan.layouts_tried == tried


def test_the_group_is_told_as_it_was_found(planned: MakePlan) -> None:
    plan, best = planned(JOB, "4xA800"), found_for(JOB, "4xA800").choices[0]
    told, setup = group(plan), best.setup
    assert told.layout == setup.layout
    assert (told.batch, told.micro_batch) == (64, setup.micro_batch)
    assert (told.virtual_stages, told.zero) == (setup.virtual_stages, int(setup.zero))
    assert (told.recompute, told.offload) == (setup.recompute.value, setup.offload)
    assert (told.stack, told.weights) == ("megatron", "bf16")
    use = told.memory
    assert use.weights_bytes == best.memory.weights_bytes
    assert use.activations_bytes == best.memory.activations_bytes
    assert use.capacity_bytes - use.reserved_bytes == pytest.approx(best.memory.usable_bytes)
    assert use.free_bytes == pytest.approx(best.memory.usable_bytes - best.memory.total_bytes)


@pytest.mark.parametrize("rate", RATES)
def test_a_gain_is_what_faster_chips_give_to_the_same_setup(planned: MakePlan, rate: Bound) -> None:
    model, best = load_model(SMALL), found_for(JOB, "4xA800").choices[0]
    faster = train_step(model, best.setup, best.hardware.scaled(rate, 1.1))
    expected = best.step.step_s / faster.step_s - 1
    assert gain(model, best, rate) == pytest.approx(expected)
    assert planned(JOB, "4xA800").gains[str(rate)] == gain(model, best, rate)
    assert -1e-9 <= expected <= 0.1 + 1e-9


def test_runners_up_come_in_order_and_say_what_differs(planned: MakePlan) -> None:
    plan, found = planned(JOB, "4xA800"), found_for(JOB, "4xA800")
    assert [row.layout for row in plan.alternatives] == [describe(c) for c in found.choices[1:6]]
    assert [row.step_s for row in plan.alternatives] == [c.step.step_s for c in found.choices[1:6]]
    behind = [row.behind for row in plan.alternatives]
    assert behind == sorted(behind)
    for row in plan.alternatives:
        assert row.step_s is not None
        assert row.tokens_per_s * row.step_s == pytest.approx(64 * 4096)
        assert row.behind == pytest.approx(1 - figures(plan).step_s.value / row.step_s)


def test_a_layout_in_one_line() -> None:
    choice = found_for(JOB, "4xA800").choices[0]
    bare = replace(choice.setup, zero=type(choice.setup.zero)(0), micro_batch=2, offload=True)
    assert describe(replace(choice, setup=bare)) == (
        f"A800 80GB SXM [{bare.layout}] bf16, micro-batch 2, optimizer on host"
    )


def test_an_offloaded_optimizer_is_explained_truthfully(planned: MakePlan) -> None:
    """Either nothing else fits, or what fits is slower: never the one for the other."""
    needed = planned(LARGE, "4xA800")
    assert all(c.setup.offload for c in found_for(LARGE, "4xA800").choices)
    assert group(needed).offload
    assert group(needed).memory.host_bytes > 0
    reason = "nothing fits with the optimizer in device memory: it lies in host memory"
    assert reason in needed.reasons
    chosen, found = planned(LARGE, "8xA800"), found_for(LARGE, "8xA800")
    on_chip = [c for c in found.choices if not c.setup.offload]
    assert group(chosen).offload
    assert on_chip
    slower = on_chip[0].step.step_s / found.choices[0].step.step_s
    (told,) = [r for r in chosen.reasons if "host memory" in r]
    assert told.startswith("the optimizer lies in host memory: with it on the chip the fastest ")
    assert told.endswith(f"{describe(on_chip[0])}, takes {slower:.2f} times as long")
    assert not any("host memory" in r for r in planned(JOB, "4xA800").reasons)


def test_products_in_eight_bits_are_told(planned: MakePlan) -> None:
    budget = parse_budget("1xH20", load_catalogue())
    plan = make_plan(load_model(SMALL), JOB, budget, Terms(limits=Limits(weights="fp8")))
    assert group(plan).weights == "fp8"
    assert "products run in fp8; --weights bf16 keeps 16 bits" in plan.reasons
    assert not any("products run" in r for r in planned(JOB, "1xH20").reasons)


def test_too_little_memory_says_what_lacks_and_what_would_do(refusal: Refuse) -> None:
    job = replace(JOB, model="R1-Distill-Llama-70B")
    error = refusal(job, "2xH20")
    assert isinstance(error, DoesNotFit)
    assert error.shortfall_bytes == found_for(job, "2xH20").shortfall_bytes > 0
    assert f"({error.shortfall_bytes:.0f} bytes)" in str(error)
    count, _, name = error.nearest.partition("x")
    assert name == "H20"
    assert f"; nearest that fits: {error.nearest}" in str(error)
    assert found_for(job, error.nearest).choices
    if int(count) > 4:
        assert not found_for(job, f"{int(count) // 2}xH20").choices


def test_no_more_chips_are_offered_than_links_are_known_for(refusal: Refuse) -> None:
    """Eight 4090s share a node; between nodes nothing is published."""
    error = refusal(replace(LARGE, model="R1-Distill-Llama-70B"), "4x4090")
    assert isinstance(error, DoesNotFit)
    assert error.nearest == ""


def test_a_batch_too_small_for_the_chips_offered_is_raised(refusal: Refuse) -> None:
    error = refusal(replace(JOB, model="R1-Distill-Llama-70B", batch=6), "2xH20")
    assert isinstance(error, DoesNotFit)
    count, _, batch = error.nearest.partition("xH20 with --batch ")
    assert int(batch) % int(count) == 0


def test_a_batch_that_nothing_divides_names_one_that_does(
    refusal: Refuse, planned: MakePlan
) -> None:
    error = refusal(replace(JOB, batch=7), "37xA800")
    assert isinstance(error, DoesNotFit)
    assert error.nearest == "--batch 37"
    assert str(error) == (
        "R1-Distill-Qwen-1.5B on 37xA800 80GB SXM: no layout divides a batch of 7 sequences; "
        "give --batch a multiple of the chips"
    )
    assert figures(planned(replace(JOB, batch=37), "37xA800")).tokens_per_s.value > 0


def test_a_link_that_nobody_published_is_told(refusal: Refuse) -> None:
    # Too large for one node of eight 4090s, and between nodes nothing is known.
    error = refusal(LARGE, "32x4090")
    assert isinstance(error, Unpublished)
    assert "bandwidth between nodes not published; give --network 400Gb/s" in str(error)


def test_a_mixed_budget_that_trains_nothing_names_the_leanest(refusal: Refuse) -> None:
    job = replace(JOB, model="R1-Distill-Llama-70B")
    both = refusal(job, "2xH20+2xA800")
    assert isinstance(both, DoesNotFit)
    alone = [refusal(job, chips) for chips in ("2xH20", "2xA800")]
    assert both.shortfall_bytes == min(
        e.shortfall_bytes for e in alone if isinstance(e, DoesNotFit)
    )


FindBudget = Callable[[str], Budget]


def test_the_stack_sets_the_pace(budget: FindBudget) -> None:
    def rate(stack: str) -> float:
        terms = Terms(stack=STACKS[stack])
        plan = make_plan(load_model(SMALL), JOB, budget("1xH20"), terms)
        assert group(plan).stack == stack
        return figures(plan).tokens_per_s.value

    assert rate("tuned") > rate("megatron") > rate("fsdp")
