import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.engine import ENGINES
from penjing.cost.serving import Instance, room, steady_state
from penjing.errors import UnknownName
from penjing.hardware.budget import Budget
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip, Figure
from penjing.hardware.cluster import Cluster
from penjing.models.catalogue import load_model
from penjing.plan.job import Objective, ServeJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import storages
from penjing.plan.serving.choice import Choice, Role, score
from penjing.plan.serving.search import (
    NO_HANDOVER,
    Found,
    Limits,
    engine_for,
    search_serving,
    traffic_of,
)
from penjing.plan.serving.sweep import NO_LINK, WEIGHTS_DO_NOT_FIT, Sweep

Search = Callable[..., Any]
FindBudget = Callable[[str], Budget]
R1, MIXED, SMALL = "DeepSeek-R1", "Qwen3-30B-A3B", "R1-Distill-Qwen-1.5B"


def aggregated(found: Found) -> list[Choice]:
    """The choices that are one pool of equal instances: one for every sweep that has a point."""
    return [c for c in found.choices if len(c.groups) == 1]


def throughput(chips: str, model: str = MIXED, **asked: Any) -> float:
    """The best tokens a second; 0 where nothing is within the limits."""
    job = ServeJob(model=model, input_tokens=4096, output_tokens=1536, **asked)
    return rate(job, budget_of(chips))


def rate(job: ServeJob, budget: Budget) -> float:
    found = search_serving(load_model(job.model), job, budget, Limits(), {})
    return found.choices[0].tokens_per_s if found.choices else 0.0


def budget_of(text: str) -> Budget:
    count, _, name = text.partition("x")
    return had(load_catalogue().find(name).chip, int(count))


def had(chip: Chip, count: int) -> Budget:
    return Budget(clusters=(Cluster(chip=chip, count=count),))


@pytest.mark.parametrize("objective", Objective)
def test_the_winner_beats_every_other_choice(searched: Search, objective: Objective) -> None:
    search = searched(objective=objective)
    traffic = traffic_of(search.job)
    scores = [score(c, objective, traffic, search.prices) for c in search.found.choices]
    assert len(scores) > 30
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] > -float("inf")


