from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.efficiency import efficiency_of
from penjing.cost.op import (
    Kind,
    Op,
    collective,
    decode_attention,
    decode_latent,
    elementwise,
    gemm,
    grouped_gemm,
    prefill_latent,
)
from penjing.cost.roofline import (
    Bound,
    Hardware,
    Timing,
    compute_precision,
    lane_on,
    time_ops,
    total_seconds,
)
from penjing.cost.serving import Instance, decode_timings
from penjing.cost.work import Numerics
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.precision import Precision
from penjing.models.catalogue import load_model
from penjing.models.format import BF16, FP8, FP8_BLOCK, FP32, INT4, MXFP4, NVFP4, Q8_0, Format

CHIPS = ["H20", "H800 SXM", "A100 80GB SXM", "MI308X", "Ascend 910C", "L20"]
# InferSim at f2293da (Alibaba, Apache-2.0), bench_data/mla/decode/{h20,h800}/128-512-64.csv:
# FlashMLA, 128 heads, BF16: sequences, cached tokens, microseconds on H20 and on H800.
FLASH_MLA = [
    (16, 8192, 402.7, 83.951),
    (32, 4096, 413.85, 85.584),
    (64, 4096, 689.563, 155.153),
    (64, 16384, 2704.494, 619.0),
]


def hardware(name: str, chips: int | None = None) -> Hardware:
    return Hardware.of(load_catalogue().find(name).chip, chips)


def time(op: Op, on: Hardware) -> Timing:
    (timing,) = time_ops([op], on)
    return timing


def microseconds(op: Op, chip: str) -> float:
    return float(time(op, hardware(chip)).seconds) * 1e6


def r1_core(sequences: float, cached: float, tensor: int = 1, lane: Format = BF16) -> Op:
    return decode_latent("attention.core", sequences, 1.0, cached, 128 / tensor, 512, 64, lane)


@pytest.mark.parametrize(("sequences", "cached", "h20_us", "h800_us"), FLASH_MLA)
def test_absorbed_mla_as_measured(
    sequences: int, cached: int, h20_us: float, h800_us: float
) -> None:
    core = r1_core(sequences, cached)
    assert microseconds(core, "H20") == pytest.approx(h20_us, rel=0.15)
    assert microseconds(core, "H800 SXM") == pytest.approx(h800_us, rel=0.15)


def test_r1_decoding_is_compute_bound_on_h20_and_bandwidth_bound_on_h800(r1: Instance) -> None:
    """The same attention core, 64 sequences of 4,096 tokens and no tensor parallelism.

    By nominal rates it has 242 FLOPs a byte, and H20 balances at 37, H800 at 295. As reached,
    H800's balance is near 230 and the margin small: it is the queries and outputs that tip it.
    """
    bounds = {}
    for name in ("H20", "H800 SXM"):
        alone = replace(r1, hardware=hardware(name), layout=replace(r1.layout, data=1, expert=1))
        cores = [t for t in decode_timings(alone, 64.0, 4096.0) if t.op.name == "attention.core"]
        assert cores
        compute, memory = (sum(float(getattr(t, p)) for t in cores) for p in _PARTS)
        bounds[name] = Bound.COMPUTE if compute > memory else Bound.BANDWIDTH
    assert bounds == {"H20": Bound.COMPUTE, "H800 SXM": Bound.BANDWIDTH}


_PARTS = ("compute_s", "memory_s")


def test_h20_balances_at_37_flops_a_byte_and_h800_at_295() -> None:
    def ridge(name: str) -> float:
        chip = load_catalogue().find(name).chip
        return chip.flops_per_s(Precision.BF16) / chip.bandwidth_bytes_per_s

    core = r1_core(64, 4096)
    intensity = float(core.flops) / (float(core.read_bytes) + float(core.write_bytes))
    assert ridge("H20") == pytest.approx(37, abs=0.5)
    assert ridge("H800 SXM") == pytest.approx(295, abs=1)
    assert ridge("H20") < intensity < ridge("H800 SXM")


@pytest.mark.parametrize("cached", [1024.0, 4096.0, 16384.0, 65536.0])
def test_r1_core_on_h20_is_bound_by_compute_many_times_over(cached: float) -> None:
    timing = time(r1_core(32, cached), hardware("H20"))
    assert timing.compute_s > 5 * timing.memory_s


