from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from penjing.cost.interval import Metric, interval_of
from penjing.cost.roofline import Bound
from penjing.cost.serving import steady_state
from penjing.errors import PenjingError
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.hardware.cluster import Cluster
from penjing.hardware.host import Host
from penjing.hardware.probe import Machine
from penjing.models.catalogue import load_model
from penjing.plan.bottleneck import MORE, RATES
from penjing.plan.job import Objective, ServeJob
from penjing.plan.plan import Basis, OperatorClass, Plan, Predicted, ServeFigures, ServingGroup
from penjing.plan.planner import Terms, make_plan
from penjing.plan.price import Price
from penjing.plan.serving.choice import Role
from penjing.plan.serving.figures import (
    ALTERNATIVES,
    alternatives,
    describe,
    gain,
    serving_memory,
    serving_plan,
)
from penjing.plan.serving.search import Found, Limits, search_serving, traffic_of

Search = Callable[..., Any]
MakePlan = Callable[..., Plan]
FindBudget = Callable[[str], Budget]
SERVED = ["together", "apart", "side by side"]
R1 = ServeJob(model="DeepSeek-R1", input_tokens=4096, output_tokens=1536, tpot_limit_s=0.05)


def figures(plan: Plan) -> ServeFigures:
    assert isinstance(plan.figures, ServeFigures)
    return plan.figures


@pytest.mark.parametrize("kind", SERVED)
def test_figures_agree_with_each_other(plans: dict[str, Plan], kind: str) -> None:
    plan = plans[kind]
    found, job = figures(plan), plan.job
    assert isinstance(job, ServeJob)
    rate = found.tokens_per_s.value
    assert found.tokens_per_s_per_chip.value == pytest.approx(rate / plan.chips)
    assert found.requests_per_s.value * job.output_tokens == pytest.approx(rate)
    assert found.power_w is not None
    assert found.joules_per_token is not None
    assert found.joules_per_token.value * rate == pytest.approx(found.power_w.value)
    assert found.usd_per_million_tokens is not None
    used = sum(group.chips for group in plan.groups)  # each at a dollar an hour
    assert found.usd_per_million_tokens.value == pytest.approx(used / 3600 / rate * 1e6)


@pytest.mark.parametrize("kind", SERVED)
def test_every_interval_holds_its_value_or_is_that_of_its_metric(
    plans: dict[str, Plan], kind: str
) -> None:
    found = figures(plans[kind])
    derived = found.tokens_per_s.basis is not Basis.MEASURED
    for figure, metric in (
        (found.tokens_per_s, Metric.OFFLINE),
        (found.tokens_per_s_per_chip, Metric.OFFLINE),
        (found.requests_per_s, Metric.OFFLINE),
        (found.tpot_s, Metric.TPOT),
        (found.ttft_s, Metric.TTFT),
    ):
        spread = interval_of(metric, derived=derived)
        assert figure.low == pytest.approx(figure.value * spread.low)
        assert figure.high == pytest.approx(figure.value * spread.high)
    # The dearest million is the one made slowest.
    usd, rate = found.usd_per_million_tokens, found.tokens_per_s
    assert usd is not None
    assert usd.low is not None
    assert rate.high is not None
    assert usd.low * rate.high == pytest.approx(usd.value * rate.value)


@pytest.mark.parametrize("kind", SERVED)
def test_rate_and_latency_follow_from_what_runs(plans: dict[str, Plan], kind: str) -> None:
    """Little's law over the groups that decode: tokens a second = sequences / seconds a token."""
    plan = plans[kind]
    decoding = [g for g in plan.groups if isinstance(g, ServingGroup) and g.role != "prefill"]
    running = sum(g.instances * g.sequences for g in decoding)
    found = figures(plan)
    if kind == "side by side":  # the slower pool's time a token is told
        assert running / found.tpot_s.value <= found.tokens_per_s.value
    else:
        # sequences are told as a whole number
        assert running / found.tpot_s.value == pytest.approx(found.tokens_per_s.value, rel=0.06)


