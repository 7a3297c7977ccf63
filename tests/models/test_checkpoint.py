import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from penjing.errors import BadFile
from penjing.models.catalogue import load_model
from penjing.models.checkpoint import CheckpointInfo, load_weights, part_of, stored_config
from penjing.models.config import ModelConfig
from penjing.models.decoder import Decoder
from penjing.models.fp8 import dequantised, scale_shape
from penjing.models.tensor_names import copies, tensor_places, zero_rows

Raw = dict[str, Any]
Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], object]

COMMON: Raw = {
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 24,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e4,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
GROUPED: Raw = {**COMMON, "num_key_value_heads": 2}
EXPERTS: Raw = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 6}
DEEPSEEK: Raw = {
    **COMMON,
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 1,
    "q_lora_rank": 12,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": 3,
    "moe_intermediate_size": 6,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1,
}
MODELS: dict[str, Raw] = {
    "deepseek": DEEPSEEK,
    "moonlight": {**DEEPSEEK, "q_lora_rank": None, "attention_bias": True},
    "llama": {**GROUPED, "model_type": "llama", "attention_bias": True},
    "qwen2": {**GROUPED, "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {**GROUPED, "model_type": "qwen3", "head_dim": 6},
    "qwen3_moe": {
        **GROUPED,
        **EXPERTS,
        "model_type": "qwen3_moe",
        "head_dim": 6,
        "norm_topk_prob": True,
    },
}
QUERIES = "model.layers.0.self_attn.q_a_proj.weight"
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"


@torch.no_grad()
def decoder_of(config: ModelConfig, dtype: torch.dtype) -> Decoder:
    """All NaN until it is filled."""
    decoder = Decoder(config, dtype=dtype)
    for parameter in decoder.parameters():
        parameter.fill_(torch.nan)
    return decoder


def checkpoint(folder: Path, raw: Raw, change: Change = len) -> Tensors:
    """A folder with random BF16 tensors of that model, copies included, changed as asked."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    config = load_model(folder)
    draw = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(place.shape, generator=draw).bfloat16()
        for name, place in tensor_places(config).items()
    }
    tensors |= {copy: tensors[main].clone() for copy, main in copies(config).items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return tensors


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> tuple[CheckpointInfo, nn.Module]:
    config = load_model(folder)
    decoder = decoder_of(config, dtype)
    return load_weights(folder, decoder, config), decoder


@pytest.mark.parametrize("raw", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_tensor_arrives_in_its_place(tmp_path: Path, raw: Raw, dtype: torch.dtype) -> None:
    tensors = checkpoint(tmp_path, raw)
    config = load_model(tmp_path)
    info, decoder = load(tmp_path, dtype)
    parameters = dict(decoder.named_parameters())
    for name, place in tensor_places(config).items():
        assert torch.equal(part_of(parameters, place).to(torch.bfloat16), tensors[name]), name
    assert all(p.isfinite().all() for p in parameters.values())
    assert set(info.copies) == copies(config).keys()
    for parameter, (start, stop) in zero_rows(config).items():
        assert not parameters[parameter][start:stop].any()


def test_the_info_keeps_what_the_decoder_does_not(tmp_path: Path) -> None:
    checkpoint(tmp_path, DEEPSEEK)
    info, decoder = load(tmp_path)
    prediction_bias = "model.layers.2.mlp.gate.e_score_correction_bias"
    assert info.config == DEEPSEEK
    assert info.dtypes == {BIAS: torch.bfloat16, prediction_bias: torch.bfloat16}
    assert decoder.get_parameter("layers.1.feed_forward.correction_bias").dtype == torch.float32


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    tensors = checkpoint(tmp_path, DEEPSEEK)
    (tmp_path / "model.safetensors").unlink()
    files = {name: f"s{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in tensors if files[n] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    _, decoder = load(tmp_path)
    assert torch.equal(decoder.get_parameter("head").detach(), tensors["lm_head.weight"])


def quantise(tensors: Tensors, *names: str) -> None:
    for name in names:
        scale = torch.rand(scale_shape(tuple(tensors[name].shape))) + 0.5
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale


def test_fp8_is_widened(tmp_path: Path) -> None:
    up, expert = (
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.experts.3.down_proj.weight",
    )
    raw = {**DEEPSEEK, "hidden_size": 200, "intermediate_size": 130}
    tensors = checkpoint(tmp_path, raw, lambda t: quantise(t, QUERIES, up, expert))
    _, decoder = load(tmp_path)
    parameters, places = dict(decoder.named_parameters()), tensor_places(load_model(tmp_path))
    for name in (QUERIES, up, expert):
        wide = dequantised(tensors[name], tensors[f"{name}_scale_inv"]).bfloat16()
        assert torch.equal(part_of(parameters, places[name]), wide)
    assert tensors[f"{up}_scale_inv"].shape == (2, 2)


def test_scales_may_lie_in_another_shard(tmp_path: Path) -> None:
    tensors = checkpoint(tmp_path, DEEPSEEK, lambda t: quantise(t, QUERIES))
    scale = {n: t for n, t in tensors.items() if n.endswith("_scale_inv")}
    (tmp_path / "model.safetensors").unlink()
    save_file({n: t for n, t in tensors.items() if n not in scale}, tmp_path / "a.safetensors")
    save_file(scale, tmp_path / "b.safetensors")
    files = {n: "b.safetensors" if n in scale else "a.safetensors" for n in tensors}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    _, decoder = load(tmp_path)
    found = decoder.get_parameter("layers.0.attention.down").detach()[:12]
    assert torch.equal(found, dequantised(tensors[QUERIES], *scale.values()).bfloat16())


def poison(name: str, value: float) -> Change:
    return lambda tensors: tensors[name].view(-1)[1:2].fill_(value)


def recast(name: str, dtype: torch.dtype) -> Change:
    return lambda tensors: tensors.update({name: tensors[name].to(dtype)})


def add(name: str, *shape: int) -> Change:
    return lambda tensors: tensors.update({name: torch.ones(shape)})


def transposed(tensors: Tensors) -> None:
    tensors[QUERIES] = tensors[QUERIES].T.contiguous()


def misscaled(tensors: Tensors) -> None:
    quantise(tensors, QUERIES)
    tensors[f"{QUERIES}_scale_inv"] = torch.ones(12, 1)


COPY = "model.layers.2.shared_head.head.weight"
BROKEN: dict[str, tuple[Change, str]] = {
    "missing": (lambda t: t.pop(QUERIES), rf"missing 1 \({QUERIES}\); the download may be"),
    "extra": (add("model.layers.3.mlp.up_proj.weight", 2), r"unknown 1 \(model\.layers\.3\.mlp"),
    "both": (lambda t: t.update(x=t.pop(BIAS)), rf"missing 1 \({BIAS}\) and unknown 1 \(x\)"),
    "many": (lambda t: [t.pop(n) for n in list(t) if "self_attn" in n], r"missing 21 \(.*, \.\.\."),
    "shape": (transposed, rf"{QUERIES} in .* has shape \[16, 12\].* asks for \[12, 16\]"),
    "integer": (recast(QUERIES, torch.int32), f"{QUERIES} in .* is I32; weights must be F32, F16"),
    "double": (recast(QUERIES, torch.float64), f"{QUERIES} in .* is F64"),
    "no scale": (recast(QUERIES, torch.float8_e4m3fn), f"F8_E4M3 without {QUERIES}_scale_inv"),
    "vector": (recast("model.norm.weight", torch.float8_e4m3fn), r"model\.norm\.weight .*matrices"),
    "bad scale": (misscaled, rf"{QUERIES}_scale_inv .* \[12, 1\], .* asks for \[1, 1\]"),
    "idle scale": (add(f"{QUERIES}_scale_inv", 1, 1), rf"unknown 1 \({QUERIES}_scale_inv\)"),
    "packed": (add(QUERIES.replace("weight", "qweight"), 1), "quantised in a way that is not read"),
    "nan": (poison(QUERIES, torch.nan), rf"{QUERIES} in .* is not finite .*nan at \[0, 1\], 1 in"),
    "inf": (poison(BIAS, -torch.inf), f"{BIAS} in .* is not finite as float32: -inf"),
    "copy": (poison(COPY, 7), rf"{COPY} in .* differs from lm_head\.weight"),
    "no mtp": (
        lambda t: [t.pop(n) for n in list(t) if n.startswith("model.layers.2.")],
        r"the prediction layers are not in these files: load without them",
    ),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_checkpoint_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    checkpoint(tmp_path, DEEPSEEK, change)
    with pytest.raises(BadFile, match=message):
        load(tmp_path)


def test_what_overflows_a_narrow_dtype_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path, DEEPSEEK, poison(QUERIES, 1e5))
    load(tmp_path, torch.bfloat16)
    with pytest.raises(BadFile, match=r"not finite as float16: inf .* load as bfloat16 or float32"):
        load(tmp_path, torch.float16)


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path: Path) -> None:
    raw = MODELS["qwen2"]
    checkpoint(tmp_path, raw)
    assert load(tmp_path)[0].copies == ("lm_head.weight",)
    checkpoint(tmp_path, raw, lambda t: t.pop("lm_head.weight"))
    assert load(tmp_path)[0].copies == ()
    checkpoint(tmp_path, raw, poison("lm_head.weight", 3))
    with pytest.raises(BadFile, match=r"lm_head\.weight .* differs from model\.embed_tokens"):
        load(tmp_path)


def test_old_rotary_tables_are_ignored(tmp_path: Path) -> None:
    checkpoint(tmp_path, DEEPSEEK, add("model.layers.0.self_attn.rotary_emb.inv_freq", 1))
    load(tmp_path)


def test_prediction_layers_can_be_left_out(tmp_path: Path) -> None:
    """Their values are not even looked at, but what no config knows is still refused."""
    checkpoint(tmp_path, DEEPSEEK, poison("model.layers.2.enorm.weight", torch.nan))
    config = replace(load_model(tmp_path), mtp=())
    info = load_weights(tmp_path, decoder_of(config, torch.bfloat16), config)
    assert info.copies == ()
    checkpoint(tmp_path, DEEPSEEK, add("model.layers.2.other.weight", 1))
    with pytest.raises(BadFile, match=r"unknown 1 \(model\.layers\.2\.other"):
        load_weights(tmp_path, decoder_of(config, torch.bfloat16), config)


def test_a_config_promises_no_more_prediction_layers_than_are_stored(tmp_path: Path) -> None:
    checkpoint(tmp_path, DEEPSEEK)
    assert stored_config(tmp_path) == load_model(tmp_path)
    checkpoint(tmp_path, DEEPSEEK, BROKEN["no mtp"][0])
    assert stored_config(tmp_path) == replace(load_model(tmp_path), mtp=())


def test_a_truncated_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    checkpoint(tmp_path, DEEPSEEK)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-2])
    config = load_model(tmp_path)
    decoder = decoder_of(config, torch.bfloat16)
    with pytest.raises(BadFile, match="cut short"):
        load_weights(tmp_path, decoder, config)
    assert all(p.isnan().all() for p in decoder.parameters())