# InferSim at f2293da, bench_data/gemm/{h20,h800}/data.csv: DeepGEMM in block-scaled FP8.
@pytest.mark.parametrize(
    ("chip", "m", "k", "n", "measured_us"),
    [
        ("H20", 64, 7168, 1536, 12.521),
        ("H20", 512, 5120, 7168, 145.882),
        ("H20", 4096, 5120, 7168, 1120.0),
        ("H20", 4096, 7168, 1536, 346.89),
        ("H800 SXM", 64, 16384, 7168, 51.677),
        ("H800 SXM", 4096, 16384, 7168, 649.13),
        ("H800 SXM", 4096, 7168, 36864, 1489.0),
        ("H800 SXM", 128, 18432, 7168, 62.31),
    ],
)
def test_fp8_products_as_measured(chip: str, m: int, k: int, n: int, measured_us: float) -> None:
    found = microseconds(gemm("x", float(m), n, k, FP8_BLOCK), chip)
    assert found == pytest.approx(measured_us, rel=0.20)


# InferSim at f2293da, bench_data/grouped_gemm/{decode,prefill}/h800/data.csv: R1's experts, up and
# down, as so many tokens meet each of the experts of a chip.
@pytest.mark.parametrize(
    ("experts", "rows_each", "measured_us"),
    [
        (32, 16, 325.230 + 176.189),
        (16, 32, 171.529 + 94.145),
        (8, 32, 92.040 + 52.812),
        (32, 1024, 1617.0 + 850.889),
    ],
)
def test_r1_experts_on_h800_as_measured(experts: int, rows_each: int, measured_us: float) -> None:
    op = grouped_gemm("x", float(experts * rows_each), experts, 7168, 2048, FP8_BLOCK)
    assert microseconds(op, "H800 SXM") == pytest.approx(measured_us, rel=0.10)


# InferSim at f2293da, bench_data/grouped_gemm/decode/h20/data.csv: hidden size 5,120, experts of
# 1,664; R1's shape was not measured on H20.
@pytest.mark.parametrize(
    ("experts", "rows_each", "measured_us"), [(40, 10, 538.0), (20, 19, 295.0), (5, 77, 139.0)]
)
def test_experts_on_h20_as_measured(experts: int, rows_each: int, measured_us: float) -> None:
    op = grouped_gemm("x", float(experts * rows_each), experts, 5120, 1664, FP8_BLOCK)
    assert microseconds(op, "H20") == pytest.approx(measured_us, rel=0.15)


# InferSim at f2293da, bench_data/mla/prefill/h800/128-128-64.csv: FlashAttention-3, 128 heads; the
# curve is that of H100, whose kernels these are.
@pytest.mark.parametrize(
    ("tokens", "measured_us"), [(1024, 116.88), (4096, 1104.692), (16384, 17774.458)]
)
def test_expanded_mla_on_h800_as_measured(tokens: int, measured_us: float) -> None:
    op = prefill_latent("x", 1.0, float(tokens), 0.0, 128, 192, 128)
    assert microseconds(op, "H800 SXM") == pytest.approx(measured_us, rel=0.35)


# InferSim at f2293da, bench_data/mha/decode/h20/32-8-128.csv: FlashInfer, 32 heads, 8 of keys.
@pytest.mark.parametrize(
    ("sequences", "cached", "cache", "measured_us"),
    [(16, 4096, BF16, 106.17), (64, 16384, BF16, 1528.83), (64, 4096, FP8, 277.39)],
)
def test_grouped_decoding_on_h20_as_measured(
    sequences: float, cached: float, cache: Format, measured_us: float
) -> None:
    op = decode_attention("x", sequences, 1.0, cached, 32, 8, 128, lane=cache)
    assert microseconds(op, "H20") == pytest.approx(measured_us, rel=0.15)


@pytest.mark.parametrize("chip", CHIPS)
@given(
    m=st.floats(min_value=1, max_value=1e5),
    n=st.floats(min_value=1, max_value=1e5),
    k=st.floats(min_value=1, max_value=1e5),
    bound=st.sampled_from([Bound.COMPUTE, Bound.BANDWIDTH, Bound.LINK]),
    factor=st.floats(min_value=1.0, max_value=100.0),
)
def test_raising_a_ceiling_never_slows_anything(
    chip: str, m: float, n: float, k: float, bound: Bound, factor: float
) -> None:
    ops = [
        gemm("gemm", m, n, k, FP8_BLOCK),
        grouped_gemm("experts", m, 8.0, n, k),
        elementwise("norm", m * n),
        r1_core(m, n),
        decode_attention("core", m, 1.0, n, 32, 8, 128),
        prefill_latent("prefill", 1.0, m, n, 128, 192, 128),
    ]
    before = time_ops(ops, hardware(chip))
    after = time_ops(ops, hardware(chip).scaled(bound, factor))
    for old, new in zip(before, after, strict=True):
        assert new.seconds <= float(old.seconds) * (1 + 1e-12), old.op.name


