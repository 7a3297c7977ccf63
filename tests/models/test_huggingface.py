import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penjing.errors import BadFile, BadQuantity, PenjingError, UnknownName
from penjing.models import huggingface
from penjing.models.catalogue import bundled_models
from penjing.models.config import ModelConfig, Rope, Yarn
from penjing.models.huggingface import model_from_hf
from penjing.models.parameters import count_parameters
from penjing.models.weights import weight_bytes

Bundled = Callable[[str], Any]

FAMILIES = {
    "deepseek_v2": "DeepSeek-V2",
    "deepseek_v3": "DeepSeek-R1",
    "deepseek_v32": "DeepSeek-V3.2",
    "kimi_k2": "Kimi-K2",
    "glm4_moe": "GLM-4.6",
    "gpt_oss": "GPT-OSS-120B",
    "gpt3": "GPT-3-175B",
    "hy_v3": "Hy3",
    "llama": "Llama-3.1-8B",
    "mistral": "Mistral-7B",
    "mixtral": "Mixtral-8x7B",
    "qwen2": "Qwen2.5-7B",
    "qwen2_moe": "Qwen1.5-MoE-A2.7B",
    "qwen3": "Qwen3-8B",
    "qwen3_moe": "Qwen3-30B-A3B",
    "qwen3_vl_moe": "Qwen3-VL-235B-A22B",
}


@pytest.mark.parametrize("name", bundled_models())
def test_every_bundled_config_is_understood(name: str, bundled: Bundled) -> None:
    raw = bundled(name)
    text = raw.get("text_config", raw)
    config = model_from_hf(raw, name)
    assert (config.name, config.model_type) == (name, text["model_type"])
    assert len(config.layers) == text["num_hidden_layers"]
    assert (config.width, config.vocab_size) == (text["hidden_size"], text["vocab_size"])
    assert config.max_positions == text["max_position_embeddings"]
    assert config.norm_eps == text.get("rms_norm_eps", text.get("layer_norm_eps"))


def test_every_family_has_a_bundled_config(bundled: Bundled) -> None:
    assert FAMILIES.keys() == huggingface._FAMILIES.keys()
    assert all(bundled(name)["model_type"] == family for family, name in FAMILIES.items())


@pytest.mark.parametrize("name", ["DeepSeek-R1", "Llama-3.1-8B", "GPT-OSS-20B", "Qwen2.5-7B"])
def test_both_spellings_of_rope_give_the_same_model(name: str, bundled: Bundled) -> None:
    raw = bundled(name)
    renamed = {k: v for k, v in raw.items() if k not in ("rope_theta", "rope_scaling")}
    renamed["rope_parameters"] = {"rope_theta": raw["rope_theta"]} | (raw.get("rope_scaling") or {})
    assert model_from_hf(renamed, name) == model_from_hf(raw, name)


def test_yarn_of_r1(bundled: Bundled) -> None:
    scaling = Yarn(factor=40, original_positions=4096, mscale=1.0, mscale_all_dim=1.0)
    expected = Rope(theta=10_000.0, dim=64, scaling=scaling)
    assert model_from_hf(bundled("DeepSeek-R1"), "R1").rope == expected


def test_llama_2_has_the_theta_that_its_file_leaves_out(bundled: Bundled) -> None:
    assert "rope_theta" not in bundled("Llama-2-7B")
    assert model_from_hf(bundled("Llama-2-7B"), "L").rope == Rope(theta=10_000.0, dim=128)


def test_glm_turns_half_a_head(bundled: Bundled) -> None:
    assert model_from_hf(bundled("GLM-4.5"), "G").rope == Rope(theta=1e6, dim=64)


@pytest.mark.parametrize(
    ("name", "drafts"), [("DeepSeek-R1", 1), ("GLM-4.5-Air", 1), ("Hy3", 1), ("Kimi-K2", 0)]
)
def test_draft_layers_are_like_the_last(name: str, drafts: int, bundled: Bundled) -> None:
    config = model_from_hf(bundled(name), name)
    assert config.mtp == (config.layers[-1],) * drafts


def test_draft_layers_in_the_newer_spelling(bundled: Bundled) -> None:
    raw = bundled("DeepSeek-R1")
    renamed = raw | {"num_nextn_predict_layers": None, "num_mtp_layers": 1}
    assert model_from_hf(renamed, "R1") == model_from_hf(raw, "R1")


def test_gpt3_is_the_odd_one(bundled: Bundled) -> None:
    config = model_from_hf(bundled("GPT-3-175B"), "GPT-3")
    assert (config.norm, config.activation, config.rope) == ("layer", "gelu", None)
    assert (config.learned_positions, config.tied_embeddings) == (2048, True)


def test_gpt_oss_has_a_gate_of_its_own(bundled: Bundled) -> None:
    assert model_from_hf(bundled("GPT-OSS-20B"), "G").activation == "swiglu-oss"


