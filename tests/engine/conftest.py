"""Models so small that a thousand schedules take seconds, with a word for each of their ids."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from penjing.engine.engine import Engine
from penjing.engine.memory import EnginePlan
from penjing.models.arithmetic import Arithmetic
from penjing.models.checkpoint import CheckpointInfo
from penjing.models.decoder import Decoder
from penjing.models.generation_config import GenerationDefaults
from penjing.models.huggingface import model_from_hf
from penjing.models.kernels.choice import choose_kernels
from penjing.models.packed import pack_documents
from penjing.models.saving import save_checkpoint
from penjing.models.tokenizer import Tokenizer

Raw = dict[str, Any]

COMMON: Raw = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e4,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
QWEN3: Raw = {**COMMON, "model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8}
EXPERTS: Raw = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 12}
DEEPSEEK: Raw = {
    **COMMON,
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "moe_intermediate_size": 12,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
KINDS: dict[str, Raw] = {
    "grouped": QWEN3,
    "latent": DEEPSEEK,
    "full-rank": {**DEEPSEEK, "q_lora_rank": None, "num_nextn_predict_layers": 1},
    "routed": {**QWEN3, **EXPERTS, "model_type": "qwen3_moe", "norm_topk_prob": True},
    "tied": {
        **COMMON,
        "model_type": "qwen2",
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}

# One byte an id: letters, space, line end, and the two halves of an accented letter.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?ĠĊÃ©"
SPECIAL = ("<think>", "</think>", "<eos>", "<user>")
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}<user>{{ m.content }}{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On shared cores, threads of such small work wait for one another more than they help."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def decoder() -> Callable[..., Decoder]:
    """A new decoder of a kind, with random weights that give it opinions."""

    def make(
        kind: str = "grouped", dtype: torch.dtype = torch.float32, seed: int = 0, **changed: object
    ) -> Decoder:
        made = Decoder(model_from_hf({**KINDS[kind], **changed}, "tiny"), dtype=dtype)
        fill(made, seed)
        return made

    return make


@torch.no_grad()
def fill(decoder: Decoder, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in decoder.named_parameters():
        values = torch.randn(parameter.shape, generator=draw) * 0.4
        parameter.copy_(values + 1 if name.endswith("norm") else values)


def words(*, template: str | None = TEMPLATE, letters: Sequence[str] = LETTERS) -> Tokenizer:
    inner = tokenizers.Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
    inner.decoder = ByteLevelDecoder()
    inner.add_special_tokens(list(SPECIAL))
    return Tokenizer(inner, eos_token="<eos>", chat_template=template)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A token a letter, 60 of them, then ``<think>``, ``</think>``, ``<eos>`` and ``<user>``."""
    made = words()
    assert made.vocab_size == COMMON["vocab_size"]
    return made


@pytest.fixture(scope="session")
def wordy() -> Callable[[str | None], Tokenizer]:
    """The same with another chat template."""
    return lambda template: words(template=template)


@pytest.fixture(scope="session")
def plan() -> Callable[..., EnginePlan]:
    """A roomy one, changed as asked."""

    def make(**changed: int) -> EnginePlan:
        sizes = {
            "num_pages": 256,
            "page_size": 16,
            "max_batch_tokens": 64,
            "max_sequences": 16,
            "max_length": 128,
            "logit_rows": 64,
        }
        none = {"weight_bytes": 0.0, "cache_bytes": 0.0, "buffer_bytes": 0.0, "base_bytes": 0.0}
        return EnginePlan(**{**sizes, **changed}, **none)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def engine(
    decoder: Callable[..., Decoder], tokenizer: Tokenizer, plan: Callable[..., EnginePlan]
) -> Callable[..., Engine]:
    """A new engine on ``model``, a kind or a decoder; sizes of its plan by name."""

    def make(
        model: str | Decoder = "grouped",
        dtype: torch.dtype = torch.float32,
        *,
        numerics: str = "exact",
        eos: tuple[int, ...] = (62,),
        **sizes: int,
    ) -> Engine:
        return Engine(
            decoder(model, dtype) if isinstance(model, str) else model,
            tokenizer=tokenizer,
            defaults=GenerationDefaults(eos_ids=eos),
            plan=plan(**sizes),
            numerics=numerics,
        )

    return make


@pytest.fixture(scope="session")
def training() -> Callable[[Decoder, Sequence[Sequence[int]]], list[Tensor]]:
    """Logits and logsumexp of each document by the training forward, all in one pass."""

    def forward(decoder: Decoder, documents: Sequence[Sequence[int]]) -> list[Tensor]:
        arithmetic = Arithmetic(choose_kernels(decoder.embedding.device))
        packed = pack_documents(documents, decoder.embedding.device)
        with torch.enable_grad():
            logits_TV = decoder.logits(decoder(packed, arithmetic), arithmetic)
            lse_T, _ = arithmetic.log_sum_exp(logits_TV)
        assert lse_T.requires_grad
        logprobs_TV = (logits_TV - lse_T[:, None]).detach()
        return list(logprobs_TV.split([len(document) for document in documents]))

    return forward


@pytest.fixture
def folder(tmp_path: Path, decoder: Callable[..., Decoder]) -> Callable[..., Path]:
    """A checkpoint on disk, with a tokenizer of all bytes."""

    def write(kind: str = "grouped", dtype: torch.dtype = torch.float32, **changed: object) -> Path:
        made = Path(mkdtemp(dir=tmp_path)) / "tiny"
        model = decoder(kind, dtype, vocab_size=272, **changed)
        raw = {**KINDS[kind], "vocab_size": 272, **changed}
        info = CheckpointInfo(config=raw, copies=(), dtypes={})
        save_checkpoint(made, model, model.config, None, info=info)
        inner = words(letters=sorted(ByteLevel.alphabet()))._inner
        inner.save(str(made / "tokenizer.json"))
        said = {"eos_token": "<eos>", "chat_template": TEMPLATE}
        (made / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
        return made

    return write