def points(search: Any) -> dict[tuple[str, str, str], float]:
    """Tokens a second of every layout, storage and draft depth at its best batch, one by one."""
    (cluster,) = search.budget.clusters
    model, chip, traffic = search.model, cluster.chip, traffic_of(search.job)
    sample = aggregated(search.found)[0].groups[0].sweep
    best: dict[tuple[str, str, str], float] = {}
    for storage in storages(model, chip, search.limits.weights, search.limits.cache):
        for layout in serving_layouts(model, cluster.count, chip.node_chips):
            bare = Instance(
                model=model,
                layout=layout,
                hardware=sample.pool.hardware,
                numerics=storage.numerics,
                engine=sample.pool.engine,
            )
            space = room(bare, traffic.context_tokens)
            if space.shortfall_bytes:
                continue
            most = min(space.max_sequences, bare.engine.max_sequences * layout.data)
            for depth in range(4 if model.mtp else 1):
                instance = replace(bare, draft_depth=float(depth))
                for batch in np.unique(np.floor(np.geomspace(1.0, most, 48))):
                    state = steady_state(instance, traffic, float(batch))
                    late = state.ttft_s > (search.job.ttft_limit_s or np.inf)
                    if late or state.tpot_s > (search.job.tpot_limit_s or np.inf):
                        continue
                    key = (str(layout), storage.weights, storage.cache)
                    tokens = float(state.output_tokens_per_s) * (cluster.count // layout.chips)
                    best[key] = max(best.get(key, 0.0), tokens)
    return best


@pytest.mark.parametrize(
    "asked",
    [
        {"model": MIXED, "chips": "4xH20"},
        {"model": MIXED, "chips": "4xH20", "tpot_s": 0.03, "ttft_s": 1.0},
        {"model": MIXED, "chips": "3xL20", "tpot_s": 0.1},
        {"model": R1, "chips": "8xH200", "weights": "native", "cache": "fp8", "tpot_s": 0.05},
    ],
)
def test_the_search_finds_what_trying_every_point_finds(
    searched: Search, asked: dict[str, Any]
) -> None:
    search = searched(**asked)
    expected = points(search)
    found = {}
    for choice in aggregated(search.found):
        (group,) = choice.groups
        storage = group.sweep.storage
        key = (str(group.sweep.layout), storage.weights, storage.cache)
        found[key] = choice.tokens_per_s
    assert found.keys() == expected.keys()
    for key, tokens in expected.items():
        assert found[key] == pytest.approx(tokens, rel=1e-9), key
    assert search.found.choices[0].tokens_per_s >= max(expected.values()) * (1 - 1e-9)


@settings(deadline=None, max_examples=15)
@given(tpot=st.none() | st.floats(0.01, 0.2), ttft=st.none() | st.floats(0.2, 5.0))
def test_every_choice_keeps_the_limits(tpot: float | None, ttft: float | None) -> None:
    job = ServeJob(
        model=MIXED, input_tokens=4096, output_tokens=1536, tpot_limit_s=tpot, ttft_limit_s=ttft
    )
    found = search_serving(load_model(MIXED), job, budget_of("2xH20"), Limits(), {})
    for choice in found.choices:
        assert choice.tpot_s <= (tpot or np.inf) * (1 + 1e-9)
        assert choice.ttft_s <= (ttft or np.inf) * (1 + 1e-9)
        assert choice.chips <= 2
    assert found.choices or {"over the limit" in m.reason for m in found.misfits} == {True}


@settings(deadline=None, max_examples=10)
@given(
    limits=st.lists(st.floats(0.005, 0.3), min_size=2, max_size=2, unique=True),
    which=st.sampled_from(["tpot_limit_s", "ttft_limit_s"]),
)
def test_tighter_limits_never_raise_throughput(limits: list[float], which: str) -> None:
    tight, loose = sorted(limits)
    scale = 10.0 if which == "ttft_limit_s" else 1.0
    free = throughput("2xH20")
    rates = [throughput("2xH20", MIXED, **{which: limit * scale}) for limit in (tight, loose)]
    assert rates[0] <= rates[1] <= free


def test_more_chips_never_lower_throughput() -> None:
    rates = [throughput(f"{n}xH20", R1, tpot_limit_s=0.05) for n in (8, 16, 32)]
    assert all(fewer < more for fewer, more in pairwise(rates))
    small = [throughput(f"{n}xH20") for n in (1, 2, 3, 4, 5, 6, 8)]
    assert all(fewer <= more for fewer, more in pairwise(small))


@pytest.fixture(scope="module")
def h20() -> Chip:
    return load_catalogue().find("H20").chip


@settings(deadline=None, max_examples=8)
@given(faster=st.floats(1.0, 4.0), rate_name=st.sampled_from(["compute", "bandwidth", "capacity"]))
def test_a_better_chip_never_lowers_throughput(h20: Chip, faster: float, rate_name: str) -> None:
    def more(figure: Figure | None) -> Figure:
        assert figure is not None
        return replace(figure, value=figure.value * faster)

    match rate_name:
        case "compute":
            rates = {p: more(f) for p, f in h20.compute_flops_per_s.items()}
            chip = replace(h20, compute_flops_per_s=rates)
        case "bandwidth":
            bandwidth = more(h20.memory.bandwidth_bytes_per_s)
            chip = replace(h20, memory=replace(h20.memory, bandwidth_bytes_per_s=bandwidth))
        case _:
            capacity = more(h20.memory.capacity_bytes)
            chip = replace(h20, memory=replace(h20.memory, capacity_bytes=capacity))
    # Batches lie on a grid up to what fits, so that more memory moves the points a little.
    kept = 0.99 if rate_name == "capacity" else 1.0
    for tpot in (None, 0.03):
        job = ServeJob(model=MIXED, input_tokens=4096, output_tokens=1536, tpot_limit_s=tpot)
        assert rate(job, had(chip, 2)) >= rate(job, had(h20, 2)) * kept


@pytest.mark.parametrize(
    "asked",
    [
        {"model": MIXED, "chips": "4xH20"},
        {"model": MIXED, "chips": "4xH20", "tpot_s": 0.012, "ttft_s": 0.7},
        {"model": MIXED, "chips": "16xL20"},
        {"model": MIXED, "chips": "2xH20+2xL20", "tpot_s": 0.02},
        {"model": R1, "chips": "8xH200", "weights": "native", "cache": "fp8", "tpot_s": 0.05},
    ],
)
def test_every_layout_is_a_choice_or_fell_for_one_reason(
    searched: Search, asked: dict[str, Any]
) -> None:
    """Layouts tried = those served together within the limits + those that fell.

    Beside them stand pairs of pools without a link between them, which are no layouts; choices
    that set prefill apart or pools side by side combine layouts that are counted already.
    """
    found: Found = searched(**asked).found
    fell = Counter(m.reason for m in found.misfits)
    assert found.infeasible == fell
    assert found.layouts == len(aggregated(found)) + sum(fell.values()) - fell[NO_HANDOVER]
    model = load_model(asked["model"])
    tried = 0
    for cluster in searched(**asked).budget.clusters:
        limits = searched(**asked).limits
        formats = storages(model, cluster.chip, limits.weights, limits.cache)
        layouts = list(serving_layouts(model, cluster.count, cluster.chip.node_chips))
        tried += len(formats) * len(layouts)
    assert found.layouts == tried


def test_points_are_the_cells_of_every_sweep(searched: Search) -> None:
    found: Found = searched().found
    sweeps: dict[int, Sweep] = {id(g.sweep): g.sweep for c in found.choices for g in c.groups}
    assert not found.misfits
    assert found.points == sum(np.size(s.steady.tpot_s) for s in sweeps.values())


def test_pools_side_by_side_add_up(searched: Search) -> None:
    """Each at its best for itself: what either alone would be given."""
    search = searched(SMALL, "2xH20+2x910B")
    (both,) = [
        c for c in search.found.choices if [g.role for g in c.groups] == [Role.SERVE, Role.SERVE]
    ]
    alone = [aggregated(searched(SMALL, chips).found)[0] for chips in ("2xH20", "2x910B")]
    assert [g.chip.name for g in both.groups] == ["H20", "Ascend 910B2"]
    assert both.tokens_per_s == pytest.approx(sum(c.tokens_per_s for c in alone))
    assert both.tpot_s == pytest.approx(max(c.tpot_s for c in alone))


def test_sixteen_h20_beside_sixteen_910b_serve_more_than_either(searched: Search) -> None:
    both = searched(R1, "16xH20+16x910B", tpot_s=0.05).found
    alone = [searched(R1, c, tpot_s=0.05).found for c in ("16xH20", "16x910B")]
    total = sum(aggregated(f)[0].tokens_per_s for f in alone)
    assert both.choices[0].tokens_per_s >= total * (1 - 1e-9)
    roles = Counter(tuple((g.role.value, g.chip.name) for g in c.groups) for c in both.choices)
    for fore, aft in (("H20", "Ascend 910B2"), ("Ascend 910B2", "H20")):
        assert roles[("prefill", fore), ("decode", aft)] > 0


def test_without_a_network_what_spans_nodes_falls_and_the_rest_stays(searched: Search) -> None:
    found: Found = searched(MIXED, "16xL20").found
    fell = [m.layout for m in found.misfits if m.reason == NO_LINK]
    kept = [c.groups[0].sweep.layout for c in aggregated(found)]
    assert fell
    assert kept
    assert min(layout.chips for layout in fell) > 8 >= max(layout.chips for layout in kept)
    assert aggregated(found)[0].groups[0].count >= 2
    assert {m.reason for m in found.misfits} == {NO_LINK, WEIGHTS_DO_NOT_FIT, NO_HANDOVER}


def test_given_formats_and_engine_are_the_only_ones_tried(budget: FindBudget) -> None:
    job = ServeJob(model=MIXED, input_tokens=512, output_tokens=512)
    limits = Limits(weights="int4", cache="bf16", engine="vllm")
    found = search_serving(load_model(MIXED), job, budget("2xL20"), limits, {})
    groups = [g for c in found.choices for g in c.groups]
    assert {g.sweep.storage.weights for g in groups} == {"int4"}
    assert {g.sweep.storage.cache for g in groups} == {"bf16"}
    assert {g.sweep.pool.engine for g in groups} == {ENGINES["vllm"]}


@pytest.mark.parametrize(
    ("chip", "engine"),
    [("H20", "sglang"), ("MI300X", "sglang"), ("910B", "vllm-ascend"), ("Xeon 6980P", "llama.cpp")],
)
def test_the_engine_that_people_run_on_such_a_chip(chip: str, engine: str) -> None:
    part = load_catalogue().find(chip).chip
    assert engine_for(part, "auto") is ENGINES[engine]
    assert engine_for(part, "VLLM") is ENGINES["vllm"]
    with pytest.raises(UnknownName, match="unknown engine 'vlm'; nearest: vllm"):
        engine_for(part, "vlm")


@pytest.mark.parametrize(("chips", "most_s"), [("16xH20", 1.0), ("64xH20", 2.5)])
def test_the_search_for_r1_is_quick(budget: FindBudget, chips: str, most_s: float) -> None:
    """Processor time, as a busy machine has no say in it; the best of three, as caches warm up."""
    model, had = load_model(R1), budget(chips)
    job = ServeJob(model=R1, input_tokens=4096, output_tokens=1536, tpot_limit_s=0.05)
    taken = []
    for _ in range(3):
        start = time.process_time()
        assert search_serving(model, job, had, Limits(), {}).choices
        taken.append(time.process_time() - start)
    assert min(taken) < most_s