@given(
    kind=st.sampled_from([k for k in Kind if not k.is_communication]),
    flops=st.floats(min_value=1, max_value=1e15),
    moved=st.floats(min_value=1, max_value=1e12),
    factor=st.floats(min_value=1, max_value=1e3),
)
def test_more_flops_or_bytes_are_never_faster(
    kind: Kind, flops: float, moved: float, factor: float
) -> None:
    op = Op(name="x", kind=kind, flops=flops, read_bytes=moved)
    base = float(time(op, hardware("H20")).seconds) * (1 - 1e-12)
    for more in (
        replace(op, flops=flops * factor),
        replace(op, read_bytes=moved * factor),
        replace(op, write_bytes=moved * factor),
    ):
        assert time(more, hardware("H20")).seconds >= base


def test_only_links_carry_messages_faster() -> None:
    op = collective("x", Kind.ALL_REDUCE, 1e9, 8)
    base = hardware("H20", 8)
    plain = time(op, base)
    assert plain.seconds == plain.link_s > 0
    assert (plain.compute_s, plain.memory_s, plain.overhead_s) == (0.0, 0.0, 0.0)
    assert time(replace(op, calls=3.0), base).link_s == pytest.approx(3 * float(plain.link_s))
    assert plain.times(3.0).link_s == pytest.approx(3 * float(plain.link_s))
    assert time(op, base.scaled(Bound.LINK, 2.0)).seconds < plain.seconds
    for bound in (Bound.COMPUTE, Bound.BANDWIDTH):
        assert time(op, base.scaled(bound, 2.0)).seconds == plain.seconds


def test_nothing_scales_overhead() -> None:
    with pytest.raises(AssertionError, match="no rate of the chip scales its overhead"):
        hardware("H20").scaled(Bound.OVERHEAD, 2.0)


def test_parts_of_a_time_by_hand() -> None:
    """Each part is what the operator would take were that the only ceiling, at what is reached."""
    op = replace(gemm("x", 4096.0, 7168, 7168, FP8_BLOCK), calls=3.0)
    on = hardware("H20")
    curve = on.efficiency.curve(Kind.GEMM, "fp8-block")
    timing = time(op, on)
    assert timing.compute_s == pytest.approx(3 * float(op.flops) / (296e12 * curve.compute))
    moved = float(op.read_bytes) + float(op.write_bytes)
    assert timing.memory_s == pytest.approx(3 * moved / (4e12 * curve.memory))
    assert timing.overhead_s == pytest.approx(3 * curve.overhead_s)
    p = curve.sharpness
    core = (float(timing.compute_s) ** p + float(timing.memory_s) ** p) ** (1 / p)
    assert timing.seconds == pytest.approx(float(timing.overhead_s) + core)


def test_calls_repeat_an_operator() -> None:
    op = gemm("x", 64.0, 7168, 7168)
    once, often = (time(replace(op, calls=c), hardware("H20")) for c in (1.0, 61.0))
    again = once.times(61.0)
    for part in ("seconds", "compute_s", "memory_s", "link_s", "overhead_s"):
        assert getattr(often, part) == pytest.approx(getattr(again, part))


def test_without_flops_there_is_no_compute() -> None:
    """Not even of a rate that no one publishes."""
    unpublished = replace(load_catalogue().find("H20").chip, compute_flops_per_s={})
    on = replace(hardware("H20"), chip=unpublished)
    assert time(elementwise("x", 1e6), on).compute_s == 0.0


def test_total_is_the_sum_one_after_the_other() -> None:
    ops = [gemm("a", 64.0, 512, 512), elementwise("b", 1e6)]
    timings = time_ops(ops, hardware("H20"))
    assert total_seconds(timings) == float(timings[0].seconds) + float(timings[1].seconds)
    assert total_seconds([]) == 0.0


@pytest.mark.parametrize(
    ("chip", "weights", "precision", "lane"),
    [
        ("H20", FP8_BLOCK, Precision.FP8, "fp8-block"),
        ("H20", BF16, Precision.BF16, "bf16"),
        ("H20", INT4, Precision.BF16, "int4"),  # widened in the kernel
        ("A100 80GB SXM", FP8, Precision.BF16, "bf16"),  # no FP8 units: widened before
        ("A100 80GB SXM", Q8_0, Precision.INT8, "q8_0"),
        ("H20", MXFP4, Precision.BF16, "int4"),  # no FP4 units: a kernel for 4-bit weights
        ("H20", NVFP4, Precision.BF16, "int4"),
        ("B200", NVFP4, Precision.FP4, "nvfp4"),
        ("H20", FP32, Precision.BF16, "fp32"),  # no chip publishes a matrix rate in FP32
    ],
)
def test_a_chip_takes_the_first_precision_it_has_units_for(
    chip: str, weights: Format, precision: Precision, lane: str
) -> None:
    op, on = gemm("x", 8.0, 512, 512, weights), load_catalogue().find(chip).chip
    assert compute_precision(op, on) is precision
    assert lane_on(op, on) == lane


