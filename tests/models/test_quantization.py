from collections.abc import Callable
from typing import Any

import pytest

from penjing.errors import BadFile, PenjingError, UnknownName
from penjing.models.config import WeightFormats
from penjing.models.huggingface import model_from_hf


@pytest.fixture
def formats(bundled: Callable[[str], Any]) -> Callable[..., tuple[str, str, str, str]]:
    """Names of the formats of attention, dense, experts and embedding under some keys."""

    def read(name: str, **keys: Any) -> tuple[str, str, str, str]:
        return _names(model_from_hf(bundled(name) | keys, name).formats)

    return read


Read = Callable[..., tuple[str, str, str, str]]
BF16 = "bf16"


def test_released_formats(formats: Read) -> None:
    assert formats("DeepSeek-R1") == ("fp8-block", "fp8-block", "fp8-block", BF16)
    assert formats("GPT-OSS-120B") == (BF16, BF16, "mxfp4", BF16)
    assert formats("Qwen3-235B-A22B") == (BF16,) * 4
    assert formats("Hy3") == (BF16,) * 4  # ships without torch_dtype


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
def test_dtype_in_both_spellings(formats: Read, key: str) -> None:
    config = {"torch_dtype": None} | {key: "float32"}
    assert formats("Llama-3-8B", **config) == ("fp32",) * 4
    assert formats("Llama-3-8B", **(config | {key: "float16"})) == (BF16,) * 4


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "int4-g32"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "int8-weight"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_algo": "FP8", "ignore": ["lm_head"]}, "fp8"),
    ],
)
def test_methods_cover_all_linears_but_embedding_and_head(
    formats: Read, quantization: dict[str, Any], expected: str
) -> None:
    got = formats("Qwen3-30B-A3B", quantization_config=quantization)
    # No dense block and no shared expert: nothing of that class is stored.
    assert got == (expected, BF16, expected, BF16)


def _group(bits: int, kind: str, *, size: int | None, wide: bool) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": kind, "group_size": size}
    activations = None if wide else {"num_bits": bits, "type": kind}
    return {"targets": ["Linear"], "weights": weights, "input_activations": activations}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (_group(4, "int", size=32, wide=True), "int4-g32"),
        (_group(4, "int", size=128, wide=True), "int4"),
        (_group(8, "int", size=None, wide=False), "int8"),
        (_group(8, "int", size=-1, wide=True), "int8-weight"),
        (_group(8, "float", size=None, wide=False), "fp8"),
        (_group(4, "float", size=16, wide=False), "nvfp4"),
        (_group(4, "float", size=32, wide=False), "mxfp4"),
    ],
)
def test_compressed_tensors(formats: Read, group: dict[str, Any], expected: str) -> None:
    quantization = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    got = formats("DeepSeek-R1", quantization_config=quantization)
    assert got == (expected, expected, expected, BF16)


def test_kimi_k2_thinking_quantises_its_routed_experts_alone(formats: Read) -> None:
    quantization = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": _group(4, "int", size=32, wide=True)},
        "ignore": [
            "lm_head",
            "re:.*self_attn.*",
            "re:.*shared_experts.*",
            r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
        ],
    }
    got = formats("Kimi-K2", quantization_config=quantization)
    assert got == (BF16, BF16, "int4-g32", BF16)


def test_groups_may_target_modules_apart(formats: Read) -> None:
    groups = {
        "experts": _group(4, "int", size=32, wide=True) | {"targets": ["re:.*mlp.experts.*"]},
        "rest": _group(8, "float", size=None, wide=False) | {"targets": ["re:.*self_attn.*"]},
    }
    quantization = {"quant_method": "compressed-tensors", "config_groups": groups}
    got = formats("DeepSeek-R1", quantization_config=quantization)
    assert got == ("fp8", BF16, "int4-g32", BF16)


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        (["lm_head"], ("nvfp4",) * 3),
        ([f"model.layers.{i}.self_attn*" for i in range(61)], (BF16, "nvfp4", "nvfp4")),
        ([f"model.layers.{i}.mlp.gate" for i in range(61)], ("nvfp4",) * 3),
        (["model.layers.0.self_attn", "model.layers.60.mlp"], ("nvfp4",) * 3),
        (["shared_experts", "model.layers.0.mlp"], ("nvfp4", BF16, "nvfp4")),
    ],
)
def test_exclusions_name_modules_parents_or_globs(
    formats: Read, excluded: list[str], expected: tuple[str, ...]
) -> None:
    quantization = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": excluded}
    assert formats("DeepSeek-R1", quantization_config=quantization) == (*expected, BF16)


@pytest.mark.parametrize(
    ("quantization", "error", "match"),
    [
        ({"quant_method": "bitsandbytes"}, UnknownName, "known: awq, compressed-tensors, fp8"),
        ({}, BadFile, "quant_method is missing"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, UnknownName, r"\(128, 128\)"),
        ({"quant_method": "gptq", "bits": 3}, UnknownName, "3 bits in groups of 128"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, UnknownName, "NVFP4"),
        ({"quant_method": "compressed-tensors"}, BadFile, "config_groups is missing"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"]}}},
            BadFile,
            "weights is missing",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": _group(4, "float", size=16, wide=True)},
            },
            UnknownName,
            "float4 in groups of 16, activations wide",
        ),
        (
            {"quant_method": "fp8", "modules_to_not_convert": ["re:(["]},
            BadFile,
            "no regular expression",
        ),
    ],
)
def test_what_is_not_known_is_named(
    formats: Read, quantization: dict[str, Any], error: type[PenjingError], match: str
) -> None:
    with pytest.raises(error, match=match):
        formats("Qwen3-8B", quantization_config=quantization)


def test_an_unknown_dtype_is_named(formats: Read) -> None:
    with pytest.raises(UnknownName, match="torch_dtype of Qwen3-8B 'float8'"):
        formats("Qwen3-8B", torch_dtype="float8")


def _names(formats: WeightFormats) -> tuple[str, str, str, str]:
    return (
        formats.attention.name,
        formats.dense.name,
        formats.experts.name,
        formats.embedding.name,
    )