@pytest.mark.parametrize("objective", Objective)
def test_power_is_assumed_and_within_the_rating(planned: MakePlan, objective: Objective) -> None:
    job = ServeJob(
        model="R1-Distill-Qwen-1.5B", input_tokens=512, output_tokens=512, objective=objective
    )
    found = figures(planned(job, "1xH20"))
    assert found.power_w is not None
    assert found.power_w.basis is Basis.ASSUMED
    assert 0.35 * 400 <= found.power_w.value <= 400  # the H20 is rated at 400 W
    assert found.joules_per_token is not None
    assert found.joules_per_token.basis is Basis.ASSUMED


def test_a_price_rests_on_its_source(searched: Search) -> None:
    search = searched()
    for assumed, basis in ((False, Basis.MEASURED), (True, Basis.ASSUMED)):
        prices = {chip: replace(price, is_assumed=assumed) for chip, price in search.prices.items()}
        plan = serving_plan(search.job, search.budget, search.found, prices, ())
        usd = figures(plan).usd_per_million_tokens
        assert usd is not None
        assert usd.basis is basis
    bare = serving_plan(search.job, search.budget, search.found, {}, ())
    assert figures(bare).usd_per_million_tokens is None
    assert "H20: no price known; give one with --price" in bare.reasons


def host_chip() -> Chip:
    host = Host(
        cpu="Intel Test",
        cores=4,
        threads=8,
        instructions=("avx2",),
        memory_bytes=2.0**35,
        available_bytes=2.0**34,
    )
    return Machine(
        host=host, read_bytes_per_s=5e10, fp32_flops_per_s=1e12, measured_on="2026-11-20"
    ).as_chip()


def test_the_basis_is_that_of_the_chip(planned: MakePlan) -> None:
    job = ServeJob(model="R1-Distill-Qwen-1.5B", input_tokens=512, output_tokens=512)
    for chips, basis in (("1xH20", Basis.MEASURED), ("1xL20", Basis.DERIVED)):
        assert figures(planned(job, chips)).tokens_per_s.basis is basis
    budget = Budget(clusters=(Cluster(chip=host_chip(), count=1),))
    plan = make_plan(load_model(job.model), job, budget, Terms())
    assert figures(plan).tokens_per_s.basis is Basis.ASSUMED
    assert figures(plan).power_w is None
    assert plan.provenance[0].startswith("here: efficiency is ")


def core(plan: Plan) -> OperatorClass:
    (row,) = [r for r in plan.operators if (r.phase, r.name) == ("decode", "attention core")]
    return row


def as_measured(budget: Budget) -> Plan:
    """DeepSeek-R1 as FlashMLA's tables measure it: one query a sequence, cache in bf16."""
    model = replace(load_model("DeepSeek-R1"), mtp=())
    short = replace(R1, input_tokens=512, tpot_limit_s=None)
    return make_plan(model, short, budget, Terms(limits=Limits(cache="bf16")))


def test_absorbed_latent_decode_is_compute_bound_on_h20_and_bandwidth_bound_on_h800(
    budget: FindBudget,
) -> None:
    """128 heads share one latent: 242 FLOPs a byte, between 37 of an H20 and 295 of an H800.

    By the rates that FlashMLA reaches, H800 balances near 230: at contexts of ten thousand and
    more, where queries and outputs no longer count, its two ceilings are level.
    """
    h20, h800 = (core(as_measured(budget(c))) for c in ("16xH20", "16xH800"))
    assert h20.bound is Bound.COMPUTE
    assert h800.bound is Bound.BANDWIDTH
    assert h20.saved_by["compute"] > 0.08 > 0.001 > h20.saved_by["bandwidth"]
    assert h800.saved_by["bandwidth"] > 2 * h800.saved_by["compute"]


