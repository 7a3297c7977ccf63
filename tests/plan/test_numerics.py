import re
from collections.abc import Callable

import pytest

from penjing.cost.work import EXPERT_IMBALANCE
from penjing.errors import Contradiction
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.catalogue import load_model
from penjing.models.config import WeightFormats
from penjing.models.format import BF16, FORMATS, FP8, FP8_BLOCK, INT4, INT8, MXFP4, NVFP4, Format
from penjing.plan.numerics import named_format, storages, weight_formats

FindChip = Callable[[str], Chip]


def tried(model: str, chip: Chip, weights: str = "auto", cache: str = "auto") -> list[str]:
    found = storages(load_model(model), chip, weights, cache)
    return [f"{s.weights}/{s.cache}" for s in found]


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        ("DeepSeek-R1", "H20", ["native/bf16", "native/fp8", "bf16/bf16", "bf16/fp8"]),
        ("DeepSeek-R1", "MI300X", ["native/bf16", "native/fp8", "bf16/bf16", "bf16/fp8"]),
        # Marlin kernels widen FP8 on CUDA; nobody has such kernels on Ascend.
        ("DeepSeek-R1", "A800", ["native/bf16", "int8/bf16", "bf16/bf16"]),
        ("DeepSeek-R1", "910B", ["int8/bf16", "bf16/bf16"]),
        # Released in 16 bits: nothing is narrowed without being asked for.
        ("R1-Distill-Qwen-7B", "H20", ["native/bf16", "native/fp8"]),
        ("R1-Distill-Qwen-7B", "910B", ["native/bf16"]),
        ("GPT-OSS-20B", "A800", ["native/bf16"]),
    ],
)
def test_auto_loses_no_accuracy_in_the_weights(
    chip: FindChip, model: str, name: str, expected: list[str]
) -> None:
    assert tried(model, chip(name)) == expected


def test_native_weights_are_those_of_the_checkpoint(chip: FindChip) -> None:
    r1 = load_model("DeepSeek-R1")
    native, *_ = storages(r1, chip("H20"), "auto", "auto")
    assert native.numerics.weights == r1.formats
    assert native.numerics.weights.experts == FP8_BLOCK
    assert native.numerics.imbalance == EXPERT_IMBALANCE
    widened = storages(r1, chip("H20"), "auto", "auto")[-1]
    assert widened.numerics.weights == WeightFormats()
    assert widened.numerics.cache == FP8


def test_native_is_given_where_it_is_asked_for(chip: FindChip) -> None:
    assert tried("DeepSeek-R1", chip("910B"), weights="native") == ["native/bf16"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_may_be_given(chip: FindChip, name: str) -> None:
    for spelling in (name, name.upper()):
        (found,) = storages(load_model("R1-Distill-Llama-8B"), chip("H20"), spelling, "bf16")
        assert (found.weights, found.cache) == (name, "bf16")
        form = FORMATS[name]
        assert found.numerics.weights == WeightFormats(attention=form, dense=form, experts=form)


@pytest.mark.parametrize("cache", ["bf16", "fp8"])
def test_a_cache_may_be_given_also_where_it_must_be_widened(chip: FindChip, cache: str) -> None:
    assert not chip("A800").supports(Precision.FP8)
    assert tried("R1-Distill-Qwen-7B", chip("A800"), cache=cache) == [f"native/{cache}"]


@pytest.mark.parametrize("cache", ["int4", "int8", "fp32", "fp8-block", "q8_0"])
def test_a_cache_in_another_format_is_refused(chip: FindChip, cache: str) -> None:
    expected = f"--kv {cache}: a cache is kept in bf16 or fp8"
    with pytest.raises(Contradiction, match=f"^{re.escape(expected)}$"):
        tried("DeepSeek-R1", chip("H20"), cache=cache)


@pytest.mark.parametrize(("flag", "word"), [("--weights", "weights"), ("--kv", "cache")])
def test_nonsense_names_its_flag_and_the_nearest(chip: FindChip, flag: str, word: str) -> None:
    expected = rf"^{flag}: unknown number format 'fp88'; nearest: .*fp8.*, or auto$"
    with pytest.raises(Contradiction, match=expected):
        tried("DeepSeek-R1", chip("H20"), **{word: "fp88"})


@pytest.mark.parametrize(
    ("form", "model", "attention", "dense", "experts"),
    [
        # 128 x 128 blocks where the family publishes them, one scale a tensor elsewhere.
        (FP8, "DeepSeek-R1", FP8_BLOCK, FP8_BLOCK, FP8_BLOCK),
        (FP8, "Qwen3-30B-A3B", FP8_BLOCK, FP8_BLOCK, FP8_BLOCK),
        (FP8, "Llama-3.1-8B", FP8, FP8, FP8),
        # 4-bit DeepSeek checkpoints leave attention wider; other families do not.
        (NVFP4, "DeepSeek-R1", FP8, NVFP4, NVFP4),
        (MXFP4, "Kimi-K2", FP8, MXFP4, MXFP4),
        (INT4, "DeepSeek-R1", BF16, BF16, INT4),
        (INT4, "Qwen3-30B-A3B", INT4, INT4, INT4),
        (INT8, "DeepSeek-R1", INT8, INT8, INT8),
    ],
)
def test_weights_are_stored_as_checkpoints_of_the_family_are(
    form: Format, model: str, attention: Format, dense: Format, experts: Format
) -> None:
    expected = WeightFormats(attention=attention, dense=dense, experts=experts)
    assert weight_formats(form, load_model(model)) == expected


def test_a_format_is_found_by_name() -> None:
    assert named_format("Fp8", "--weights") is FP8
    with pytest.raises(Contradiction, match=r"^--x: unknown number format ''; .*, or auto$"):
        named_format("", "--x")
