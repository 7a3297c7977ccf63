"""Fit the efficiency curves of `penjing/cost/curves` from tables of measured kernels.

    pip install pandas pyarrow scipy
    python benchmarks/fit_curves.py KERNELS_DIR

KERNELS_DIR holds `aiconfigurator_head/` (NVIDIA, Apache-2.0), `h20_3e/` (NVIDIA, Apache-2.0)
and `infersim/` (Alibaba, Apache-2.0). Per chip, kind and number format the fastest engine's
kernel of each shape is taken, then four parameters are fitted by robust least squares on log
time to all shapes of the sizes that models have (the tables also sweep toy sizes, which would
pull the fit). Nothing end to end is looked at here.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from penjing.cost import op as ops
from penjing.cost.op import Kind, Op
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.models.format import FORMATS, Format

CURVES = Path(__file__).parents[1] / "penjing" / "cost" / "curves"
# Folder of aiconfigurator_head -> chip of the catalogue, and the relative that supplies what its
# tables lack.
SYSTEMS = {
    "a100_sxm": ("A100 80GB SXM", ""),
    "h100_sxm": ("H100 SXM", "A100 80GB SXM"),
    "h200_sxm": ("H200 SXM", "H100 SXM"),
    "b200_sxm": ("B200", "H200 SXM"),
    "gb200": ("GB200", "B200"),
    "gb300": ("GB300", "GB200"),
    "l40s": ("L40S", "A100 80GB SXM"),
    "rtx_pro_6000_server": ("RTX PRO 6000", "L40S"),
    "b60": ("Arc Pro B60", "L40S"),
}
# b300_sxm is left out: most of its rows carry the device name of GB300 (copies).
GEMM_LANES = {
    "bfloat16": "bf16",
    "float16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8-block",
    "sq": "int8",
    "int4_wo": "int4",
    "nvfp4": "nvfp4",
}
MOE_LANES = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8-block",
    "int4_wo": "int4",
    "nvfp4": "nvfp4",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4",
}
ROUTING = "power_law_1.01"  # uneven expert loads, as AIConfigurator uses for DeepSeek
BAD_MEDIAN = 0.32  # a lane that fits worse than this mixes kernels and is left out
LEAST_WIRE = 0.2  # below this share of its link a group lay across a machine's host bridges
LANE_OF_DTYPE = {"bfloat16": "bf16", "float16": "bf16", "fp8": "fp8"}


@dataclass(frozen=True)
class Table:
    """Shapes of one kind and lane as one vector op, with the measured seconds."""

    op: Op
    seconds: NDArray[np.float64]


def main(kernels: Path) -> None:
    CURVES.mkdir(exist_ok=True)
    catalogue = load_catalogue()
    for system, (name, relative) in SYSTEMS.items():
        folder = kernels / "aiconfigurator_head" / system
        tables = gemm_tables(read(folder, "gemm/*/*/gemm_perf.parquet"))
        tables += moe_tables(read(folder, "moe/*/*/moe_perf.parquet"))
        tables += attention_tables(folder)
        tables += latent_tables(folder)
        write(catalogue.find(name).chip, tables, wires(folder), "aiconfigurator", relative)
    write_h20_3e(kernels / "h20_3e", catalogue.find("H20-3e").chip)
    write_infersim(kernels / "infersim" / "bench_data", "h20", catalogue.find("H20").chip, "H20-3e")
    write_infersim(
        kernels / "infersim" / "bench_data", "h800", catalogue.find("H800 SXM").chip, "H100 SXM"
    )


# --- reading ---------------------------------------------------------------------------------


def read(folder: Path, pattern: str) -> pd.DataFrame:
    frames = [pd.read_parquet(f) for f in sorted(folder.glob(pattern))]
    frames = [f[f.latency > 0] for f in frames]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def fastest(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """One row a shape: the best of the engines measured."""
    return frame.groupby(key, as_index=False).latency.min()


def columns(frame: pd.DataFrame, *names: str) -> list[NDArray[np.float64]]:
    return [frame[n].to_numpy(float) for n in names]


def gemm_tables(frame: pd.DataFrame) -> list[Table]:
    if frame.empty:
        return []
    frame = frame.assign(lane=frame.gemm_dtype.map(GEMM_LANES)).dropna(subset=["lane"])
    aligned = (frame.m <= 16) | (frame.m % 16 == 0)
    weights = (frame.n >= 512) & (frame.k >= 512) & (frame.n * frame.k >= 2**21)
    frame = frame[aligned & weights & (frame.n <= 65536) & (frame.m <= 16384)]
    found = []
    for lane, group in fastest(frame, ["lane", "m", "n", "k"]).groupby("lane"):
        m, n, k = columns(group, "m", "n", "k")
        found.append(Table(ops.gemm("", m, n, k, FORMATS[lane]), seconds(group)))
    return found


def moe_tables(frame: pd.DataFrame) -> list[Table]:
    if frame.empty:
        return []
    frame = frame[(frame.distribution == ROUTING) & (frame.moe_ep_size == 1)]
    frame = frame.assign(lane=frame.moe_dtype.map(MOE_LANES)).dropna(subset=["lane"])
    shape = ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size"]
    found = []
    for lane, group in fastest(frame, ["lane", *shape]).groupby("lane"):
        tokens, width, inner, k, experts, split = columns(group, *shape)
        distinct = ops.distinct_experts(experts, k, tokens)
        op = ops.grouped_gemm("", tokens * k, distinct, width, inner / split, FORMATS[lane])
        found.append(Table(op, seconds(group)))
    return found


def attention_tables(folder: Path) -> list[Table]:
    found = []
    for prefill in (True, False):
        name = "context" if prefill else "generation"
        frame = read(folder, f"attention/*/*/{name}_attention_perf.parquet")
        found += grouped_query(frame, prefill)
    return found


def grouped_query(frame: pd.DataFrame, prefill: bool) -> list[Table]:
    if frame.empty:
        return []
    if "window_size" in frame:
        frame = frame[frame.window_size.fillna(0) <= 0]
    frame = frame.assign(lane=frame.kv_cache_dtype.map(LANE_OF_DTYPE)).dropna(subset=["lane"])
    shape = ["batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim"]
    found = []
    for lane, group in fastest(frame, ["lane", *shape]).groupby("lane"):
        group = group[_as_in_models(group)]
        batch, length, step, heads, kv, dim = columns(group, *shape)
        make = ops.prefill_attention if prefill else ops.decode_attention
        new, cached = (length, step) if prefill else (np.ones_like(step), length + step)
        op = make("", batch, new, cached, heads, kv, dim, lane=FORMATS[lane])
        found.append(Table(op, seconds(group)))
    return found


def _as_in_models(group: pd.DataFrame) -> pd.Series:
    """Eight heads or more of width 128, 4 to 8 of them to a key head, 128 tokens or more."""
    ratio = group.num_heads / group.num_key_value_heads.replace(0, 1e9)
    shape = (group.head_dim == 128) & (group.num_heads >= 8)
    return shape & (ratio >= 4) & (ratio <= 8) & (group.isl + group.step >= 128)


def latent_tables(folder: Path) -> list[Table]:
    found = []
    for prefill in (True, False):
        name = "context" if prefill else "generation"
        found += latent(read(folder, f"mla/*/*/{name}_mla_perf.parquet"), prefill)
    return found


def latent(frame: pd.DataFrame, prefill: bool) -> list[Table]:
    if frame.empty:
        return []
    frame = frame.assign(lane=frame.kv_cache_dtype.map(LANE_OF_DTYPE)).dropna(subset=["lane"])
    shape = ["batch_size", "isl", "step", "num_heads"]
    found = []
    for lane, group in fastest(frame, ["lane", *shape]).groupby("lane"):
        batch, length, step, heads = columns(group, *shape)
        if prefill:
            op = ops.prefill_latent("", batch, length, step, heads, 192, 128, lane=FORMATS[lane])
        else:
            op = ops.decode_latent(
                "", batch, 1.0, length + step, heads, 512, 64, lane=FORMATS[lane]
            )
        found.append(Table(op, seconds(group)))
    return found


def seconds(group: pd.DataFrame) -> NDArray[np.float64]:
    return group.latency.to_numpy(float) * 1e-3


# --- the H20 and H800 tables ------------------------------------------------------------------


def write_h20_3e(folder: Path, chip: Chip) -> None:
    def table(name: str) -> pd.DataFrame:
        return pd.read_csv(folder / f"h20_sxm_sglang_0.5.1.post1_{name}_perf.csv")

    gemm = table("gemm").replace({"gemm_dtype": {"int8_wo": "sq"}})  # it runs at the INT8 rate
    # Decode attention is left out: 1.08 TB/s at most, an artefact of that kernel (truth set, C).
    tables = gemm_tables(gemm) + grouped_query(table("context_attention"), True)
    tables += latent(table("context_mla"), True) + latent(table("generation_mla"), False)
    nccl = pd.read_csv(folder / "h20e_nccl_2.23_perf.csv")
    write(chip, tables, nccl_wires(nccl), "h20-3e", "H200 SXM")


def write_infersim(folder: Path, system: str, chip: Chip, relative: str) -> None:
    tables = [infersim_gemm(folder, system), infersim_experts(folder, system)]
    tables += infersim_latent(folder, system)
    if system == "h20":  # elsewhere FlashInfer's decode times have a 25 us floor at any size
        tables += infersim_decode(folder / "mha" / "decode" / system / "32-8-128.csv")
    write(chip, tables, {}, "infersim", relative)


def infersim_gemm(folder: Path, system: str) -> Table:
    frame = pd.read_csv(folder / "gemm" / system / "data.csv")
    m, n, k = columns(frame, "m", "n", "k")
    lane = FORMATS["fp8-block"]
    return Table(ops.gemm("", m, n, k, lane), frame.latency_us.to_numpy(float) * 1e-6)


def infersim_experts(folder: Path, system: str) -> Table:
    """Both phases; the decode kernel (masked) reads every local expert whatever the load."""
    frames = []
    for phase, tokens in (("decode", "batch_size_per_gpu"), ("prefill", "seq_len_per_gpu")):
        frame = pd.read_csv(folder / "grouped_gemm" / phase / system / "data.csv")
        frames.append(frame.rename(columns={tokens: "tokens"}))
    frame = pd.concat(frames, ignore_index=True)
    local, per_expert, width, inner, up, down = columns(
        frame,
        "num_local_experts",
        "tokens_per_expert",
        "hidden_size",
        "intermediate_size",
        "up_proj_us",
        "down_proj_us",
    )
    op = ops.grouped_gemm("", local * per_expert, local, width, inner, FORMATS["fp8-block"])
    return Table(op, (up + down) * 1e-6)


def infersim_latent(folder: Path, system: str) -> list[Table]:
    found = []
    for file in sorted((folder / "mla" / "decode" / system).glob("128-512-64.csv")):
        frame = pd.read_csv(file)
        batch, length = columns(frame, "batch_size", "kv_len")
        op = ops.decode_latent("", batch, 1.0, length, 128, 512, 64)
        found.append(Table(op, frame.latency_us.to_numpy(float) * 1e-6))
    return found


def infersim_decode(file: Path) -> list[Table]:
    frame = pd.read_csv(file)
    heads, kv, dim = (float(part) for part in file.stem.split("-"))
    found = []
    for dtype, group in frame.groupby("kv_dtype"):
        batch, length = columns(group, "batch_size", "kv_len")
        lane: Format = FORMATS[str(dtype)]
        op = ops.decode_attention("", batch, 1.0, length, heads, kv, dim, lane=lane)
        found.append(Table(op, group.latency_us.to_numpy(float) * 1e-6))
    return found


# --- collectives ------------------------------------------------------------------------------


def wires(folder: Path) -> dict[Kind, dict[int, tuple[float, float, float]]]:
    nccl = read(folder, "comm/nccl/*/nccl_perf.parquet")
    found = nccl_wires(nccl) if not nccl.empty else {}
    custom = read(folder, "comm/*/*/custom_allreduce_perf.parquet")
    if not custom.empty:
        custom = custom[~custom.kernel_source.str.contains("eager")]
        custom = custom.assign(message_size=custom.message_size * 2.0)  # elements of 16 bits
        found[Kind.ALL_REDUCE] = wire_groups(custom, Kind.ALL_REDUCE)
    return found


def nccl_wires(frame: pd.DataFrame) -> dict[Kind, dict[int, tuple[float, float, float]]]:
    names = {
        "all_reduce": Kind.ALL_REDUCE,
        "all_gather": Kind.ALL_GATHER,
        "reduce_scatter": Kind.REDUCE_SCATTER,
        "alltoall": Kind.ALL_TO_ALL,
    }
    return {
        names[op]: wire_groups(group, names[op])
        for op, group in frame.groupby("op_name")
        if op in names
    }


def wire_groups(frame: pd.DataFrame, kind: Kind) -> dict[int, tuple[float, float, float]]:
    """Per group size: overhead in seconds, bytes a second on the wire, median error."""
    found = {}
    for ranks, group in fastest(frame, ["num_gpus", "message_size"]).groupby("num_gpus"):
        wire = group.message_size.to_numpy(float) * ops.wire_share(kind, int(ranks))  # type: ignore[call-overload]
        found[int(ranks)] = fit_wire(wire, seconds(group))  # type: ignore[call-overload]
    return found


def fit_wire(wire: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[float, float, float]:
    def residual(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log((np.exp(x[0]) + wire / np.exp(x[1])) / t)

    start = [np.log(t.min()), np.log(wire.max() / t.max())]
    x = least_squares(residual, start, loss="soft_l1", f_scale=0.1).x
    return float(np.exp(x[0])), float(np.exp(x[1])), median_error(residual(x))


# --- fitting and writing ----------------------------------------------------------------------


def fit(chip: Chip, table: Table) -> dict[str, float]:
    op, t = table.op, table.seconds
    precision = next(p for p in op.compute if chip.supports(p))
    compute_s = np.broadcast_to(op.flops / chip.flops_per_s(precision), t.shape)
    memory_s = (op.read_bytes + op.write_bytes) / chip.bandwidth_bytes_per_s

    def residual(x: NDArray[np.float64]) -> NDArray[np.float64]:
        p = np.exp(x[3])
        core = ((compute_s / x[1]) ** p + (memory_s / x[2]) ** p) ** (1 / p)
        return np.log((np.exp(x[0]) + core) / t)

    # No kernel beats its chip: small shapes that live in the cache may seem to, and are bounded.
    bounds = ([-16, 0.02, 0.02, 0.0], [-7, 1.0, 1.0, np.log(8)])
    x = least_squares(
        residual, [np.log(5e-6), 0.5, 0.5, 0.5], loss="soft_l1", f_scale=0.1, bounds=bounds
    ).x
    return {
        "overhead_s": float(f"{np.exp(x[0]):.3g}"),
        "compute": round(float(x[1]), 3),
        "memory": round(float(x[2]), 3),
        "sharpness": round(float(np.exp(x[3])), 2),
        "rows": len(t),
        "median_error": round(median_error(residual(x)), 3),
    }


def median_error(log_ratio: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(np.expm1(log_ratio))))


PROVENANCE = {
    "aiconfigurator": (
        "ai-dynamo/aiconfigurator at 095f58a51 (NVIDIA, Apache-2.0): newest tables of "
        "TensorRT-LLM, SGLang and vLLM, fastest engine a shape"
    ),
    "h20-3e": (
        "ai-dynamo/aiconfigurator history at 1641793066 and 0bd529d0b (NVIDIA, Apache-2.0): "
        "SGLang 0.5.1.post1 and NCCL 2.23 on device NVIDIA H20-3e"
    ),
    "infersim": "alibaba/InferSim at f2293da (Alibaba, Apache-2.0): DeepGEMM, FlashMLA, FlashInfer",
}


def write(
    chip: Chip,
    tables: list[Table],
    wire: dict[Kind, dict[int, tuple[float, float, float]]],
    source: str,
    relative: str,
) -> None:
    lines = [
        "# Written by benchmarks/fit_curves.py; the formula is in penjing/cost/efficiency.py.",
        f'chip = "{chip.name}"',
        f'provenance = "{PROVENANCE[source]}"',
        f'relative = "{relative}"  # supplies the kernels that were not measured here',
    ]
    for table in sorted(tables, key=lambda t: (t.op.kind, t.op.lane)):
        fitted = fit(chip, table)
        print(f"{chip.name:30} {table.op.kind:18} {table.op.lane:10} {fitted}")
        if fitted["median_error"] > BAD_MEDIAN:
            continue
        lines += ["", "[[curve]]", f'kind = "{table.op.kind}"', f'lane = "{table.op.lane}"']
        lines += [f"{key} = {value}" for key, value in fitted.items()]
    for kind, groups in wire.items():
        for ranks, (overhead, rate, error) in sorted(groups.items()):
            share = rate / chip.fabric.bytes_per_s.value  # type: ignore[union-attr]
            print(f"{chip.name:30} {kind:18} {ranks} {overhead:.3g} {share:.3f} {error:.3f}")
            if share >= LEAST_WIRE:
                lines += ["", "[[wire]]", f'kind = "{kind}"', f"ranks = {ranks}"]
                lines += [f"overhead_s = {overhead:.3g}", f"efficiency = {share:.3f}"]
                lines += [f"median_error = {error:.3f}"]
    name = chip.name.lower().replace(" ", "-")
    (CURVES / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