def test_drafts_make_it_compute_bound_on_both(planned: MakePlan) -> None:
    """Four queries a sequence read the cache once: four times the FLOPs for a byte."""
    for chips in ("16xH20", "16xH800"):
        plan = planned(R1, chips)
        (group,) = plan.groups
        assert isinstance(group, ServingGroup)
        assert group.draft_depth == 3
        assert core(plan).bound is Bound.COMPUTE


@pytest.mark.parametrize("kind", SERVED)
def test_gains_are_shares_of_ten_percent(plans: dict[str, Plan], kind: str) -> None:
    gains = plans[kind].gains
    assert set(gains) == {"compute", "bandwidth", "link"}
    assert all(-1e-9 <= found <= MORE - 1 + 1e-9 for found in gains.values())
    assert 0 < sum(gains.values()) <= MORE - 1 + 1e-9


@pytest.mark.parametrize("rate", RATES)
def test_a_gain_is_what_faster_chips_give_at_the_same_batch(searched: Search, rate: Bound) -> None:
    search = searched()
    traffic = traffic_of(search.job)
    choice = next(c for c in search.found.choices if len(c.groups) == 1)
    (group,) = choice.groups
    hardware = group.sweep.pool.hardware.scaled(rate, 1.1)
    state = steady_state(replace(group.instance, hardware=hardware), traffic, group.sequences)
    expected = float(state.output_tokens_per_s) * group.count / choice.tokens_per_s - 1
    assert gain(choice, traffic, rate) == pytest.approx(expected, rel=1e-9)


def test_faster_chips_help_the_side_that_holds_the_other_up(searched: Search) -> None:
    search = searched(chips="2xH20", output_tokens=256)
    traffic = traffic_of(search.job)
    for choice in search.found.choices:
        if choice.groups[0].role is Role.PREFILL:
            gains = [gain(choice, traffic, rate) for rate in RATES]
            assert all(-1e-9 <= g <= 0.1 + 1e-9 for g in gains)


@pytest.mark.parametrize("kind", SERVED)
def test_every_group_of_the_plan_has_its_passes(plans: dict[str, Plan], kind: str) -> None:
    plan = plans[kind]
    expected: list[str] = []
    for group in plan.groups:
        assert isinstance(group, ServingGroup)
        expected += ["decode"] if group.role != "prefill" else []
        expected += ["prefill"] if group.role != "decode" else []
    phases = [row.phase for row in plan.operators]
    assert [
        p for p, before in zip(phases, [None, *phases], strict=False) if p != before
    ] == expected


def test_memory_is_that_of_the_room_and_what_runs(searched: Search) -> None:
    found: Found = searched().found
    for choice in found.choices[:10]:
        for group in choice.groups:
            use, space = serving_memory(group), group.sweep.room
            ranks = group.sweep.layout.data
            assert use.weights_bytes == space.weights_bytes
            assert use.cache_bytes == pytest.approx(space.sequence_bytes * group.sequences / ranks)
            assert use.capacity_bytes - use.reserved_bytes == pytest.approx(space.usable_bytes)
            assert use.free_bytes >= -1e-3


def test_runners_up_come_in_order_and_differ_in_what_is_run(searched: Search) -> None:
    for objective in Objective:
        search = searched(objective=objective)
        rows = alternatives(search.found, search.job, search.prices)
        names = [row.layout for row in rows]
        assert len(rows) == ALTERNATIVES
        assert len(set(names)) == len(names)
        assert describe(search.found.choices[0]) not in names
        behind = [row.behind for row in rows]
        assert behind == sorted(behind)
        assert behind[0] >= 0


