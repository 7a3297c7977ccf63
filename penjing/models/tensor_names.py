"""Where each tensor of a Hugging Face checkpoint lies among our parameters, which are fused.

One map serves loading and saving. The families are those whose modules exist; all others can be
planned, but not run. No torch here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from penjing.errors import BadFile, UnknownName
from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    Layer,
    ModelConfig,
    MoE,
)

RUNNABLE = ("deepseek_v3", "kimi_k2", "llama", "mistral", "qwen2", "qwen3", "qwen3_moe")

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A part of a parameter: ``rows`` of it, or of its ``index``-th matrix; None: all.

    ``shape`` is that of the part, and so of the tensor in the checkpoint.
    """

    parameter: str
    index: int | None = None
    rows: tuple[int, int] | None = None
    shape: tuple[int, ...]


Places = dict[str, Place]


def tensor_places(config: ModelConfig) -> Places:
    """Every tensor a checkpoint of this model may hold, ``copies`` among them, in layer order.

    Raises ``UnknownName`` for a family that only planning knows, ``BadFile`` for a feed-forward
    bias.
    """
    _refuse_unsupported(config)
    width, num_layers = config.width, len(config.layers)
    table = (config.vocab_size, width)
    places = {_EMBEDDING: Place(parameter="embedding", shape=table)}
    for i, layer in enumerate(config.layers):
        places |= _block(layer, width, f"model.layers.{i}", f"layers.{i}")
    head = "embedding" if config.tied_embeddings else "head"
    places["model.norm.weight"] = Place(parameter="norm", shape=(width,))
    places[_HEAD] = Place(parameter=head, shape=table)
    for j, layer in enumerate(config.mtp):
        theirs, ours = f"model.layers.{num_layers + j}", f"mtp.{j}"
        places |= _prediction(width, theirs, ours)
        places |= _block(layer, width, theirs, f"{ours}.block")
    return places | {copy: places[main] for copy, main in copies(config).items()}


def copies(config: ModelConfig) -> dict[str, str]:
    """Tensors that may be left out, each with the one it repeats.

    DeepSeek stores embedding and head again with each prediction layer; where the two are tied,
    some files hold the head nevertheless.
    """
    head = _EMBEDDING if config.tied_embeddings else _HEAD
    found = {_HEAD: _EMBEDDING} if config.tied_embeddings else {}
    for j in range(len(config.mtp)):
        layer = f"model.layers.{len(config.layers) + j}"
        found |= {
            f"{layer}.embed_tokens.weight": _EMBEDDING,
            f"{layer}.shared_head.head.weight": head,
        }
    return found