def test_the_language_part_of_a_vision_model_is_the_plain_model(bundled: Bundled) -> None:
    plain = model_from_hf(bundled("Qwen3-235B-A22B"), "Q")
    raw = bundled("Qwen3-VL-235B-A22B") | {"vision_config": {"depth": 27}}
    config = model_from_hf(raw, "Q")
    assert config.layers == plain.layers
    assert model_from_hf(raw | {"tie_word_embeddings": True}, "Q").tied_embeddings
    quantised = model_from_hf(raw | {"quantization_config": {"quant_method": "fp8"}}, "Q")
    assert quantised.formats.experts.name == "fp8"


def test_qwen3_coder_says_what_the_others_leave_out(bundled: Bundled) -> None:
    raw = bundled("Qwen3-30B-A3B")
    said = {"use_qk_norm": True, "qkv_bias": False, "shared_expert_intermediate_size": 0}
    assert model_from_hf(raw | said, "Q") == model_from_hf(raw, "Q")
    with pytest.raises(UnknownName, match="use_qk_norm of Q 'false'"):
        model_from_hf(raw | {"use_qk_norm": False}, "Q")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unread_key_is_refused_in_every_family(family: str, bundled: Bundled) -> None:
    name = FAMILIES[family]
    with pytest.raises(UnknownName, match=r"'final_logit_softcapping'.*may change the arithmetic"):
        model_from_hf(bundled(name) | {"final_logit_softcapping": 30.0}, name)


def test_a_window_on_a_family_that_has_none_is_refused(bundled: Bundled) -> None:
    with pytest.raises(UnknownName, match="'sliding_window'"):
        model_from_hf(bundled("Llama-3-8B") | {"sliding_window": 4096}, "L")


@pytest.mark.parametrize(
    ("name", "keys", "error", "match"),
    [
        ("Llama-3-8B", {"model_type": None}, BadFile, "model_type is missing"),
        (
            "Llama-3-8B",
            {"model_type": "lama"},
            UnknownName,
            "nearest: llama; known are deepseek_v2, ",
        ),
        ("Llama-3-8B", {"hidden_act": "gelu"}, UnknownName, "known: silu"),
        ("Llama-3-8B", {"hidden_size": "4096"}, BadFile, "must be a whole number"),
        ("Llama-3-8B", {"hidden_size": 10**8}, BadQuantity, "hidden_size is 100000000"),
        ("Llama-3-8B", {"vocab_size": 10**9}, BadQuantity, "vocab_size"),
        ("Llama-3-8B", {"num_hidden_layers": 0}, BadQuantity, "num_hidden_layers is 0"),
        ("Llama-3-8B", {"num_hidden_layers": 10**6}, BadQuantity, "num_hidden_layers"),
        ("Llama-3-8B", {"rms_norm_eps": None}, BadFile, "rms_norm_eps is missing"),
        ("Llama-3-8B", {"tie_word_embeddings": 1}, BadFile, "must be true or false"),
        ("Qwen2.5-7B", {"rope_theta": None}, BadFile, "rope_theta is missing"),
        ("GPT-3-175B", {"hidden_act": "silu"}, UnknownName, "known: gelu"),
        ("GPT-OSS-20B", {"swiglu_limit": 6.0}, PenjingError, "swiglu_limit is 6.0"),
        ("Hy3", {"route_norm": False}, UnknownName, "route_norm of Hy3 'false'"),
        ("Qwen3-VL-235B-A22B", {"text_config": None}, BadFile, "text_config is missing"),
    ],
)
def test_what_does_not_hold_is_named(
    name: str, keys: dict[str, Any], error: type[PenjingError], match: str, bundled: Bundled
) -> None:
    with pytest.raises(error, match=match) as raised:
        model_from_hf(bundled(name) | keys, name)
    assert "\n" not in str(raised.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.integers(-3, 200)
    | st.floats()
    | st.sampled_from(["yarn", "sliding_attention", "bfloat16", "fp8", "mxfp4", "", "re:("])
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_config_parses_or_says_what_is_wrong(
    data: st.DataObject, bundled: Bundled
) -> None:
    raw = copy.deepcopy(bundled(data.draw(st.sampled_from(sorted(FAMILIES.values())))))
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(raw, data)
    outcome = _parsed(raw)
    if isinstance(outcome, str):
        assert outcome
        assert "\n" not in outcome
    else:
        count = count_parameters(outcome)
        assert 0 < count.active <= count.total
        assert math.isfinite(weight_bytes(outcome))


def _parsed(raw: dict[str, Any]) -> ModelConfig | str:
    try:
        return model_from_hf(raw, "Toy")
    except PenjingError as error:
        return str(error)


def _mutate(raw: dict[str, Any], data: st.DataObject) -> None:
    inner = [raw, *(v for v in raw.values() if isinstance(v, dict) and v)]
    target = data.draw(st.sampled_from(inner))
    key = data.draw(st.sampled_from(sorted(target)) | st.text(max_size=8))
    if data.draw(st.booleans()):
        target[key] = data.draw(JSON)
    else:
        target.pop(key, None)
