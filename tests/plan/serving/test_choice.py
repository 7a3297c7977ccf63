from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from penjing.cost.energy import COMPUTE_SHARE, MEMORY_SHARE, STANDING_SHARE
from penjing.hardware.chip import Chip
from penjing.plan.job import Objective
from penjing.plan.price import Price
from penjing.plan.serving.choice import Choice, Group, Role, decode_power_w, prefill_power_w, score
from penjing.plan.serving.search import Found, traffic_of

Search = Callable[..., Any]


@pytest.fixture(scope="module")
def choice(searched: Search) -> Choice:
    """The best that prefills and decodes on the same chips."""
    found: Found = searched().found
    return next(c for c in found.choices if len(c.groups) == 1)


@pytest.fixture(scope="module")
def apart(searched: Search) -> Choice:
    found: Found = searched().found
    return next(c for c in found.choices if c.groups[0].role is Role.PREFILL)


def priced(choice: Choice, usd_per_h: float) -> dict[Chip, Price]:
    return {
        g.chip: Price(chip=g.chip.name, usd_per_h=usd_per_h, source="a test") for g in choice.groups
    }


@pytest.fixture(scope="module")
def traffic(searched: Search) -> Any:
    return traffic_of(searched().job)


def test_a_group_counts_the_chips_of_all_its_instances(choice: Choice, apart: Choice) -> None:
    for group in (*choice.groups, *apart.groups):
        assert group.chips == group.count * group.sweep.layout.chips
    assert apart.chips == sum(group.chips for group in apart.groups)
    assert replace(choice.groups[0], count=3).chips == 3 * choice.groups[0].sweep.layout.chips


def test_power_lies_between_a_standing_and_a_rated_chip(
    choice: Choice, apart: Choice, traffic: Any
) -> None:
    for group in (*choice.groups, *apart.groups):
        rated = group.chip.power_w
        assert rated is not None
        watts = group.power_w(traffic)
        assert watts is not None
        assert STANDING_SHARE * rated.value < watts / group.chips <= rated.value
    both = apart.power_w(traffic)
    assert both == pytest.approx(sum(group.power_w(traffic) or 0.0 for group in apart.groups))


def test_prefill_draws_more_than_decoding_on_a_chip_with_few_matrix_units(
    choice: Choice, traffic: Any
) -> None:
    (group,) = choice.groups
    prefill = prefill_power_w(group.instance, traffic)
    decode = decode_power_w(group.instance, traffic, group.sequences)
    assert prefill is not None
    assert decode is not None
    rated = group.chip.power_w
    assert rated is not None
    assert decode < prefill <= rated.value
    # A group's mean is the two by their share of the time.
    mean = group.prefill_share * prefill + (1 - group.prefill_share) * decode
    assert group.power_w(traffic) == pytest.approx(mean * group.chips)


def test_idle_chips_still_stand(choice: Choice, traffic: Any) -> None:
    (group,) = choice.groups
    rated = group.chip.power_w
    assert rated is not None
    idle = replace(group, idle_share=1.0).power_w(traffic)
    assert idle == pytest.approx(STANDING_SHARE * rated.value * group.chips)
    busy, half = group.power_w(traffic), replace(group, idle_share=0.5).power_w(traffic)
    assert busy is not None
    assert idle is not None
    assert half == pytest.approx((busy + idle) / 2)
    assert STANDING_SHARE + max(COMPUTE_SHARE, MEMORY_SHARE) < 1  # one alone never saturates


def dark(group: Group) -> Group:
    """The group on chips that nobody published a power rating for."""
    pool = group.sweep.pool
    chip = replace(pool.hardware.chip, power_w=None)
    pool = replace(pool, hardware=replace(pool.hardware, chip=chip))
    instance = replace(group.sweep.instance, hardware=pool.hardware)
    return replace(group, sweep=replace(group.sweep, pool=pool, instance=instance))


def test_a_rating_that_lacks_leaves_the_power_unknown(apart: Choice, traffic: Any) -> None:
    first, second = apart.groups
    assert dark(first).power_w(traffic) is None
    assert replace(apart, groups=(dark(first), second)).power_w(traffic) is None
    assert replace(apart, groups=(first, dark(second))).power_w(traffic) is None


def test_dollars_are_those_of_the_chips_in_use(apart: Choice) -> None:
    assert apart.usd_per_h(priced(apart, 1.5)) == pytest.approx(1.5 * apart.chips)
    assert apart.usd_per_h({}) is None


def test_the_score_of_every_objective(choice: Choice, traffic: Any) -> None:
    prices = priced(choice, 2.0)
    watts = choice.power_w(traffic)
    assert watts is not None

    def worth(objective: Objective) -> float:
        return score(choice, objective, traffic, prices)

    assert worth(Objective.THROUGHPUT) == choice.tokens_per_s
    assert worth(Objective.USD) == pytest.approx(choice.tokens_per_s / (2.0 * choice.chips))
    assert worth(Objective.WATT) == pytest.approx(choice.tokens_per_s / watts)
    whole = choice.ttft_s + choice.tpot_s * traffic.output_tokens
    assert worth(Objective.LATENCY) == -whole


def test_what_lacks_the_figure_comes_last(choice: Choice, traffic: Any) -> None:
    assert score(choice, Objective.USD, traffic, {}) == -float("inf")
    (group,) = choice.groups
    unrated = replace(choice, groups=(dark(group),))
    assert score(unrated, Objective.WATT, traffic, {}) == -float("inf")
    assert score(unrated, Objective.THROUGHPUT, traffic, {}) == choice.tokens_per_s
