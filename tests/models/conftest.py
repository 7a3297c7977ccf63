import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import nn

from penjing.models.checkpoint import load_weights, stored_config
from penjing.models.decoder import Decoder
from penjing.models.provenance import configs_folder

Raw = dict[str, Any]

SMALL: Raw = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LATENT: Raw = {
    **SMALL,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 24,
    "n_routed_experts": 16,
    "num_experts_per_tok": 4,
    "n_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 28,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "rms_norm_eps": 1e-5,
}
EXPERTS: Raw = {
    **SMALL,
    "head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}


def scaled(kind: str, **keys: float) -> Raw:
    """A rotary embedding stretched from 64 positions."""
    original = {} if kind == "linear" else {"original_max_position_embeddings": 64}
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **original, **keys}}


YARN = scaled("yarn", factor=40.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
TWO_MSCALES = scaled("yarn", factor=8.0, mscale=0.7, mscale_all_dim=1.3)
LLAMA3 = scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
NO_RANK: Raw = {"q_lora_rank": None}
NO_GROUPS: Raw = {"n_group": 1, "topk_group": 1}
SLIDING: Raw = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}

# What runs, each as transformers has it: the class of its config, and the keys.
VARIANTS: dict[str, tuple[str, Raw]] = {
    "DeepSeek-V3": ("DeepseekV3", LATENT),
    "DeepSeek-V3, YaRN": ("DeepseekV3", {**LATENT, **YARN}),
    "DeepSeek-V3, no groups": ("DeepseekV3", {**LATENT, **NO_GROUPS}),
    "DeepSeek-V3, no groups, YaRN": ("DeepseekV3", {**LATENT, **NO_GROUPS, **YARN}),
    "DeepSeek-V3, full-rank queries": ("DeepseekV3", {**LATENT, **NO_RANK}),
    "DeepSeek-V3, full-rank queries, YaRN": ("DeepseekV3", {**LATENT, **NO_RANK, **YARN}),
    "Moonlight": ("DeepseekV3", {**LATENT, **NO_RANK, **NO_GROUPS}),
    "Moonlight, YaRN": ("DeepseekV3", {**LATENT, **NO_RANK, **NO_GROUPS, **YARN}),
    "DeepSeek-V3, two mscales": ("DeepseekV3", {**LATENT, **TWO_MSCALES}),
    "DeepSeek-V3, biases": ("DeepseekV3", {**LATENT, "attention_bias": True}),
    "Moonlight, biases": ("DeepseekV3", {**LATENT, **NO_RANK, "attention_bias": True}),
    "DeepSeek-V3, not normalised": (
        "DeepseekV3",
        {**LATENT, "norm_topk_prob": False, "routed_scaling_factor": 1.5, "n_shared_experts": 1},
    ),
    "DeepSeek-V3, tied": ("DeepseekV3", {**LATENT, "tie_word_embeddings": True}),
    "Llama": ("Llama", SMALL),
    "Llama, llama3": ("Llama", {**SMALL, **LLAMA3, "tie_word_embeddings": True}),
    "Llama, linear": ("Llama", {**SMALL, **scaled("linear", factor=4.0)}),
    "Llama, YaRN": ("Llama", {**SMALL, **scaled("yarn", factor=4.0)}),
    "Llama, biases": ("Llama", {**SMALL, "attention_bias": True}),
    "Mistral": ("Mistral", {**SMALL, "sliding_window": 16}),
    "Mistral, no window": ("Mistral", {**SMALL, "sliding_window": None, "head_dim": 20}),
    "Qwen2": ("Qwen2", SMALL),
    "Qwen2, tied": ("Qwen2", {**SMALL, "tie_word_embeddings": True}),
    "Qwen2, sliding": ("Qwen2", {**SMALL, **SLIDING}),
    "Qwen3": ("Qwen3", {**SMALL, "head_dim": 16}),
    "Qwen3, tied": ("Qwen3", {**SMALL, "head_dim": 16, "tie_word_embeddings": True}),
    "Qwen3-MoE": ("Qwen3Moe", {**EXPERTS, "norm_topk_prob": True}),
    "Qwen3-MoE, not normalised": ("Qwen3Moe", {**EXPERTS, "norm_topk_prob": False}),
    "Qwen3-MoE, a dense layer": (
        "Qwen3Moe",
        {**EXPERTS, "norm_topk_prob": True, "mlp_only_layers": [0]},
    ),
}


@pytest.fixture(scope="session")
def bundled() -> Callable[[str], Raw]:
    """The bundled config.json of that name, a fresh copy each time."""
    cache: dict[str, Raw] = {}

    def read(name: str) -> Raw:
        if name not in cache:
            cache[name] = json.loads((configs_folder() / f"{name}.json").read_text("utf-8"))
        return copy.deepcopy(cache[name])

    return read


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a new folder: text as it is, objects as JSON, a tokenizer as its own."""

    def write(files: Mapping[str, object]) -> Path:
        folder = Path(mkdtemp(dir=tmp_path))
        for name, content in files.items():
            match content:
                case str():
                    text = content
                case tokenizers.Tokenizer():
                    text = content.to_str()
                case _:
                    text = json.dumps(content)
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def bytelevel() -> Callable[..., tokenizers.Tokenizer]:
    """A byte-level BPE trained on a few words, with the special tokens given at its end."""

    def train(*special: str) -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(BPE())
        made.pre_tokenizer = ByteLevel(add_prefix_space=False)
        made.decoder = ByteLevelDecoder()
        letters = ByteLevel.alphabet()
        trainer = BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=letters)
        made.train_from_iterator(["the quick brown fox thinks, then answers"] * 4, trainer)
        made.add_special_tokens(list(special))
        return made

    return train


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products gain nothing from threads, and tests that run side by side wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """The name of everything below: a test that asks for any of it runs for every variant."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def oracle(variant: str) -> Iterator[nn.Module]:
    """The model of transformers, random, with no norm of ones and no bias of zeros."""
    import transformers

    family, keys = VARIANTS[variant]
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**keys)
        model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                elif parameter.dim() == 1:
                    parameter.normal_(std=0.1)
                else:
                    parameter.mul_(3)
            for name in dict(model.named_buffers()):
                if name.endswith("correction_bias"):
                    nn.init.normal_(model.get_buffer(name), std=0.5)
    yield model
    transformers.logging.set_verbosity(verbosity)


@pytest.fixture(scope="session")
def checkpoint(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, as transformers saves it."""
    import transformers

    folder = tmp_path_factory.mktemp("checkpoint")
    transformers.logging.disable_progress_bar()
    oracle.save_pretrained(folder)
    transformers.logging.enable_progress_bar()
    return folder


@pytest.fixture(scope="session")
def decoder(checkpoint: Path) -> Decoder:
    """Ours, filled from that folder."""
    config = stored_config(checkpoint)
    made = Decoder(config)
    load_weights(checkpoint, made, config)
    return made


@pytest.fixture(scope="session")
def documents() -> list[list[int]]:
    """Longer and shorter than blocks of keys and windows."""
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(96, (n,), generator=draw).tolist() for n in (70, 5, 33)]


@pytest.fixture
def record(variant: str, record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Writes a figure of this variant down, for benchmarks/parity.py to collect."""

    def write(name: str, figure: float) -> None:
        record_property("parity", json.dumps([variant, name, figure]))

    return write
