"""A Hugging Face config.json becomes a ``ModelConfig``: the only place that knows their names.

One function a family, found by ``model_type``. A default is taken only where released files leave
the key out and the reference implementation's default is what those models were trained with.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from penjing.errors import UnknownName
from penjing.models.attention_config import grouped_query, latent, windowed
from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Layer,
    ModelConfig,
    Rope,
    Router,
    Scoring,
)
from penjing.models.config_json import ConfigJson
from penjing.models.feed_forward_config import (
    deepseek_v2_router,
    deepseek_v3_router,
    dense,
    every_layer,
    first_dense,
    moe,
    shared_width,
)
from penjing.models.quantization import formats_from
from penjing.models.rope_config import rope_from

_MAX_VOCAB = 10**8
_MAX_POSITIONS = 10**9


def model_from_hf(raw: Mapping[str, object], name: str) -> ModelConfig:
    """The model that a config.json describes, under the given name.

    Raises ``UnknownName`` for a family, a key or a word that is not understood, ``BadFile`` for a
    missing or malformed key, ``BadQuantity`` for an absurd size and ``Contradiction`` for keys
    that cannot hold together.
    """
    config = ConfigJson(raw, name)
    model_type = config.text("model_type")
    if model_type not in _FAMILIES:
        known = f"known are {', '.join(sorted(_FAMILIES))}; in the config of {name}"
        raise UnknownName("model_type", model_type, _FAMILIES, known)
    model = _FAMILIES[model_type](config)
    config.refuse_unread(model_type)
    return model


def _assemble(
    config: ConfigJson,
    attention: Sequence[Attention],
    feed_forward: Sequence[FeedForward],
    rope: Rope | None,
    *,
    activation: Literal["silu", "gelu", "swiglu-oss"] = "silu",
    has_mtp: bool = False,
    norm: Literal["rms", "layer"] = "rms",
    learned_positions: int = 0,
) -> ModelConfig:
    layers = tuple(
        Layer(attention=a, feed_forward=f) for a, f in zip(attention, feed_forward, strict=True)
    )
    act = "gelu" if activation == "gelu" else "silu"
    config.choice("hidden_act", {act: act}, act)
    return ModelConfig(
        name=config.where,
        model_type=config.text("model_type"),
        width=config.integer("hidden_size"),
        vocab_size=config.integer("vocab_size", at_most=_MAX_VOCAB),
        layers=layers,
        mtp=(layers[-1],) * _num_mtp(config) if has_mtp else (),
        tied_embeddings=config.flag("tie_word_embeddings", False),
        learned_positions=learned_positions,
        rope=rope,
        norm=norm,
        norm_eps=config.number("rms_norm_eps" if norm == "rms" else "layer_norm_eps"),
        max_positions=_max_positions(config),
        activation=activation,
        formats=formats_from(config, layers),
    )


def _num_mtp(config: ConfigJson) -> int:
    key = config.spelling("num_nextn_predict_layers", "num_mtp_layers")
    return config.integer(key, 0, at_least=0, at_most=100)


def _max_positions(config: ConfigJson) -> int:
    return config.integer("max_position_embeddings", at_most=_MAX_POSITIONS)


def _llama(config: ConfigJson) -> ModelConfig:
    bias = config.flag("attention_bias", False)
    attention = grouped_query(
        config, qkv_bias=bias, out_bias=bias, derive_head_dim=True, derive_kv_heads=True
    )
    blocks = every_layer(config, dense(config, bias=config.flag("mlp_bias", False)))
    rope = rope_from(config, attention.head_dim, default_theta=10_000.0)
    return _assemble(config, windowed(config, attention, len(blocks)), blocks, rope)


def _mistral(config: ConfigJson) -> ModelConfig:
    attention = grouped_query(config, derive_head_dim=True)
    blocks = every_layer(config, dense(config))
    window = config.integer_or_null("sliding_window")
    by_layer = windowed(config, attention, len(blocks), window=window)
    return _assemble(config, by_layer, blocks, rope_from(config, attention.head_dim))


def _mixtral(config: ConfigJson) -> ModelConfig:
    attention = grouped_query(config, derive_head_dim=True)
    router = Router(scoring=Scoring.TOP_K_SOFTMAX)
    blocks = every_layer(config, moe(config, router, width_key="intermediate_size"))
    window = config.integer("sliding_window") if config.has("sliding_window") else None
    by_layer = windowed(config, attention, len(blocks), window=window)
    return _assemble(config, by_layer, blocks, rope_from(config, attention.head_dim))


def _qwen2(config: ConfigJson) -> ModelConfig:
    attention = grouped_query(config, qkv_bias=True, derive_head_dim=True)
    blocks = every_layer(config, dense(config))
    by_layer = _qwen_windows(config, attention, len(blocks))
    return _assemble(config, by_layer, blocks, rope_from(config, attention.head_dim))


def _qwen3(config: ConfigJson) -> ModelConfig:
    attention = _qwen3_attention(config)
    blocks = every_layer(config, dense(config))
    by_layer = _qwen_windows(config, attention, len(blocks))
    return _assemble(config, by_layer, blocks, rope_from(config, attention.head_dim))


def _qwen_windows(
    config: ConfigJson, attention: GroupedQuery, num_layers: int
) -> list[GroupedQuery]:
    """Without ``use_sliding_window`` the window that files carry is not in force."""
    config.known("sliding_window", "max_window_layers")
    if not config.flag("use_sliding_window", False):
        return windowed(config, attention, num_layers)
    first = config.integer("max_window_layers", at_least=0)
    slides = [i >= first for i in range(num_layers)]
    window = config.integer("sliding_window")
    return windowed(config, attention, num_layers, window=window, slides=slides)


def _qwen2_moe(config: ConfigJson) -> ModelConfig:
    attention = grouped_query(config, qkv_bias=config.flag("qkv_bias", True), derive_head_dim=True)
    shared = config.integer("shared_expert_intermediate_size")
    return _qwen_moe(config, attention, shared)


def _qwen3_moe(config: ConfigJson) -> ModelConfig:
    config.expect("shared_expert_intermediate_size", 0, "Qwen3 has no shared experts, so it is")
    return _qwen_moe(config, _qwen3_attention(config), shared=0)


def _qwen3_attention(config: ConfigJson) -> GroupedQuery:
    """Qwen3-Coder says ``use_qk_norm``, the others leave it out: it is always so."""
    if not config.flag("use_qk_norm", True):
        raise config.unsupported("use_qk_norm", "false", ["true"])
    bias = config.flag("attention_bias", False)
    return grouped_query(config, qkv_bias=bias, out_bias=bias, qk_norm=True)


def _qwen_moe(config: ConfigJson, attention: GroupedQuery, shared: int) -> ModelConfig:
    """Every ``decoder_sparse_step``-th layer is routed, save those of ``mlp_only_layers``."""
    router = Router(scoring=Scoring.SOFTMAX, normalise=config.flag("norm_topk_prob"))
    routed = moe(config, router, shared_width=shared, shared_gate=shared > 0)
    plain = dense(config)
    num_layers = len(every_layer(config, routed))
    step, only_dense = config.integer("decoder_sparse_step", 1), config.integers("mlp_only_layers")
    blocks: list[FeedForward] = [
        plain if i in only_dense or (i + 1) % step else routed for i in range(num_layers)
    ]
    config.known("sliding_window", "max_window_layers")
    if config.flag("use_sliding_window", False):
        raise config.unsupported("use_sliding_window", "true", ["false"])
    by_layer = windowed(config, attention, num_layers)
    return _assemble(config, by_layer, blocks, rope_from(config, attention.head_dim))


def _qwen3_vl_moe(config: ConfigJson) -> ModelConfig:
    """The language model alone: the vision tower is neither counted nor timed."""
    config.known("vision_config", "image_token_id", "video_token_id")
    config.known("vision_start_token_id", "vision_end_token_id")
    text = config.inner("text_config", "tie_word_embeddings", "quantization_config")
    model = _qwen3_moe(text)
    text.refuse_unread(model.model_type)
    return model


def _gpt_oss(config: ConfigJson) -> ModelConfig:
    """Attention sinks, biases everywhere, and a clamped gate: model card, arXiv 2508.10925."""
    bias = config.flag("attention_bias")
    attention = grouped_query(config, qkv_bias=bias, out_bias=bias, sinks=True)
    router = Router(scoring=Scoring.TOP_K_SOFTMAX, bias=True)
    blocks = every_layer(config, moe(config, router, width_key="intermediate_size", bias=True))
    config.expect("swiglu_limit", 7.0, "the gate known here clamps at")
    config.expect("swiglu_alpha", 1.702, "the gate known here is sharpened by")
    slides = [i % 2 == 0 for i in range(len(blocks))]
    window = config.integer("sliding_window")
    by_layer = windowed(config, attention, len(blocks), window=window, slides=slides)
    rope = rope_from(config, attention.head_dim)
    return _assemble(config, by_layer, blocks, rope, activation="swiglu-oss")


def _glm4_moe(config: ConfigJson) -> ModelConfig:
    attention = grouped_query(
        config,
        qkv_bias=config.flag("attention_bias", False),
        qk_norm=config.flag("use_qk_norm", False),
    )
    routed = moe(config, deepseek_v3_router(config), shared_width=shared_width(config))
    blocks = first_dense(config, dense(config), routed)
    rope = rope_from(config, attention.head_dim, default_share=0.5)
    by_layer = windowed(config, attention, len(blocks))
    return _assemble(config, by_layer, blocks, rope, has_mtp=True)


def _hy_v3(config: ConfigJson) -> ModelConfig:
    """Tencent Hy3: the routing of DeepSeek-V3 without groups, under other names."""
    bias = config.flag("attention_bias", False)
    attention = grouped_query(config, qkv_bias=bias, out_bias=bias, qk_norm=True)
    for key in ("qk_norm", "route_norm", "moe_router_use_sigmoid", "moe_router_enable_expert_bias"):
        if not config.flag(key, True):
            raise config.unsupported(key, "false", ["true"])
    router = Router(
        scoring=Scoring.SIGMOID,
        normalise=True,
        scale=config.number("router_scaling_factor"),
        correction_bias=True,
    )
    config.spelling("moe_intermediate_size", "expert_hidden_dim")
    routed = moe(config, router, shared_width=shared_width(config))
    blocks = first_dense(config, dense(config), routed)
    by_layer = windowed(config, attention, len(blocks))
    rope = rope_from(config, attention.head_dim)
    return _assemble(config, by_layer, blocks, rope, has_mtp=True)


def _deepseek_v2(config: ConfigJson) -> ModelConfig:
    return _deepseek(config, deepseek_v2_router(config))


def _deepseek_v3(config: ConfigJson) -> ModelConfig:
    return _deepseek(config, deepseek_v3_router(config))


def _deepseek_v32(config: ConfigJson) -> ModelConfig:
    indexed = set(config.strings("layer_types") or ()) - {"indexed_attention"}
    if indexed:
        raise config.unsupported("layer_types", min(indexed), ["indexed_attention"])
    return _deepseek(config, deepseek_v3_router(config), indexer=True)


def _deepseek(config: ConfigJson, router: Router, *, indexer: bool = False) -> ModelConfig:
    attention = latent(config, indexer=indexer)
    routed = moe(config, router, shared_width=shared_width(config))
    blocks = first_dense(config, dense(config), routed)
    rope = rope_from(config, attention.rope_dim)
    return _assemble(config, [attention] * len(blocks), blocks, rope, has_mtp=True)


def _gpt3(config: ConfigJson) -> ModelConfig:
    """GPT-3, arXiv 2005.14165, under names of our own: it was never on Hugging Face.

    Its locally banded layers count as full attention: the paper gives no width of the band.
    """
    attention = grouped_query(
        config, qkv_bias=True, out_bias=True, derive_head_dim=True, derive_kv_heads=True
    )
    block = Dense(width=config.integer("intermediate_size"), gated=False, bias=True)
    blocks = every_layer(config, block)
    return _assemble(
        config,
        [attention] * len(blocks),
        blocks,
        None,
        activation="gelu",
        norm="layer",
        learned_positions=_max_positions(config),
    )


_FAMILIES: Mapping[str, Callable[[ConfigJson], ModelConfig]] = {
    "deepseek_v2": _deepseek_v2,
    "deepseek_v3": _deepseek_v3,
    "deepseek_v32": _deepseek_v32,
    "glm4_moe": _glm4_moe,
    "gpt3": _gpt3,
    "gpt_oss": _gpt_oss,
    "hy_v3": _hy_v3,
    "kimi_k2": _deepseek_v3,
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "qwen3_vl_moe": _qwen3_vl_moe,
}
