import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from penjing.errors import BadFile, DoesNotFit
from penjing.models.catalogue import load_model
from penjing.models.checkpoint import load_weights, stored_config
from penjing.models.config import ModelConfig
from penjing.models.decoder import Decoder
from penjing.models.saving import save_checkpoint

Raw = dict[str, Any]
Tensors = dict[str, torch.Tensor]

QWEN2: Raw = {
    "model_type": "qwen2",
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 24,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e4,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
}
COMMON: Raw = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 64,
}
GROUPED: Raw = {**COMMON, "num_key_value_heads": 2}
EXPERTS: Raw = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
DEEPSEEK: Raw = {
    **COMMON,
    **EXPERTS,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "n_group": 4,
    "topk_group": 2,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
}
FAMILIES: dict[str, tuple[str, Raw]] = {
    "deepseek": ("DeepseekV3", {**DEEPSEEK, "num_nextn_predict_layers": 1}),
    "moonlight": ("DeepseekV3", {**DEEPSEEK, "q_lora_rank": None, "attention_bias": True}),
    "llama": ("Llama", {**GROUPED, "attention_bias": True}),
    "mistral": ("Mistral", GROUPED),
    "qwen2": ("Qwen2", {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {**GROUPED, "head_dim": 16}),
    "qwen3_moe": ("Qwen3Moe", {**GROUPED, **EXPERTS, "num_experts": 4, "head_dim": 16}),
}


@torch.no_grad()
def decoder_of(
    config: ModelConfig, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
) -> Decoder:
    """With random values."""
    decoder = Decoder(config, dtype=dtype, device=device)
    for parameter in decoder.parameters():
        parameter.normal_()
    return decoder


def contents(folder: Path) -> Tensors:
    found: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as shard:
            found |= {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
    return found


def assert_identical(one: Tensors, other: Tensors) -> None:
    """Names, shapes, dtypes and bits."""
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert torch.equal(one[name], other[name]), name


def transformers_folder(folder: Path, family: str) -> Path:
    """Random weights of a tiny model in BF16, written by transformers."""
    import transformers

    name, keys = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(
        getattr(transformers, f"{name}Config")(**keys)
    )
    for key, value in (*model.named_parameters(), *model.named_buffers()):
        if key.endswith(("bias", "norm.weight")):
            torch.nn.init.normal_(value, 1.0, 0.1)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, report = loaded
    assert not any(report.values()), report
    with torch.no_grad():
        found = model(torch.arange(12)[None] * 5).logits
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_back_what_it_wrote(tmp_path: Path, family: str) -> None:
    source, saved = transformers_folder(tmp_path / "source", family), tmp_path / "saved"
    config = stored_config(source)
    decoder = decoder_of(config)
    info = load_weights(source, decoder, config)
    save_checkpoint(saved, decoder, config, source, info=info)
    assert_identical(contents(source), contents(saved))
    assert json.loads((saved / "config.json").read_text()) == info.config
    assert (saved / "generation_config.json").exists()
    assert torch.equal(logits(source), logits(saved))


def test_shards_are_loaded_by_transformers(tmp_path: Path) -> None:
    source, saved = transformers_folder(tmp_path / "source", "deepseek"), tmp_path / "saved"
    config = stored_config(source)
    decoder = decoder_of(config)
    info = load_weights(source, decoder, config)
    save_checkpoint(saved, decoder, config, source, info=info, shard_bytes=20_000)
    assert len(list(saved.glob("model-*-of-*.safetensors"))) > 2
    assert_identical(contents(source), contents(saved))
    assert torch.equal(logits(source), logits(saved))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source with what lies beside weights, and some of what does not belong there."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(QWEN2), encoding="utf-8")
    for name in ("tokenizer.json", "generation_config.json", "chat_template.jinja", "README.md"):
        (source / name).write_text(name, encoding="utf-8")
    (source / "pytorch_model.bin").write_bytes(b"\x80")
    return source


def test_what_lies_beside_the_weights_is_copied(tmp_path: Path, folder: Path) -> None:
    config = stored_config(folder)
    save_checkpoint(tmp_path / "saved", decoder_of(config), config, folder)
    assert {f.name for f in (tmp_path / "saved").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
        "chat_template.jinja",
    }
    assert (tmp_path / "saved" / "tokenizer.json").read_text() == "tokenizer.json"


def test_the_config_says_what_is_written(tmp_path: Path, folder: Path) -> None:
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    raw = {**QWEN2, "quantization_config": fp8, "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    config = stored_config(folder)
    save_checkpoint(tmp_path / "saved", decoder_of(config), config, folder)
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert written == {**QWEN2, "torch_dtype": "bfloat16"}


def deepseek(folder: Path, *, dtype: torch.dtype) -> tuple[ModelConfig, nn.Module]:
    """A decoder with a prediction layer, saved once without any info to go by."""
    raw = {**DEEPSEEK, "model_type": "deepseek_v3", "rms_norm_eps": 1e-6, "rope_theta": 1e4}
    raw |= {"norm_topk_prob": True, "routed_scaling_factor": 2.5, "num_nextn_predict_layers": 1}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    config = load_model(folder)
    decoder = decoder_of(config, dtype)
    save_checkpoint(folder, decoder, config, folder)
    return config, decoder


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_prediction_layers_come_back_with_their_copies(tmp_path: Path, dtype: torch.dtype) -> None:
    config, decoder = deepseek(tmp_path / "one", dtype=dtype)
    first = contents(tmp_path / "one")
    assert torch.equal(
        first["model.layers.2.embed_tokens.weight"], decoder.get_parameter("embedding")
    )
    assert torch.equal(first["model.layers.2.shared_head.head.weight"], first["lm_head.weight"])
    again = decoder_of(config, dtype)
    info = load_weights(tmp_path / "one", again, config)
    save_checkpoint(tmp_path / "two", again, config, None, info=info)
    assert_identical(first, contents(tmp_path / "two"))


def test_transformers_passes_over_prediction_layers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    deepseek(tmp_path / "one", dtype=torch.bfloat16)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "one", output_loading_info=True)
    report = loaded[1]
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert all(key.startswith("model.layers.2.") for key in report["unexpected_keys"])


def test_copies_that_were_not_there_are_not_added(tmp_path: Path) -> None:
    config, decoder = deepseek(tmp_path / "one", dtype=torch.bfloat16)
    info = load_weights(tmp_path / "one", decoder, config)
    kept = ("model.layers.2.embed_tokens.weight",)
    save_checkpoint(tmp_path / "two", decoder, config, None, info=replace(info, copies=kept))
    gone = contents(tmp_path / "one").keys() - contents(tmp_path / "two").keys()
    assert gone == {"model.layers.2.shared_head.head.weight"}


def test_a_narrow_bias_stays_narrow_while_it_loses_nothing(tmp_path: Path) -> None:
    config, decoder = deepseek(tmp_path / "one", dtype=torch.bfloat16)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    parameter = decoder.get_parameter("layers.1.feed_forward.correction_bias")
    info = replace(load_weights(tmp_path / "one", decoder, config), dtypes={name: torch.bfloat16})
    for value, dtype in ((0.5, torch.bfloat16), (0.1, torch.float32)):
        nn.init.constant_(parameter, value)
        save_checkpoint(tmp_path / "two", decoder, config, None, info=info)
        found = contents(tmp_path / "two")[name]
        assert found.dtype == dtype
        assert torch.equal(found.float(), parameter)


def test_a_checkpoint_may_replace_the_one_it_came_from(tmp_path: Path) -> None:
    config, decoder = deepseek(tmp_path / "one", dtype=torch.bfloat16)
    nn.init.constant_(decoder.get_parameter("norm"), 3.0)
    save_checkpoint(tmp_path / "one", decoder, config, tmp_path / "one", shard_bytes=20_000)
    assert (contents(tmp_path / "one")["model.norm.weight"] == 3).all()
    assert not (tmp_path / "one" / "model.safetensors").exists()
    assert [f.name for f in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["thesis.txt", "train.py", ".git"])
def test_what_is_no_checkpoint_is_never_replaced(tmp_path: Path, folder: Path, name: str) -> None:
    config = stored_config(folder)
    target = tmp_path / "target"
    target.mkdir()
    (target / "config.json").write_text("{}", encoding="utf-8")
    (target / name).write_text("mine", encoding="utf-8")
    with pytest.raises(BadFile, match=f"holds {name}, which is no part of a checkpoint"):
        save_checkpoint(target, decoder_of(config), config, folder)
    (target / name).unlink()
    (target / "config.json").rename(target / "vocab.json")
    with pytest.raises(BadFile, match="not empty and no checkpoint"):
        save_checkpoint(target, decoder_of(config), config, folder)
    with pytest.raises(BadFile, match="is a file"):
        save_checkpoint(target / "vocab.json", decoder_of(config), config, folder)
    assert (target / "vocab.json").read_text() == "{}"


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Longer files fail while they are written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    config, decoder = deepseek(tmp_path / "one", dtype=torch.bfloat16)
    before = contents(tmp_path / "one")
    nn.init.constant_(decoder.get_parameter("norm"), 3.0)
    message = "one was not saved: File too large while writing; what was there before is untouched"
    with files_limited_to(30_000), pytest.raises(DoesNotFit, match=message):
        save_checkpoint(tmp_path / "one", decoder, config, tmp_path / "one")
    assert [f.name for f in tmp_path.iterdir()] == ["one"]
    assert_identical(before, contents(tmp_path / "one"))


def test_a_small_disk_is_noticed_before_writing(tmp_path: Path, folder: Path) -> None:
    config = replace(stored_config(folder), vocab_size=10**15)
    decoder = decoder_of(config, device="meta")
    with pytest.raises(DoesNotFit, match=r"takes 32 PB, but the disk of .* free") as caught:
        save_checkpoint(tmp_path / "saved", decoder, config, folder)
    assert caught.value.shortfall_bytes > 1e15
    assert not (tmp_path / "saved").exists()


def test_a_path_that_cannot_be_made_is_refused(tmp_path: Path, folder: Path) -> None:
    config = stored_config(folder)
    with pytest.raises(BadFile, match=r"was not saved: .*save into another folder"):
        save_checkpoint(folder / "README.md" / "saved", decoder_of(config), config, folder)


def test_a_source_without_a_config_is_refused(tmp_path: Path, folder: Path) -> None:
    config = stored_config(folder)
    with pytest.raises(BadFile, match=r"config\.json cannot be read"):
        save_checkpoint(tmp_path / "saved", decoder_of(config), config, tmp_path)
