"""The attention of a Hugging Face config: grouped-query or latent, and the window of each layer."""

from collections.abc import Sequence
from dataclasses import replace

from penjing.errors import Contradiction
from penjing.models.config import GroupedQuery, Indexer, Latent
from penjing.models.config_json import ConfigJson

_SLIDES = {"full_attention": False, "sliding_attention": True}


def grouped_query(
    config: ConfigJson,
    *,
    qkv_bias: bool = False,
    out_bias: bool = False,
    qk_norm: bool = False,
    sinks: bool = False,
    derive_head_dim: bool = False,
    derive_kv_heads: bool = False,
) -> GroupedQuery:
    """``derive_head_dim``: without ``head_dim``, a head is the width over the heads (Llama)."""
    num_heads = config.integer("num_attention_heads")
    num_kv_heads = config.integer("num_key_value_heads", num_heads if derive_kv_heads else None)
    if num_heads % num_kv_heads:
        raise Contradiction(
            f"config of {config.where}: {num_heads} attention heads cannot share {num_kv_heads} "
            "key-value heads evenly; num_key_value_heads must divide num_attention_heads"
        )
    derived = _derived_head_dim(config, num_heads) if derive_head_dim else None
    return GroupedQuery(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=config.integer("head_dim", derived),
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        qk_norm=qk_norm,
        sinks=sinks,
    )


def latent(config: ConfigJson, *, indexer: bool = False) -> Latent:
    """DeepSeek's attention; ``indexer``: with the sparse scorer of V3.2."""
    attention = Latent(
        num_heads=config.integer("num_attention_heads"),
        q_rank=config.integer_or_null("q_lora_rank"),
        kv_rank=config.integer("kv_lora_rank"),
        nope_dim=config.integer("qk_nope_head_dim"),
        rope_dim=config.integer("qk_rope_head_dim"),
        value_dim=config.integer("v_head_dim"),
        bias=config.flag("attention_bias", False),
        indexer=_indexer(config) if indexer else None,
    )
    if indexer and attention.q_rank is None:
        raise Contradiction(
            f"config of {config.where}: q_lora_rank is null, but the sparse indexer reads the "
            "compressed queries; give q_lora_rank"
        )
    why = "latent attention expands its cache to all heads, so it has to be"
    config.expect("num_key_value_heads", attention.num_heads, why)
    config.expect("head_dim", attention.rope_dim, "here it names qk_rope_head_dim, which is")
    query_dim = attention.nope_dim + attention.rope_dim
    config.expect("qk_head_dim", query_dim, "qk_nope_head_dim and qk_rope_head_dim add up to")
    if not config.flag("rope_interleave", True):
        raise config.unsupported("rope_interleave", "false", ["true"])
    return attention


def windowed(
    config: ConfigJson,
    attention: GroupedQuery,
    num_layers: int,
    *,
    window: int | None = None,
    slides: Sequence[bool] = (),
) -> list[GroupedQuery]:
    """The attention of each layer: ``layer_types`` where it is given, else ``slides``.

    An empty ``slides`` means that every layer looks back ``window`` tokens (None: all).
    """
    types = config.strings("layer_types")
    if types is not None:
        unknown = next((t for t in types if t not in _SLIDES), None)
        if unknown is not None:
            raise config.unsupported("layer_types", unknown, _SLIDES)
        slides = [_SLIDES[t] for t in types]
    elif not slides:
        slides = [window is not None] * num_layers
    if len(slides) != num_layers:
        raise Contradiction(
            f"config of {config.where}: layer_types lists {len(slides)} layers, but "
            f"num_hidden_layers is {num_layers}"
        )
    if any(slides) and window is None:
        raise Contradiction(
            f"config of {config.where}: layer_types has sliding layers, but no sliding_window is "
            "in force; give its tokens"
        )
    return [replace(attention, window=window if slid else None) for slid in slides]


def _indexer(config: ConfigJson) -> Indexer:
    return Indexer(
        num_heads=config.integer("index_n_heads"),
        head_dim=config.integer("index_head_dim"),
        top_k=config.integer("index_topk"),
    )


def _derived_head_dim(config: ConfigJson, num_heads: int) -> int | None:
    width = config.integer("hidden_size")
    if not config.has("head_dim") and width % num_heads:
        raise Contradiction(
            f"config of {config.where}: hidden_size {width} does not divide into {num_heads} "
            "heads; give head_dim"
        )
    return width // num_heads or None