def test_a_chip_without_any_of_them_takes_the_widest() -> None:
    no_units = replace(load_catalogue().find("H20").chip, compute_flops_per_s={})
    assert compute_precision(gemm("x", 8.0, 512, 512, FP8), no_units) is Precision.BF16


def test_a_processor_without_16_bit_units_widens_to_fp32() -> None:
    """Of an accelerator that would be a guess."""
    h20 = load_catalogue().find("H20").chip
    rate = h20.compute_flops_per_s[Precision.BF16]
    accelerator = replace(h20, compute_flops_per_s={Precision.FP32: rate})
    op = gemm("x", 8.0, 512, 512, FP8)
    assert compute_precision(op, accelerator) is Precision.BF16
    assert compute_precision(op, replace(accelerator, is_cpu=True)) is Precision.FP32
    assert compute_precision(op, replace(h20, is_cpu=True)) is Precision.FP8


def test_fp8_weights_halve_the_reading_even_where_they_are_widened() -> None:
    """A small batch on A100: the weights are what takes time."""
    wide, narrow = (
        time(gemm("x", 1.0, 16384, 16384, f), hardware("A100 80GB SXM")) for f in (BF16, FP8)
    )
    assert float(narrow.memory_s) / float(wide.memory_s) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(("chips", "node"), [(None, 8), (1, 1), (4, 4), (8, 8), (64, 8)])
def test_a_node_is_as_large_as_the_cluster_lets_it_be(chips: int | None, node: int) -> None:
    assert hardware("H20", chips).node_chips == node


def test_given_curves_are_taken_instead_of_the_chips_own() -> None:
    chip = load_catalogue().find("H20").chip
    foreign = efficiency_of(load_catalogue().find("H800 SXM").chip)
    assert Hardware.of(chip).efficiency == efficiency_of(chip)
    assert Hardware.of(chip, efficiency=foreign).efficiency == foreign


def test_what_if_factors_reach_the_links() -> None:
    on = hardware("H20", 16)
    assert on.topology.scale == 1.0
    assert on.scaled(Bound.LINK, 2.0).topology.network_bytes_per_s == (
        2 * on.topology.network_bytes_per_s
    )


@pytest.mark.parametrize("chip", CHIPS)
def test_arrays_take_as_long_as_their_elements(chip: str) -> None:
    batch = np.array([1.0, 32.0, 1024.0])
    together = time(gemm("x", batch, 7168, 7168), hardware(chip)).seconds
    alone = [float(time(gemm("x", b, 7168, 7168), hardware(chip)).seconds) for b in batch]
    assert np.allclose(together, alone, rtol=1e-12)


def test_more_tensor_ranks_do_not_speed_up_r1_core_on_h20() -> None:
    """Below 64 heads the kernel pads: eight ranks each do what two would."""
    two, eight = (time(r1_core(64, 4096, n), hardware("H20")).compute_s for n in (2, 8))
    assert two == eight


def test_numerics_of_r1_need_fp8_units_to_pay() -> None:
    """DeepSeek-R1's own formats."""
    weights = Numerics(weights=load_model("DeepSeek-R1").formats).weights
    op = gemm("x", 4096.0, 7168, 7168, weights.attention)
    wide = gemm("x", 4096.0, 7168, 7168)
    assert microseconds(op, "H20") < 0.7 * microseconds(wide, "H20")
    assert microseconds(op, "A100 80GB SXM") > 0.9 * microseconds(wide, "A100 80GB SXM")


def test_operators_of_other_formats_share_no_kernel() -> None:
    """Both multiply in BF16; what they read, and so the curve, is another."""
    wide, narrow = (
        decode_attention("core", 64.0, 1.0, 4096.0, 32, 8, 128, lane=form) for form in (BF16, FP8)
    )
    both = [float(t.seconds) for t in time_ops([wide, narrow], hardware("H20"))]
    assert both == [float(time(op, hardware("H20")).seconds) for op in (wide, narrow)]
    assert hardware("H20").kernel(wide).curve != hardware("H20").kernel(narrow).curve
