from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penjing.cost.network import NETWORK_EFFICIENCY, NETWORK_OVERHEAD_S
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Traffic, prefill_latency_s, prefill_request_s, token_s
from penjing.errors import Unpublished
from penjing.hardware.budget import parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.plan.job import Objective, ServeJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import storages
from penjing.plan.price import Price
from penjing.plan.serving import search
from penjing.plan.serving.apart import DENSE, KEPT, MOST_BUSY, _shares, apart, transfer_s
from penjing.plan.serving.choice import Choice, Role
from penjing.plan.serving.search import engine_for, traffic_of
from penjing.plan.serving.sweep import Pool, Sweep, sweep

MODEL = load_model("Qwen3-30B-A3B")
JOB = ServeJob(model=MODEL.name, input_tokens=4096, output_tokens=512)
TRAFFIC = traffic_of(JOB)


def pool_of(name: str, chips: int) -> Pool:
    chip = load_catalogue().find(name).chip
    return Pool(hardware=Hardware.of(chip, chips), chips=chips, engine=engine_for(chip, "auto"))


def sweeps_on(pool: Pool, traffic: Traffic = TRAFFIC) -> list[Sweep]:
    chip = pool.hardware.chip
    tried = [
        sweep(MODEL, pool, layout, storage, traffic)
        for storage in storages(MODEL, chip, "auto", "auto")
        for layout in serving_layouts(MODEL, pool.chips, chip.node_chips)
    ]
    return [s for s in tried if isinstance(s, Sweep)]


def prices_of(*pools: Pool) -> dict[Any, Price]:
    return {
        p.hardware.chip: Price(chip=p.hardware.chip.name, usd_per_h=1.0, source="a test")
        for p in pools
    }


@cache
def sweeps_of(name: str, chips: int) -> list[Sweep]:
    """Made once; called by property tests, whose reports would print a fixture in full."""
    return sweeps_on(pool_of(name, chips))


@pytest.fixture(scope="module")
def h20() -> list[Sweep]:
    return sweeps_of("H20", 4)


@pytest.fixture(scope="module")
def a800() -> list[Sweep]:
    return sweeps_of("A800", 2)


Limits = tuple[float | None, float | None]
limits = st.tuples(st.none() | st.floats(0.01, 0.2), st.none() | st.floats(0.1, 5.0))


@settings(deadline=None, max_examples=25)
@given(limit=limits, objective=st.sampled_from(Objective), mixed=st.booleans())
@example(limit=(None, 0.203125), objective=Objective.THROUGHPUT, mixed=False)  # half a sequence
def test_what_every_pair_keeps(limit: Limits, objective: Objective, mixed: bool) -> None:
    aft = sweeps_of("H20", 4)
    fore = sweeps_of("A800", 2) if mixed else aft
    job = replace(JOB, tpot_limit_s=limit[0], ttft_limit_s=limit[1], objective=objective)
    found = apart(fore, aft, job, TRAFFIC, prices_of(fore[0].pool, aft[0].pool))
    assert len(found) <= KEPT
    for choice in found:
        prefill, decode = choice.groups
        assert (prefill.role, decode.role) == (Role.PREFILL, Role.DECODE)
        assert prefill.sweep.pool is fore[0].pool
        assert decode.sweep.pool is aft[0].pool
        assert prefill.sweep.storage.cache == decode.sweep.storage.cache
        check_chips(choice)
        check_rates(choice)
        check_latencies(choice, limit)


def check_chips(choice: Choice) -> None:
    prefill, decode = choice.groups
    for group in choice.groups:
        assert group.count >= 1
        assert group.chips <= group.sweep.pool.chips
    if prefill.sweep.pool is decode.sweep.pool:
        assert choice.chips <= prefill.sweep.pool.chips


def check_rates(choice: Choice) -> None:
    """Neither side is asked for more than it has, and the prefill side never runs full."""
    prefill, decode = choice.groups
    rate = choice.tokens_per_s / TRAFFIC.output_tokens
    each = 1.0 / prefill_request_s(prefill.instance, TRAFFIC.input_tokens)
    assert rate <= prefill.count * each * MOST_BUSY * (1 + 1e-9)
    assert prefill.idle_share == pytest.approx(1 - rate / (prefill.count * each))
    # Little's law: what runs is what comes in times how long it stays.
    assert decode.sequences == pytest.approx(
        rate / decode.count * choice.tpot_s * TRAFFIC.output_tokens, rel=0.02
    )
    assert decode.sequences <= np.asarray(decode.sweep.steady.sequences).max()


