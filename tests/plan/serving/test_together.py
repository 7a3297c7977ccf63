from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.engine import ENGINES
from penjing.cost.layout import Layout
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Traffic
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.plan.job import Objective, ServeJob
from penjing.plan.numerics import storages
from penjing.plan.price import Price
from penjing.plan.serving.choice import Choice, score
from penjing.plan.serving.search import traffic_of
from penjing.plan.serving.sweep import Misfit, Pool, Sweep, sweep
from penjing.plan.serving.together import (
    MISSES_TPOT,
    MISSES_TTFT,
    choice_at,
    side_by_side,
    together,
)

JOB = ServeJob(model="DeepSeek-R1", input_tokens=4096, output_tokens=1536)
TRAFFIC = traffic_of(JOB)
H20 = load_catalogue().find("H20").chip
PRICES = {H20: Price(chip="H20", usd_per_h=1.0, source="a test")}


def swept(layout: Layout, chips: int = 16, traffic: Traffic = TRAFFIC) -> Sweep:
    model = load_model("DeepSeek-R1")
    pool = Pool(hardware=Hardware.of(H20, chips), chips=chips, engine=ENGINES["sglang"])
    found = sweep(model, pool, layout, storages(model, H20, "native", "bf16")[0], traffic)
    assert isinstance(found, Sweep)
    return found


@pytest.fixture(scope="module")
def wide() -> Sweep:
    return swept(Layout(data=16, expert=16))


def cells(found: Sweep) -> Iterator[Choice]:
    depths, batches = np.asarray(found.steady.tpot_s).shape
    for depth in range(depths):
        for batch in range(batches):
            yield choice_at(found, depth, batch, TRAFFIC)


def best(outcome: Choice | Misfit) -> Choice:
    assert isinstance(outcome, Choice), outcome
    return outcome


@pytest.fixture(scope="module")
def worth(wide: Sweep) -> dict[Objective, list[float]]:
    """The score of every cell. Within one layout the chips and so the dollars are the same."""
    return {o: [score(c, o, TRAFFIC, PRICES) for c in cells(wide)] for o in Objective}


@pytest.mark.parametrize("objective", Objective)
@settings(deadline=None, max_examples=20)
@given(tpot_ms=st.none() | st.floats(5.0, 500.0), ttft_s=st.none() | st.floats(0.3, 60.0))
def test_the_winner_beats_every_cell_within_the_limits(
    wide: Sweep,
    worth: dict[Objective, list[float]],
    objective: Objective,
    tpot_ms: float | None,
    ttft_s: float | None,
) -> None:
    tpot_s = None if tpot_ms is None else tpot_ms / 1e3
    job = replace(JOB, objective=objective, tpot_limit_s=tpot_s, ttft_limit_s=ttft_s)
    kept = [
        value
        for cell, value in zip(cells(wide), worth[objective], strict=True)
        if cell.tpot_s <= (tpot_s or np.inf) and cell.ttft_s <= (ttft_s or np.inf)
    ]
    outcome = together(wide, job, TRAFFIC)
    if not kept:
        assert isinstance(outcome, Misfit)
        return
    found = best(outcome)
    assert found.tpot_s <= (tpot_s or np.inf)
    assert found.ttft_s <= (ttft_s or np.inf)
    assert score(found, objective, TRAFFIC, PRICES) == pytest.approx(max(kept), rel=1e-12)


def test_no_limit_means_the_fastest_cell_of_all(wide: Sweep) -> None:
    found = best(together(wide, JOB, TRAFFIC))
    rates = np.asarray(wide.steady.output_tokens_per_s)
    assert found.tokens_per_s == pytest.approx(float(rates.max()), rel=1e-12)


def test_a_missed_limit_says_what_was_reached(wide: Sweep) -> None:
    tpot = np.asarray(wide.steady.tpot_s)
    slow = together(wide, replace(JOB, tpot_limit_s=1e-6), TRAFFIC)
    assert isinstance(slow, Misfit)
    assert (slow.reason, slow.reached_s) == (MISSES_TPOT, float(tpot.min()))
    assert slow.layout == wide.layout
    assert slow.shortfall_bytes == 0
    late = together(wide, replace(JOB, ttft_limit_s=1e-6), TRAFFIC)
    assert isinstance(late, Misfit)
    assert late.reason == MISSES_TTFT
    assert late.reached_s == float(np.asarray(wide.steady.ttft_s).min())
    assert isinstance(together(wide, replace(JOB, tpot_limit_s=slow.reached_s), TRAFFIC), Choice)
    assert isinstance(together(wide, replace(JOB, ttft_limit_s=late.reached_s), TRAFFIC), Choice)


def test_time_to_first_token_is_reached_among_what_is_fast_enough(wide: Sweep) -> None:
    """The first token may come sooner at a batch that is too slow later on."""
    tpot, ttft = np.asarray(wide.steady.tpot_s), np.asarray(wide.steady.ttft_s)
    limit = float(np.quantile(tpot, 0.2))
    found = together(wide, replace(JOB, tpot_limit_s=limit, ttft_limit_s=1e-6), TRAFFIC)
    assert isinstance(found, Misfit)
    assert found.reached_s == float(ttft[tpot <= limit].min())


def test_a_choice_counts_instances_and_what_prefill_takes(wide: Sweep) -> None:
    small = swept(Layout(tensor=8))
    found = choice_at(small, 0, 3, TRAFFIC)
    (group,) = found.groups
    assert (group.count, group.chips, found.chips) == (2, 16, 16)
    assert found.tokens_per_s == pytest.approx(2 * group.sequences / found.tpot_s)
    # Prefill of the requests that replace those that finish: what its share takes of a token.
    step = float(np.asarray(small.steady.step_s)[0, 3])
    assert group.prefill_share == pytest.approx(1 - step / found.tpot_s)
    assert choice_at(wide, 0, 3, TRAFFIC).groups[0].count == 1


def test_chips_that_no_instance_fills_stay_idle() -> None:
    found = best(together(swept(Layout(tensor=8), chips=12), JOB, TRAFFIC))
    assert (found.groups[0].count, found.chips) == (1, 8)


def test_side_by_side_rates_add_up_and_latencies_are_the_worst(wide: Sweep) -> None:
    quick, full = choice_at(wide, 3, 0, TRAFFIC), choice_at(wide, 0, 40, TRAFFIC)
    both = side_by_side([quick, full])
    assert both.groups == (*quick.groups, *full.groups)
    assert both.tokens_per_s == quick.tokens_per_s + full.tokens_per_s
    assert both.tpot_s == full.tpot_s > quick.tpot_s
    assert both.ttft_s == full.ttft_s > quick.ttft_s
    assert both.chips == 32


def test_side_by_side_keeps_the_longest_hand_over(wide: Sweep) -> None:
    one = choice_at(wide, 0, 0, TRAFFIC)
    three = [replace(one, transfer_s=s) for s in (0.1, 0.3, 0.0)]
    assert side_by_side(iter(three)).transfer_s == 0.3
