from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from penjing.cost.engine import IN_A_MODEL
from penjing.cost.forward import draft_ops, forward_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op
from penjing.cost.roofline import Bound, Hardware, Timing, time_ops, total_seconds
from penjing.cost.work import Numerics, Pass, Phase
from penjing.hardware.chip import Chip
from penjing.models.catalogue import load_model
from penjing.plan.bottleneck import MORE, RATES, operator_class, operator_classes
from penjing.plan.plan import OperatorClass, Plan

FindChip = Callable[[str], Chip]
SPREAD = Layout(tensor=2, data=2, expert=4, pipeline=2)
CLASSES = {
    "expert exchange",
    "collectives",
    "experts",
    "elementwise",
    "attention core",
    "attention projections",
    "feed-forward products",
    "head",
}
MOST_SAVED = 1 - 1 / MORE


def ops(model: str, phase: Phase, layout: Layout = SPREAD) -> list[Op]:
    work = Pass(phase=phase, sequences=4.0, new=4.0, cached=512.0)
    config = load_model(model)
    return [
        *forward_ops(config, layout, work, Numerics()),
        *(draft_ops(config, layout, work, Numerics()) if config.mtp else ()),
    ]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("attention.down", "attention projections"),
        ("attention.out", "attention projections"),
        ("attention.norm", "elementwise"),
        ("attention.core", "attention core"),
        ("attention.all_reduce", "collectives"),
        ("indexer.q", "attention projections"),
        ("indexer.score", "attention core"),
        ("moe.router", "feed-forward products"),
        ("moe.experts", "experts"),
        ("moe.shared.up", "feed-forward products"),
        ("moe.dispatch", "expert exchange"),
        ("moe.combine", "expert exchange"),
        ("ffn.down", "feed-forward products"),
        ("ffn.all_reduce", "collectives"),
        ("pipeline.send", "collectives"),
        ("head", "head"),
        ("head.norm", "elementwise"),
    ],
)
def test_the_class_of_an_operator(phase: Phase, name: str, expected: str) -> None:
    found = {operator_class(op) for op in ops("DeepSeek-V3.2", phase) if op.name == name}
    assert found == {expected}


def test_experts_that_are_all_split_in_width_exchange_by_gather_and_scatter() -> None:
    split = ops("Qwen3-30B-A3B", Phase.DECODE, Layout(data=4))
    names = {op.name for op in split if operator_class(op) == "expert exchange"}
    assert names == {"moe.gather", "moe.scatter"}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("model", ["DeepSeek-R1", "DeepSeek-V3.2", "GPT-OSS-20B", "Qwen3-30B-A3B"])
def test_every_operator_has_a_class_with_a_name(model: str, phase: Phase) -> None:
    assert {operator_class(op) for op in ops(model, phase)} <= CLASSES


@pytest.fixture(scope="module")
def h20(chip: FindChip) -> Hardware:
    return Hardware.of(chip("H20"), 8)


@pytest.fixture(scope="module")
def timings_on() -> Callable[[Hardware], Sequence[Timing]]:
    decode = ops("DeepSeek-R1", Phase.DECODE)
    return lambda hardware: time_ops(decode, hardware)


Timings = Callable[[Hardware], Sequence[Timing]]


@pytest.fixture(scope="module")
def rows(timings_on: Timings, h20: Hardware) -> dict[str, OperatorClass]:
    pass_s = float(total_seconds(timings_on(h20))) * IN_A_MODEL + 2e-3
    found = operator_classes("decode", timings_on, h20, pass_s)
    assert [r.seconds for r in found] == sorted((r.seconds for r in found), reverse=True)
    assert {r.phase for r in found} == {"decode"}
    return {row.name: row for row in found}


def test_classes_make_up_the_pass_and_the_host_has_the_rest(
    rows: dict[str, OperatorClass], timings_on: Timings, h20: Hardware
) -> None:
    assert set(rows) == CLASSES | {"host"}
    assert sum(row.share for row in rows.values()) == pytest.approx(1.0)
    assert rows["host"].seconds == pytest.approx(2e-3)
    assert rows["host"].bound is Bound.OVERHEAD
    assert set(rows["host"].saved_by.values()) == {0.0}
    for timing in timings_on(h20):
        assert float(timing.seconds) * IN_A_MODEL <= rows[operator_class(timing.op)].seconds


def test_a_pass_without_a_host_has_no_row_for_it(timings_on: Timings, h20: Hardware) -> None:
    pass_s = float(total_seconds(timings_on(h20))) * 1.3
    found = operator_classes("forward", timings_on, h20, pass_s, 1.3)
    assert "host" not in {row.name for row in found}
    assert sum(row.share for row in found) == pytest.approx(1.0)


def test_what_a_faster_chip_saves_is_what_it_saves(
    rows: dict[str, OperatorClass], timings_on: Timings, h20: Hardware
) -> None:
    for rate in RATES:
        faster = timings_on(h20.scaled(rate, MORE))
        for name in CLASSES:
            seconds = sum(float(t.seconds) for t in faster if operator_class(t.op) == name)
            saved = 1 - seconds * IN_A_MODEL / rows[name].seconds
            assert rows[name].saved_by[rate] == pytest.approx(saved, abs=1e-12)


def test_the_bound_is_the_highest_ceiling_and_slack_the_way_to_the_next(
    timings_on: Timings, h20: Hardware
) -> None:
    first, *_ = timings_on(h20)
    work = replace(first.op, kind=Kind.GEMM, name="ffn.up")

    def fixed(on: Hardware) -> list[Timing]:
        """3 s of compute over 2 s of memory; nothing overlaps that it could hide behind."""
        compute, memory = 3.0 / on.compute_scale, 2.0 / on.bandwidth_scale
        seconds = max(compute, memory)
        timing = Timing(op=work, seconds=seconds, compute_s=compute, memory_s=memory)
        return [replace(timing, overhead_s=1.0)]

    (row,) = operator_classes("decode", fixed, h20, 3.0, 1.0)
    assert (row.name, row.seconds, row.share) == ("feed-forward products", 3.0, 1.0)
    assert row.bound is Bound.COMPUTE
    assert row.slack == pytest.approx(1 / 3)
    assert row.saved_by == {
        "compute": pytest.approx(MOST_SAVED),
        "bandwidth": 0.0,
        "link": 0.0,
    }


def test_in_real_plans_shares_and_savings_keep_their_bounds(plans: dict[str, Plan]) -> None:
    for name, plan in plans.items():
        phases = [row.phase for row in plan.operators]
        passes = 4 if name == "side by side" else len(set(phases))
        assert sum(row.share for row in plan.operators) == pytest.approx(passes)
        for row in plan.operators:
            assert 0 < row.share < 1
            assert 0 <= row.slack <= 1
            assert set(row.saved_by) == {"compute", "bandwidth", "link"}
            for saved in row.saved_by.values():
                assert -1e-9 <= saved <= MOST_SAVED + 1e-9
            # More of everything at once shortens nothing by more than everything.
            assert sum(row.saved_by.values()) <= MOST_SAVED + 1e-9
