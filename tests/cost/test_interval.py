"""The intervals that ship: complete, in order, and honest about what they rest on."""

import tomllib
from importlib import resources

import pytest

from penjing.cost.interval import Metric, Spread, interval_of, spreads


def test_every_metric_has_an_interval_for_both_kinds_of_chip() -> None:
    assert set(spreads()) == {(metric, derived) for metric in Metric for derived in (False, True)}


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("metric", Metric)
def test_an_interval_is_ordered_and_rests_on_runs(metric: Metric, derived: bool) -> None:
    spread = interval_of(metric, derived=derived)
    assert 0.02 < spread.low < spread.high < 50
    assert spread.low < 1.5
    assert spread.high > 0.9
    assert spread.groups >= 10


def test_the_reciprocal_swaps_the_ends() -> None:
    assert Spread(low=0.5, high=4.0, groups=7).inverse() == Spread(low=0.25, high=2.0, groups=7)


def test_factors_are_on_seconds_for_the_two_latencies_only() -> None:
    assert [metric for metric in Metric if metric.is_time] == [Metric.TPOT, Metric.TTFT]


def test_the_file_says_where_its_figures_come_from() -> None:
    text = (resources.files("penjing.cost") / "intervals.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    assert "public measurements" in raw["provenance"]
    for entry in raw["interval"]:
        found = interval_of(Metric(entry["metric"]), derived=entry["curves"] == "derived")
        assert (found.low, found.high) == (entry["low"], entry["high"])
        assert entry["sources"] >= 1