def zero_rows(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Rows of parameters that no checkpoint holds, because they are zero.

    DeepSeek's full-rank queries never have a bias, but they share a fused one with the latent.
    """
    blocks = {f"layers.{i}": layer for i, layer in enumerate(config.layers)}
    blocks |= {f"mtp.{j}.block": layer for j, layer in enumerate(config.mtp)}
    return {
        f"{name}.attention.down_bias": (0, _query_rows(layer.attention))
        for name, layer in blocks.items()
        if isinstance(layer.attention, Latent)
        and layer.attention.bias
        and layer.attention.q_rank is None
    }


def _refuse_unsupported(config: ModelConfig) -> None:
    if config.model_type not in RUNNABLE:
        hint = f"{config.name} can be planned, but not run"
        raise UnknownName("family with weights", config.model_type, RUNNABLE, hint)
    if any(isinstance(f, Dense) and f.bias for f, _ in config.feed_forward_counts):
        raise BadFile(
            f"config of {config.name}: mlp_bias is true; such a model can be planned, but only "
            "feed-forward blocks without a bias run"
        )


def _block(layer: Layer, width: int, theirs: str, ours: str) -> Places:
    norms = {"input_layernorm": "attention_norm", "post_attention_layernorm": "feed_forward_norm"}
    return {
        **_attention(layer.attention, width, f"{theirs}.self_attn", f"{ours}.attention"),
        **_feed_forward(layer.feed_forward, width, f"{theirs}.mlp", f"{ours}.feed_forward"),
        **_whole(
            {f"{theirs}.{name}.weight": f"{ours}.{norm}" for name, norm in norms.items()}, width
        ),
    }


def _prediction(width: int, theirs: str, ours: str) -> Places:
    """What a multi-token-prediction layer has beside its block; DeepSeek-V3 report, figure 3."""
    norms = {"enorm": "embedding_norm", "hnorm": "hidden_norm", "shared_head.norm": "norm"}
    return {
        **_whole(
            {f"{theirs}.{name}.weight": f"{ours}.{norm}" for name, norm in norms.items()}, width
        ),
        **_whole({f"{theirs}.eh_proj.weight": f"{ours}.projection"}, width, 2 * width),
    }


def _attention(attention: Attention, width: int, theirs: str, ours: str) -> Places:
    match attention:
        case GroupedQuery():
            return _grouped_query(attention, width, theirs, ours)
        case Latent():
            return _latent(attention, width, theirs, ours)
        case _:
            assert_never(attention)


def _grouped_query(attention: GroupedQuery, width: int, theirs: str, ours: str) -> Places:
    queries = attention.num_heads * attention.head_dim
    cached = attention.num_kv_heads * attention.head_dim
    rows = {f"{theirs}.{x}_proj": n for x, n in (("q", queries), ("k", cached), ("v", cached))}
    places = _stacked(f"{ours}.qkv", _with("weight", rows), width)
    places |= _whole({f"{theirs}.o_proj.weight": f"{ours}.out"}, width, queries)
    if attention.qkv_bias:
        places |= _stacked(f"{ours}.qkv_bias", _with("bias", rows))
    if attention.out_bias:
        places |= _whole({f"{theirs}.o_proj.bias": f"{ours}.out_bias"}, width)
    if attention.qk_norm:
        norms = {f"{theirs}.{x}_norm.weight": f"{ours}.{x}_norm" for x in ("q", "k")}
        places |= _whole(norms, attention.head_dim)
    return places


def _latent(attention: Latent, width: int, theirs: str, ours: str) -> Places:
    heads, q_rank, kv_rank = attention.num_heads, attention.q_rank, attention.kv_rank
    query_name = f"{theirs}.{'q_proj' if q_rank is None else 'q_a_proj'}"
    rows = {query_name: _query_rows(attention)}
    rows[f"{theirs}.kv_a_proj_with_mqa"] = kv_rank + attention.rope_dim
    values = heads * attention.value_dim
    expanded = heads * attention.nope_dim + values
    places = _stacked(f"{ours}.down", _with("weight", rows), width)
    places |= _whole({f"{theirs}.kv_a_layernorm.weight": f"{ours}.kv_norm"}, kv_rank)
    places |= _whole({f"{theirs}.kv_b_proj.weight": f"{ours}.kv_up"}, expanded, kv_rank)
    places |= _whole({f"{theirs}.o_proj.weight": f"{ours}.out"}, width, values)
    if q_rank is not None:
        queries = heads * (attention.nope_dim + attention.rope_dim)
        places |= _whole({f"{theirs}.q_a_layernorm.weight": f"{ours}.q_norm"}, q_rank)
        places |= _whole({f"{theirs}.q_b_proj.weight": f"{ours}.q_up"}, queries, q_rank)
    if attention.bias:
        places |= _stacked(f"{ours}.down_bias", _with("bias", rows))
        places |= _whole({f"{theirs}.o_proj.bias": f"{ours}.out_bias"}, width)
        if q_rank is None:
            del places[f"{query_name}.bias"]
    return places


def _query_rows(attention: Latent) -> int:
    if attention.q_rank is not None:
        return attention.q_rank
    return attention.num_heads * (attention.nope_dim + attention.rope_dim)


def _feed_forward(block: FeedForward, width: int, theirs: str, ours: str) -> Places:
    match block:
        case Dense():
            return _gated(block.width, width, theirs, ours)
        case MoE():
            return _moe(block, width, theirs, ours)
        case _:
            assert_never(block)


def _moe(block: MoE, width: int, theirs: str, ours: str) -> Places:
    assert not any((block.bias, block.shared_gate, block.router.bias)), "of no runnable family"
    experts = block.num_experts
    places = _whole({f"{theirs}.gate.weight": f"{ours}.router"}, experts, width)
    if block.router.correction_bias:
        bias = {f"{theirs}.gate.e_score_correction_bias": f"{ours}.correction_bias"}
        places |= _whole(bias, experts)
    for e in range(experts):
        places |= _gated(block.expert_width, width, f"{theirs}.experts.{e}", ours, index=e)
    if block.shared_width:
        shared, name = f"{theirs}.shared_experts", f"{ours}.shared"
        places |= _gated(block.shared_width, width, shared, name)
    return places


def _gated(inner: int, width: int, theirs: str, ours: str, *, index: int | None = None) -> Places:
    rows = {f"{theirs}.gate_proj.weight": inner, f"{theirs}.up_proj.weight": inner}
    down = Place(parameter=f"{ours}.down", index=index, shape=(width, inner))
    places = _stacked(f"{ours}.gate_up", rows, width, index=index)
    return places | {f"{theirs}.down_proj.weight": down}


def _with(kind: str, rows: Mapping[str, int]) -> dict[str, int]:
    return {f"{name}.{kind}": n for name, n in rows.items()}


def _stacked(
    parameter: str, rows: Mapping[str, int], *columns: int, index: int | None = None
) -> Places:
    """Tensors one below the other in one parameter."""
    places, start = {}, 0
    for name, n in rows.items():
        part = (start, start + n)
        places[name] = Place(parameter=parameter, index=index, rows=part, shape=(n, *columns))
        start += n
    return places


def _whole(names: Mapping[str, str], *shape: int) -> Places:
    return {name: Place(parameter=parameter, shape=shape) for name, parameter in names.items()}
