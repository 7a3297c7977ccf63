"""Random checkpoints in Hugging Face's format: the shape of a model, and nothing learned."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from penjing.cli.answer import Json
from penjing.models.provenance import configs_folder

# Small enough that logits stay finite at any depth here, large enough that argmax is not a tie.
SPREAD = 0.02
SEED = 20251126

# DeepSeek-R1 made small: every mechanism of it, none of its sizes.
TINY_R1: Mapping[str, Json] = {
    "model_type": "deepseek_v3",
    "attention_bias": False,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "kv_lora_rank": 128,
    "max_position_embeddings": 4096,
    "moe_intermediate_size": 256,
    "n_group": 4,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 16,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 8,
    "num_key_value_heads": 16,
    "num_nextn_predict_layers": 0,
    "q_lora_rank": 256,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "v_head_dim": 64,
    "vocab_size": 32768,
}


def bundled(name: str) -> Mapping[str, Json]:
    """The public config.json of that name, as the project carries it."""
    found: Mapping[str, Json] = json.loads((configs_folder() / f"{name}.json").read_text("utf-8"))
    return found


def write_checkpoint(folder: Path, config: Mapping[str, Json]) -> Path:
    """Weights drawn from ``SEED``, biases too, in bf16. No tokenizer: prompts are ids."""
    torch.manual_seed(SEED)
    raw = {**config, "initializer_range": SPREAD}
    made = AutoConfig.for_model(raw.pop("model_type"), **raw)
    model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=SPREAD)
    model.save_pretrained(folder)
    return folder


def weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
