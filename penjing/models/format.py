"""How values are stored: bytes with their scales, and the arithmetic they are meant for."""

from dataclasses import dataclass

from penjing.errors import UnknownName
from penjing.hardware.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Format:
    """A storage format of weights or cache.

    ``bytes_per_value`` includes the scales. ``compute`` lists the precisions a product with such
    weights may run in, the intended one first: a chip takes the first it has units for, so that
    FP8 weights on a chip without FP8 units are widened and multiplied in BF16.
    """

    name: str
    bytes_per_value: float
    compute: tuple[Precision, ...]


_WIDE = (Precision.BF16,)
FP32 = Format(name="fp32", bytes_per_value=4, compute=(Precision.FP32, Precision.BF16))
BF16 = Format(name="bf16", bytes_per_value=2, compute=_WIDE)
FP8 = Format(name="fp8", bytes_per_value=1, compute=(Precision.FP8, *_WIDE))
# One fp32 scale for each 128 x 128 block: DeepSeek-V3 report, section 3.3.2.
FP8_BLOCK = Format(
    name="fp8-block", bytes_per_value=1 + 4 / 128**2, compute=(Precision.FP8, *_WIDE)
)
INT8 = Format(name="int8", bytes_per_value=1, compute=(Precision.INT8, *_WIDE))
# GPTQ: 8-bit values, fp16 scale and 8-bit zero for each group of 128; activations stay wide.
INT8_WEIGHT = Format(name="int8-weight", bytes_per_value=1 + 3 / 128, compute=_WIDE)
# GPTQ/AWQ: 4-bit values, fp16 scale and 4-bit zero for each group of 128; activations stay wide.
INT4 = Format(name="int4", bytes_per_value=0.5 + 2.5 / 128, compute=_WIDE)
# Compressed-tensors, as in Kimi-K2-Thinking: 4-bit values, one bf16 scale for each group of 32.
INT4_G32 = Format(name="int4-g32", bytes_per_value=0.5 + 2 / 32, compute=_WIDE)
# OCP Microscaling v1.0: e2m1 values, one e8m0 scale for each 32.
MXFP4 = Format(name="mxfp4", bytes_per_value=0.5 + 1 / 32, compute=(Precision.FP4, *_WIDE))
# NVIDIA NVFP4: e2m1 values, one e4m3 scale for each 16.
NVFP4 = Format(name="nvfp4", bytes_per_value=0.5 + 1 / 16, compute=(Precision.FP4, *_WIDE))
MXFP8 = Format(name="mxfp8", bytes_per_value=1 + 1 / 32, compute=(Precision.FP8, *_WIDE))
# llama.cpp k-quants: 256-value super-blocks, sizes from the block layouts in ggml-common.h;
# "m" mixes q4_K with q6_K for some tensors, 4.85 bits a weight over a Llama-shaped model.
Q4_K_M = Format(name="q4_k_m", bytes_per_value=4.85 / 8, compute=_WIDE)
Q8_0 = Format(name="q8_0", bytes_per_value=34 / 32, compute=(Precision.INT8, *_WIDE))

FORMATS = {
    f.name: f
    for f in (
        FP32,
        BF16,
        FP8,
        FP8_BLOCK,
        INT8,
        INT8_WEIGHT,
        INT4,
        INT4_G32,
        MXFP4,
        NVFP4,
        MXFP8,
        Q4_K_M,
        Q8_0,
    )
}


def format_named(name: str) -> Format:
    """The format of that name, case aside; raises ``UnknownName``."""
    try:
        return FORMATS[name.lower()]
    except KeyError:
        raise UnknownName("number format", name, FORMATS) from None