def check_latencies(choice: Choice, limit: Limits) -> None:
    prefill, decode = choice.groups
    latency = float(prefill_latency_s(prefill.instance, 1.0, TRAFFIC.input_tokens))
    assert choice.transfer_s == transfer_s(prefill.sweep, decode.sweep, TRAFFIC)
    assert choice.ttft_s > latency + choice.transfer_s
    direct = float(token_s(decode.instance, decode.sequences, TRAFFIC.context_tokens))
    assert choice.tpot_s == pytest.approx(direct, rel=0.02)
    tpot, ttft = limit
    assert tpot is None or choice.tpot_s <= tpot * (1 + 1e-9)
    assert ttft is None or choice.ttft_s <= ttft * (1 + 1e-9)


def every_rate(fore: Sequence[Sweep], aft: Sequence[Sweep], job: ServeJob) -> Iterator[float]:
    """Requests a second of every pair in every ratio, one at a time."""
    same = fore[0].pool is aft[0].pool
    for ahead in fore:
        latency = float(prefill_latency_s(ahead.at(0), 1.0, TRAFFIC.input_tokens))
        one = 1.0 / prefill_request_s(ahead.at(0), TRAFFIC.input_tokens)
        for behind in aft:
            if behind.storage.cache != ahead.storage.cache:
                continue
            tokens, best, step = np.asarray(behind.decode_token_s)[0], 0.0, 0.0
            for place, batch in enumerate(np.asarray(behind.steady.sequences)[0]):
                served = batch / tokens[place] / TRAFFIC.output_tokens
                if tokens[place] <= (job.tpot_limit_s or np.inf) and served > best:
                    best, step = served, float(np.asarray(behind.steady.step_s)[0, place])
            chips = fore[0].pool.chips
            for count in range(1, chips // ahead.layout.chips + 1):
                left = chips - count * ahead.layout.chips if same else aft[0].pool.chips
                pairs = left // behind.layout.chips
                busy = MOST_BUSY
                if job.ttft_limit_s is not None:
                    spare = job.ttft_limit_s - transfer_s(ahead, behind, TRAFFIC) - step / 2
                    wait = spare / latency - 1
                    busy = min(busy, 2 * wait / (1 + 2 * wait)) if wait > 0 else 0.0
                yield min(count * one * busy, pairs * best)


@pytest.mark.parametrize("limit", [(None, None), (0.03, None), (None, 0.6), (0.02, 0.5)])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_best_pair_is_the_best_of_all(
    h20: list[Sweep], a800: list[Sweep], limit: Limits, mixed: bool
) -> None:
    fore, aft = (a800, h20) if mixed else (h20, h20)
    job = replace(JOB, tpot_limit_s=limit[0], ttft_limit_s=limit[1])
    found = apart(fore, aft, job, TRAFFIC, {})
    top = max(every_rate(fore, aft, job))
    assert top > 0
    assert found[0].tokens_per_s / TRAFFIC.output_tokens == pytest.approx(top, rel=1e-9)


def test_the_cache_travels_in_its_own_format(h20: list[Sweep]) -> None:
    """98,304 bytes a token in bf16 (48 layers, 4 heads of 128, keys and values), half in fp8."""
    wide = next(s for s in h20 if s.storage.cache == "bf16")
    narrow = next(s for s in h20 if s.storage.cache == "fp8")
    rate = h20[0].pool.hardware.topology.fabric_bytes_per_s * NETWORK_EFFICIENCY
    assert transfer_s(wide, wide, TRAFFIC) == pytest.approx(
        NETWORK_OVERHEAD_S + 98_304 * 4096 / rate
    )
    assert transfer_s(narrow, narrow, TRAFFIC) == pytest.approx(
        NETWORK_OVERHEAD_S + 98_304 * 4096 / 2 / rate
    )
    for choice in apart(h20, h20, JOB, TRAFFIC, {}):
        first = narrow if choice.groups[0].sweep.storage.cache == "fp8" else wide
        assert choice.transfer_s == transfer_s(first, first, TRAFFIC)


def test_the_cache_of_one_node_takes_the_fabric_of_several_the_network(h20: list[Sweep]) -> None:
    nodes = sweeps_on(pool_of("H20", 16))
    topology = nodes[0].pool.hardware.topology
    size = (transfer_s(h20[0], h20[0], TRAFFIC) - NETWORK_OVERHEAD_S) * topology.fabric_bytes_per_s
    across = transfer_s(nodes[0], nodes[0], TRAFFIC) - NETWORK_OVERHEAD_S
    assert across * topology.network_bytes_per_s == pytest.approx(size)


def test_chips_of_two_kinds_share_no_node(h20: list[Sweep], a800: list[Sweep]) -> None:
    """Each pool fits in a node of its own, yet between them there is only the network."""
    rates = [s[0].pool.hardware.topology.network_bytes_per_s for s in (h20, a800)]
    expected = NETWORK_OVERHEAD_S + 98_304 * 4096 / (min(rates) * NETWORK_EFFICIENCY)
    assert transfer_s(h20[0], a800[0], TRAFFIC) == pytest.approx(expected)
    assert transfer_s(a800[0], h20[0], TRAFFIC) == pytest.approx(expected)


def test_without_a_network_between_them_pools_cannot_work_apart(h20: list[Sweep]) -> None:
    l20 = sweeps_on(pool_of("L20", 4))
    assert apart(l20, l20, JOB, TRAFFIC, {})
    for fore, aft in ((h20, l20), (l20, h20)):
        with pytest.raises(Unpublished, match="L20: bandwidth between nodes not published"):
            apart(fore, aft, JOB, TRAFFIC, {})


def test_one_chip_cannot_be_two_sides() -> None:
    alone = sweeps_on(pool_of("H20", 1))
    assert alone
    assert apart(alone, alone, JOB, TRAFFIC, {}) == []
    assert apart([], alone, JOB, TRAFFIC, {}) == []
    assert apart(alone, [], JOB, TRAFFIC, {}) == []


def test_limits_that_neither_side_keeps_leave_nothing(h20: list[Sweep]) -> None:
    assert apart(h20, h20, replace(JOB, tpot_limit_s=1e-6), TRAFFIC, {}) == []
    assert apart(h20, h20, replace(JOB, ttft_limit_s=1e-6), TRAFFIC, {}) == []


def test_sides_with_other_caches_are_not_paired(h20: list[Sweep], a800: list[Sweep]) -> None:
    """A800 keeps no fp8 cache: pairs with H20 keep bf16, whatever H20 could."""
    assert {s.storage.cache for s in h20} == {"bf16", "fp8"}
    assert {s.storage.cache for s in a800} == {"bf16"}
    for fore, aft in ((h20, a800), (a800, h20)):
        found = apart(fore, aft, JOB, TRAFFIC, {})
        assert found
        assert {g.sweep.storage.cache for c in found for g in c.groups} == {"bf16"}
    only_fp8 = [s for s in h20 if s.storage.cache == "fp8"]
    assert apart(only_fp8, a800, JOB, TRAFFIC, {}) == []


@pytest.mark.parametrize("objective", [Objective.USD, Objective.WATT])
def test_frugal_objectives_weigh_the_chips_that_are_used(
    h20: list[Sweep], objective: Objective
) -> None:
    job = replace(JOB, objective=objective)
    found = apart(h20, h20, job, TRAFFIC, prices_of(h20[0].pool))
    assert found
    if objective is Objective.USD:
        fast = apart(h20, h20, JOB, TRAFFIC, {})[0]
        assert found[0].tokens_per_s / found[0].chips >= fast.tokens_per_s / fast.chips * (1 - 1e-9)


def test_a_price_that_lacks_breaks_nothing(h20: list[Sweep]) -> None:
    """Infinitely dear chips are a score of nothing, not a warning about infinities."""
    with np.errstate(all="raise"):
        apart(h20, h20, replace(JOB, objective=Objective.USD), TRAFFIC, {})


def test_the_quickest_pair_has_the_shortest_answer(h20: list[Sweep]) -> None:
    quick = apart(h20, h20, replace(JOB, objective=Objective.LATENCY), TRAFFIC, {})[0]
    fast = apart(h20, h20, JOB, TRAFFIC, {})[0]

    def whole(choice: Choice) -> float:
        return choice.ttft_s + choice.tpot_s * TRAFFIC.output_tokens

    assert whole(quick) < whole(fast)
    assert quick.tokens_per_s < fast.tokens_per_s


def test_both_directions_are_considered_across_pools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, str]] = []

    def spy(fore: Sequence[Sweep], aft: Sequence[Sweep], *rest: Any) -> list[Choice]:
        seen.append((fore[0].pool.hardware.chip.name, aft[0].pool.hardware.chip.name))
        return apart(fore, aft, *rest)

    monkeypatch.setattr(search, "apart", spy)
    budget = parse_budget("2xH20+2xA800", load_catalogue())
    found = search.search_serving(MODEL, JOB, budget, search.Limits(), {})
    names = ("H20", "A800 80GB SXM")
    assert sorted(seen) == sorted((fore, aft) for fore in names for aft in names)
    pairs = {tuple(g.chip.name for g in c.groups) for c in found.choices if len(c.groups) == 2}
    assert {names, names[::-1]} <= pairs


@given(most=st.integers(min_value=0, max_value=2_000_000))
def test_of_many_instances_not_every_count_is_tried(most: int) -> None:
    """All of a few; of more, the ends and no gap wider than the counts of a pool that size need."""
    counts = [int(n) for n in _shares(most)]
    assert counts == sorted(set(counts))
    assert counts[:DENSE] == list(range(1, min(most, DENSE) + 1))
    assert counts[-1:] == [most][: most > 0]
    assert len(counts) <= 2 * DENSE
    assert all(b - a <= max(1, 0.05 * b) for a, b in pairwise(counts))