def test_what_lacks_a_price_is_wholly_behind(searched: Search) -> None:
    """Beside chips with a price, what uses others cannot be ranked by dollars."""
    search = searched("R1-Distill-Qwen-1.5B", "2xH20+2x910B", objective=Objective.USD)
    known = {c: p for c, p in search.prices.items() if c.name == "H20"}
    model = load_model(search.job.model)
    found = search_serving(model, search.job, search.budget, search.limits, known)
    assert {g.chip.name for g in found.choices[0].groups} == {"H20"}
    rows = alternatives(found, search.job, known)
    assert all(row.behind == 1.0 for row in rows if "910B2" in row.layout)


def test_a_choice_in_one_line_names_chips_layout_formats_and_drafts(searched: Search) -> None:
    best = searched("DeepSeek-R1", "16xH20", tpot_s=0.05).found.choices[0]
    (group,) = best.groups
    assert describe(best) == (
        f"{group.count} x [{group.sweep.layout}] on 16 H20 native/{group.sweep.storage.cache}, "
        f"{group.depth} drafted"
    )
    found: Found = searched(chips="2xH20").found
    apart = next(c for c in found.choices if len(c.groups) == 2)
    assert describe(apart).startswith("prefill 1 x [1 chip] on 1 H20 ")
    assert " + decode 1 x [1 chip] on 1 H20 " in describe(apart)


def test_what_is_idle_or_converted_is_said(
    searched: Search, planned: MakePlan, plans: dict[str, Plan]
) -> None:
    search = searched(chips="3xH20")
    part = replace(search.found, choices=[c for c in search.found.choices if c.chips == 2][:1])
    idle = serving_plan(search.job, search.budget, part, search.prices, ())
    assert "1 of 3 chips stay idle" in idle.reasons
    assert not any("stay idle" in reason for reason in plans["together"].reasons)
    ascend = planned(R1, "16x910B")
    assert any("weights are converted to int8; check the accuracy" in r for r in ascend.reasons)
    (group,) = plans["together"].groups
    assert isinstance(group, ServingGroup)
    told = "H20: cache in fp8; --kv bf16 keeps 16 bits" in plans["together"].reasons
    assert told == (group.cache == "fp8")


def limits_told(job: ServeJob, planned: MakePlan) -> list[str]:
    reasons = planned(job, "4xH20").reasons
    return [r for r in reasons if "limit" in r or "batch" in r]


def test_it_is_said_how_far_limits_are_kept(planned: MakePlan) -> None:
    job = ServeJob(model="Qwen3-30B-A3B", input_tokens=4096, output_tokens=1536)
    (free,) = limits_told(job, planned)
    assert free == "no --tpot given: the batch may be as large as memory and engine allow"
    (tpot,) = limits_told(replace(job, tpot_limit_s=0.03), planned)
    assert tpot.startswith("TPOT keeps its limit as predicted, but its interval reaches ")
    (ttft,) = limits_told(replace(job, ttft_limit_s=1.0), planned)
    assert ttft.startswith("TTFT keeps its limit as predicted, but its interval reaches ")
    assert limits_told(replace(job, tpot_limit_s=1000.0, ttft_limit_s=1e5), planned) == []
    assert limits_told(replace(job, objective=Objective.LATENCY), planned) == []


def test_no_price_and_no_power_leave_no_figure(budget: FindBudget) -> None:
    had = budget("1xA800")
    job = ServeJob(model="R1-Distill-Qwen-1.5B", input_tokens=512, output_tokens=512)
    found = figures(make_plan(load_model(job.model), job, had, Terms()))
    assert found.usd_per_million_tokens is None
    price = Price(chip="A800 80GB SXM", usd_per_h=0.5, source="given")
    terms = Terms(prices={had.clusters[0].chip: price})
    usd = figures(make_plan(load_model(job.model), job, had, terms)).usd_per_million_tokens
    assert isinstance(usd, Predicted)
    assert usd.basis is Basis.DERIVED
    assert usd.value > 0


def test_refusals_are_the_users_errors(refusal: Callable[..., PenjingError]) -> None:
    assert refusal(replace(R1, tpot_limit_s=1e-9), "16xH20").exit_status == 1
