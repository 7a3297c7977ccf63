"""Number formats of a measured run from the words of its row."""

import re
from dataclasses import replace

from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.config import ModelConfig, WeightFormats
from penjing.models.format import (
    BF16,
    FP8,
    INT4,
    INT8,
    MXFP4,
    MXFP8,
    NVFP4,
    Q4_K_M,
    Q8_0,
    Format,
)
from penjing.plan.numerics import weight_formats
from penjing.plan.validate.number import Unmapped, number
from penjing.plan.validate.row import Row

_SPELLINGS: tuple[tuple[str, Format], ...] = (
    (r"nvfp4", NVFP4),
    (r"mxfp4", MXFP4),
    (r"mxfp8", MXFP8),
    (r"q4_k_m|\bq4\b", Q4_K_M),
    (r"q8_0", Q8_0),
    (r"fp4", NVFP4),
    (r"gptq-int8|awq-int8", replace(INT8, compute=BF16.compute)),
    (r"int8|w8a8", INT8),
    (r"int4|w4a16|awq|gptq", INT4),
    (r"fp8|float8", FP8),
    (r"bf16|fp16|float16|f16|half|amp", BF16),
)


def weights_of(row: Row, model: ModelConfig, chip: Chip) -> WeightFormats:
    """Storage of the weights; a blank means the released checkpoint."""
    text = row.precision_weights.lower()
    if not text:
        return _unstated(row, model, chip)
    mixed = re.match(r"(\w+) attn / (\w+) moe", text)
    if mixed:
        attention, experts = _format(mixed[1]), _format(mixed[2])
        return WeightFormats(attention=attention, dense=attention, experts=experts)
    bits = re.search(r"([\d.]+) ?bpw", text)
    if bits:
        each = number(bits[1], "bits per weight", 32) / 8
        form = Format(name="int4", bytes_per_value=each, compute=BF16.compute)
        return weight_formats(form, model)
    if "mxfp4" in text and "gpt-oss" in row.model.lower():
        return model.formats
    if "fp32" in text or "tf32" in text:
        raise Unmapped(f"weights in {row.precision_weights}: FP32 matrix rates are not published")
    return weight_formats(_format(text), model)


def cache_of(row: Row, weights: WeightFormats) -> Format:
    """Storage of the cache; TensorRT-LLM pairs 8- and 4-bit weights with an FP8 cache."""
    text = row.precision_kv.lower()
    if "fp8" in text and "not stated" not in text:
        return FP8
    narrow = weights.attention.bytes_per_value < 2 or weights.experts.bytes_per_value < 2
    tuned = "tensorrt" in row.engine.lower() or row.source_key.startswith("mlperf-inference")
    return FP8 if not text and narrow and tuned else BF16


def _unstated(row: Row, model: ModelConfig, chip: Chip) -> WeightFormats:
    """MLPerf submitters take the narrowest format that passes, which is what the chip has.

    In training that was FP8 through round 5.0; FP4 entered with 5.1.
    """
    if not row.source_key.startswith("mlperf") or "gpt-oss" in row.model.lower():
        return model.formats
    narrow = row.source_key.startswith("mlperf-inference") or "v5.1" in row.source_key
    for precision, form in ((Precision.FP4, NVFP4), (Precision.FP8, FP8)):
        if chip.supports(precision) and (narrow or precision is not Precision.FP4):
            return weight_formats(form, model)
    return model.formats


def _format(text: str) -> Format:
    for pattern, form in _SPELLINGS:
        if re.search(pattern, text):
            return form
    raise Unmapped(f"weight precision not understood ({text})")
