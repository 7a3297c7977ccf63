"""What people write in benchmark tables, read back into quantities."""

from collections.abc import Callable

import pytest

from penjing.cost.layout import Layout
from penjing.cost.load import Arrivals, Burst, Clients, Load, Saturated
from penjing.plan.validate import labels
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row

MakeRow = Callable[..., Row]


@pytest.mark.parametrize(
    ("input_len", "output_len", "tokens", "varied"),
    [
        ("1000", "200", (1000.0, 200.0), False),
        ("1024", "128", (1024.0, 128.0), False),
        ("215", "195", (215.0, 195.0), True),
        ("OpenOrca subset 24,576 samples", "measured mean 281.5", (300.0, 281.5), True),
        ("CNN-DailyMail 13,368 samples", "128", (778.0, 128.0), True),
        ("avg KV 4,989", "1", (4989.0, 1.0), True),
        ("0", "0", (1.0, 1.0), False),
    ],
)
def test_lengths_of_a_request(
    row: MakeRow, input_len: str, output_len: str, tokens: tuple[float, float], varied: bool
) -> None:
    traffic = labels.traffic_of(row(input_len=input_len, output_len=output_len))
    assert (traffic.input_tokens, traffic.output_tokens) == tokens
    assert traffic.varied is varied


@pytest.mark.parametrize("text", ["", "somewhat long"])
def test_a_length_that_is_not_stated_is_not_guessed(row: MakeRow, text: str) -> None:
    with pytest.raises(Unmapped, match="input length not stated"):
        labels.traffic_of(row(input_len=text))


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("1,000", Clients(concurrency=500.0)),
        ("1", Clients(concurrency=1.0)),
        ("Poisson target_qps 364", Arrivals(per_s=182.0)),
        ("1000 prompts @ 16 qps", Arrivals(per_s=8.0, requests=500.0)),
        ("984 requests, rate inf, peak conc 984", Burst(requests=492.0)),
        ("100 requests, rate inf, peak conc 6", Clients(concurrency=3.0)),
        ("max throughput (trtllm-bench)", Saturated()),
    ],
)
def test_the_load_on_one_of_two_replicas(row: MakeRow, text: str, load: Load) -> None:
    assert labels.load_of(row(concurrency_or_batch=text), 2) == load


@pytest.mark.parametrize("text", ["", "plenty", "5 prompts @ 0 qps", "0 prompts @ 1 rps", "0"])
def test_a_load_that_is_not_stated_is_not_guessed(row: MakeRow, text: str) -> None:
    with pytest.raises(Unmapped, match=r"load not stated|request(s| rate) of zero"):
        labels.load_of(row(concurrency_or_batch=text), 1)


@pytest.mark.parametrize(
    ("text", "batch"), [("64", 64.0), ("16 per GPU", 128.0), ("16K tokens per GPU", None)]
)
def test_sequences_in_flight_over_eight_chips(row: MakeRow, text: str, batch: float | None) -> None:
    assert labels.batch_of(row(concurrency_or_batch=text), 8) == batch


def test_a_limit_on_the_99th_percentile_is_looser_for_the_mean(row: MakeRow) -> None:
    assert labels.latency_limit_s(row(notes="TPOT <= 50 ms")) == 0.05
    limit = labels.latency_limit_s(row(notes="p99 TTFT 2 s; p99 TPOT <= 50 ms"))
    assert limit == pytest.approx(0.05 * labels.MEAN_OF_P99)
    assert labels.latency_limit_s(row(notes="no limit")) is None


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("tp8", Layout(tensor=8)),
        ("TP1PP2", Layout(pipeline=2)),
        ("DEP4", Layout(data=4, expert=4)),
        ("tp8 dp8 EP dp-attention", Layout(data=8, expert=8)),
        ("EP32 TP1", Layout(data=32, expert=32)),
        ("4-way layer split", Layout(pipeline=4)),
        ("single GPU", Layout()),
    ],
)
def test_layouts_as_written(text: str, layout: Layout) -> None:
    assert labels.placement_of(text, mixture=True).layout == layout


def test_experts_mean_nothing_without_experts() -> None:
    assert labels.placement_of("tp8 ep8", mixture=False).layout == Layout(tensor=8)


def test_prefill_and_decode_instances_apart() -> None:
    placement = labels.placement_of("2P3D each tp2", mixture=False)
    assert placement.layout == Layout(tensor=2)
    assert (placement.prefill_instances, placement.decode_instances) == (2, 3)
    assert labels.placement_of("not stated", mixture=False).layout is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CPU experts + GPU attention", "CPU and GPU share"),
        ("1P1D over RDMA", "layout of the instances not stated"),
        ("0P1D each tp2", "below one"),
        ("tp99999999", "between 0 and 1,024"),
    ],
)
def test_layouts_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(Unmapped, match=reason):
        labels.placement_of(text, mixture=True)


@pytest.mark.parametrize(
    ("text", "depth"), [("tp8", 0), ("tp8 mtp-2", 2), ("tp8, 1 MTP head", 1), ("mtp on", 2)]
)
def test_tokens_drafted_a_step(row: MakeRow, text: str, depth: int) -> None:
    assert labels.draft_depth_of(row(parallelism=text)) == depth


@pytest.mark.parametrize("text", ["tp8 EAGLE-3", "tp8, n-gram draft", "tp8 mtp-9"])
def test_other_drafts_are_not_modelled(row: MakeRow, text: str) -> None:
    with pytest.raises(Unmapped, match=r"draft"):
        labels.draft_depth_of(row(parallelism=text))
