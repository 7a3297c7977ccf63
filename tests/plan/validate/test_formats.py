"""Number formats of a measured run from the words of its row."""

from collections.abc import Callable

import pytest

from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.models.config import WeightFormats
from penjing.models.format import BF16, FP8
from penjing.plan.validate.formats import cache_of, weights_of
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row

MakeRow = Callable[..., Row]


def weights(row: Row) -> tuple[str, str, str]:
    """Formats of attention, dense blocks and experts by name."""
    found = weights_of(row, load_model(row.model), load_catalogue().find(row.chip).chip)
    return found.attention.name, found.dense.name, found.experts.name


@pytest.mark.parametrize(
    ("model", "text", "names"),
    [
        ("Llama-3.1-8B", "BF16 (default)", ("bf16", "bf16", "bf16")),
        ("Llama-3.1-8B", "FP8", ("fp8", "fp8", "fp8")),
        ("Qwen3-8B", "FP8", ("fp8-block", "fp8-block", "fp8-block")),
        ("Qwen3-8B", "W8A8", ("int8", "int8", "int8")),
        ("DeepSeek-R1", "NVFP4", ("fp8", "nvfp4", "nvfp4")),
        ("DeepSeek-R1", "INT4 (AWQ)", ("bf16", "bf16", "int4")),
        ("Llama-3.1-8B", "AWQ", ("int4", "int4", "int4")),
        ("GPT-OSS-120B", "MXFP4 experts", ("bf16", "bf16", "mxfp4")),
        ("DeepSeek-R1", "BF16 attn / FP8 MoE", ("bf16", "bf16", "fp8")),
    ],
)
def test_weights_as_written(row: MakeRow, model: str, text: str, names: tuple[str, ...]) -> None:
    assert weights(row(model=model, precision_weights=text)) == names


def test_bits_per_weight_are_kept(row: MakeRow) -> None:
    made = row(precision_weights="Q4_K (4.5 bpw)")
    found = weights_of(made, load_model(made.model), load_catalogue().find("H100").chip)
    assert found.dense.bytes_per_value == 4.5 / 8


@pytest.mark.parametrize(
    ("source", "chip", "name"),
    [
        ("lab", "B200", "bf16"),  # the released checkpoint
        ("mlperf-inference-v6.0", "B200", "nvfp4"),
        ("mlperf-inference-v6.0", "H200", "fp8"),
        ("mlperf-training-v5.0", "B200", "fp8"),  # FP4 entered training with 5.1
        ("mlperf-training-v5.1", "B200", "nvfp4"),
    ],
)
def test_what_is_not_stated(row: MakeRow, source: str, chip: str, name: str) -> None:
    assert weights(row(precision_weights="", source_key=source, chip=chip)) == (name,) * 3


@pytest.mark.parametrize("text", ["FP32", "TF32", "three bits or so"])
def test_what_cannot_be_priced_is_refused(row: MakeRow, text: str) -> None:
    with pytest.raises(Unmapped, match=r"weights? "):
        weights(row(precision_weights=text))


@pytest.mark.parametrize(
    ("engine", "weight", "stated", "name"),
    [
        ("vLLM", FP8, "FP8", "fp8"),
        ("vLLM", FP8, "", "bf16"),
        ("TensorRT-LLM", FP8, "", "fp8"),
        ("TensorRT-LLM", FP8, "BF16", "bf16"),
        ("TensorRT-LLM", BF16, "", "bf16"),
    ],
)
def test_the_cache(row: MakeRow, engine: str, weight: object, stated: str, name: str) -> None:
    formats = WeightFormats(attention=weight, dense=weight, experts=weight)  # type: ignore[arg-type]
    assert cache_of(row(engine=engine, precision_kv=stated), formats).name == name
