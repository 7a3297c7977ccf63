"""Which number formats a model may be stored in, and which are worth trying on a chip."""

from collections.abc import Iterator
from dataclasses import dataclass

from penjing.cost.work import EXPERT_IMBALANCE, Numerics
from penjing.errors import Contradiction, UnknownName
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.config import Latent, ModelConfig, WeightFormats
from penjing.models.format import (
    BF16,
    FP8,
    FP8_BLOCK,
    INT4,
    INT8,
    MXFP4,
    NVFP4,
    Format,
    format_named,
)
from penjing.plan.layouts import has_experts

AUTO = "auto"
NATIVE = "native"


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A choice of formats; ``weights`` and ``cache`` are what people call them."""

    weights: str
    cache: str
    numerics: Numerics


def storages(model: ModelConfig, chip: Chip, weights: str, cache: str) -> list[Storage]:
    """What to try on ``chip``: the given formats, or with ``auto`` those that lose no accuracy.

    ``auto`` weights are the released ones, widened ones, and, where released in FP8 that the chip
    cannot multiply, INT8 (vLLM Ascend and SGLang serve R1 so on 910B and A100). ``auto`` cache
    is BF16, and FP8 where the chip multiplies it.
    """
    return [
        Storage(
            weights=name,
            cache=form.name,
            numerics=Numerics(weights=stored, cache=form, imbalance=EXPERT_IMBALANCE),
        )
        for name, stored in _weights(model, chip, weights)
        for form in _caches(chip, cache)
    ]


def weight_formats(form: Format, model: ModelConfig) -> WeightFormats:
    """Every weight in ``form``, but as checkpoints of this family are released.

    DeepSeek, Kimi and Qwen publish FP8 with 128 x 128 blocks, others scale by tensor or channel.
    4-bit DeepSeek checkpoints quantise the feed-forward and keep attention in 8 bits, or in 16
    where the experts alone are INT4.
    """
    blocks = model.model_type.startswith(("deepseek", "kimi", "qwen"))
    form = FP8_BLOCK if form is FP8 and blocks else form
    latent = any(isinstance(layer.attention, Latent) for layer in model.layers)
    if form in (NVFP4, MXFP4) and latent:
        return WeightFormats(attention=FP8, dense=form, experts=form)
    if form is INT4 and latent and has_experts(model):
        return WeightFormats(attention=BF16, dense=BF16, experts=form)
    return WeightFormats(attention=form, dense=form, experts=form)


def _weights(model: ModelConfig, chip: Chip, wanted: str) -> Iterator[tuple[str, WeightFormats]]:
    if wanted not in (AUTO, NATIVE):
        form = named_format(wanted, "--weights")
        yield form.name, weight_formats(form, model)
        return
    stored = model.formats
    eight_bit = any(Precision.FP8 in f.compute for f in (stored.dense, stored.experts))
    if wanted == NATIVE or not eight_bit or _multiplies_or_widens(chip):
        yield NATIVE, stored
    if wanted == AUTO and eight_bit:
        if not chip.supports(Precision.FP8) and chip.supports(Precision.INT8):
            yield INT8.name, weight_formats(INT8, model)
        yield BF16.name, WeightFormats()


def _multiplies_or_widens(chip: Chip) -> bool:
    """FP8 weights need FP8 units, or kernels that widen them, which exist in CUDA (Marlin)."""
    return chip.supports(Precision.FP8) or chip.vendor == "NVIDIA"


def _caches(chip: Chip, wanted: str) -> list[Format]:
    if wanted == AUTO:
        return [BF16, FP8] if chip.supports(Precision.FP8) else [BF16]
    form = named_format(wanted, "--kv")
    if form not in (BF16, FP8):
        raise Contradiction(f"--kv {wanted}: a cache is kept in bf16 or fp8")
    return [form]


def named_format(name: str, flag: str) -> Format:
    try:
        return format_named(name)
    except UnknownName as error:
        raise Contradiction(f"{flag}: {error}, or auto") from None
