"""Number formats of a measured run from the words of its row."""

import re
from dataclasses import replace

from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.config import Latent, ModelConfig, MoE, WeightFormats
from penjing.models.format import (
    BF16,
    FP8,
    FP8_BLOCK,
    INT4,
    INT8,
    MXFP4,
    MXFP8,
    NVFP4,
    Q4_K_M,
    Q8_0,
    Format,
)
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
        return _all(Format(name="int4", bytes_per_value=each, compute=BF16.compute))
    if "mxfp4" in text and "gpt-oss" in row.model.lower():
        return model.formats
    if "fp32" in text or "tf32" in text:
        raise Unmapped(f"weights in {row.precision_weights}: FP32 matrix rates are not published")
    return _of_format(_for_family(_format(text), model), model)


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
            return _of_format(form, model)
    return model.formats


def _format(text: str) -> Format:
    for pattern, form in _SPELLINGS:
        if re.search(pattern, text):
            return form
    raise Unmapped(f"weight precision not understood ({text})")


def _for_family(form: Format, model: ModelConfig) -> Format:
    """DeepSeek and Qwen publish FP8 with 128 x 128 blocks; others scale by tensor or channel."""
    blocks = model.model_type.startswith(("deepseek", "kimi", "qwen"))
    return FP8_BLOCK if form is FP8 and blocks else form


def _of_format(form: Format, model: ModelConfig) -> WeightFormats:
    """4-bit DeepSeek checkpoints quantise the feed-forward and keep attention in 8 bits."""
    latent = any(isinstance(layer.attention, Latent) for layer in model.layers)
    routed = any(isinstance(layer.feed_forward, MoE) for layer in model.layers)
    if form in (NVFP4, MXFP4) and latent:
        return WeightFormats(attention=FP8, dense=form, experts=form)
    if form is INT4 and latent and routed:
        return WeightFormats(attention=BF16, dense=BF16, experts=form)
    return _all(form)


def _all(form: Format) -> WeightFormats:
    return WeightFormats(attention=form, dense=form, experts=form)
