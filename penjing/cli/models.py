"""``penjing models``: the bundled models, and what any config.json amounts to."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from penjing.cli.answer import Answer, Json, table
from penjing.models.cache import cache_bytes_per_token
from penjing.models.catalogue import bundled_models, find_bundled, load_model
from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    Layer,
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    MoE,
    Rope,
    Router,
    WeightFormats,
    Yarn,
)
from penjing.models.format import BF16
from penjing.models.parameters import count_parameters
from penjing.models.provenance import Provenance, Published, counted
from penjing.models.weights import mtp_bytes, weight_bytes
from penjing.units import format_bytes

NAME = "models"
HELP = "list the bundled models, or show one or any config.json: shapes, parameters, bytes"

_COLUMNS = (
    "model",
    "family",
    "total",
    "active",
    "layers",
    "attention",
    "cache a token",
    "weights",
)


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="models_verb", required=True, metavar="list|show")
    listing = verbs.add_parser("list", help="one line a bundled model, in its released formats")
    showing = verbs.add_parser("show", help="everything derived from one config, with its source")
    showing.add_argument(
        "model", metavar="NAME_OR_CONFIG", help="a bundled model, a config.json, or its folder"
    )
    for sub in (listing, showing):
        # The verb's own parser has --json too; only one that was given may speak.
        sub.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON document on stdout",
        )


def answer(arguments: argparse.Namespace) -> Answer:
    if arguments.models_verb == "list":
        return _list()
    return _show(load_model(arguments.model), arguments.model)


def _list() -> Answer:
    models = [load_model(name) for name in bundled_models()]
    text = table(_COLUMNS, [_row(m) for m in models])
    text += "\n\ncache in BF16; weights as released, without multi-token-prediction layers"
    return Answer(document={"models": [_summary(m) for m in models]}, text=text)


def _row(config: ModelConfig) -> Sequence[object]:
    count = count_parameters(config)
    kinds = dict.fromkeys(_kind(layer.attention) for layer in config.layers)
    return (
        config.name,
        config.model_type,
        _billions(count.total),
        _billions(count.active),
        len(config.layers),
        "; ".join(kinds),
        f"{cache_bytes_per_token(config, BF16):,.0f} B",
        format_bytes(weight_bytes(config)),
    )


def _summary(config: ModelConfig) -> dict[str, Json]:
    count = count_parameters(config)
    return {
        "name": config.name,
        "model_type": config.model_type,
        "total_parameters": count.total,
        "active_parameters": count.active,
        "num_layers": len(config.layers),
        "attention": list(dict.fromkeys(_kind(layer.attention) for layer in config.layers)),
        "cache_bytes_per_token_bf16": cache_bytes_per_token(config, BF16),
        "weight_bytes": weight_bytes(config),
        "mtp_bytes": mtp_bytes(config),
    }


def _show(config: ModelConfig, asked: str) -> Answer:
    found = find_bundled(asked)
    # A file on disk may share the name of a bundled model, but only its equal shares the source.
    provenance = found if found and load_model(found.name) == config else None
    return Answer(document=_document(config, provenance), text=_text(config, provenance))


def _document(config: ModelConfig, provenance: Provenance | None) -> Json:
    count = count_parameters(config)
    return {
        **_summary(config),
        "width": config.width,
        "vocab_size": config.vocab_size,
        "max_positions": config.max_positions,
        "tied_embeddings": config.tied_embeddings,
        "norm": config.norm,
        "norm_eps": config.norm_eps,
        "activation": config.activation,
        "layers": [{"count": n, **_layer_document(x)} for x, n in config.layer_counts()],
        "mtp": [_layer_document(layer) for layer in config.mtp],
        "rope": _rope_document(config.rope),
        "parameters": asdict(count),
        "formats": _format_names(config.formats),
        "provenance": asdict(provenance) if provenance else None,
    }


_KINDS = {GroupedQuery: "grouped-query", Latent: "latent", Dense: "dense", MoE: "moe"}


def _layer_document(layer: Layer) -> dict[str, Json]:
    return {
        "attention": {"kind": _KINDS[type(layer.attention)], **asdict(layer.attention)},
        "feed_forward": {"kind": _KINDS[type(layer.feed_forward)], **asdict(layer.feed_forward)},
    }


def _rope_document(rope: Rope | None) -> Json:
    if rope is None:
        return None
    kind = type(rope.scaling).__name__.lower() if rope.scaling else None
    return {**asdict(rope), "scaling_kind": kind}


def _format_names(formats: WeightFormats) -> dict[str, Json]:
    return {
        "attention": formats.attention.name,
        "dense": formats.dense.name,
        "experts": formats.experts.name,
        "embedding": formats.embedding.name,
    }


def _text(config: ModelConfig, provenance: Provenance | None) -> str:
    parts = [
        f"{config.name} ({config.model_type}): width {config.width}, vocabulary "
        f"{config.vocab_size}, {config.max_positions} positions",
        table(("layers", "attention", "feed-forward"), _layer_rows(config)),
        table(("parameters", ""), _parameter_rows(config)),
        "\n".join(_facts(config)),
    ]
    if provenance is not None:
        parts.append("\n".join(_sources(config, provenance)))
    return "\n\n".join(parts)


def _layer_rows(config: ModelConfig) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        (n, *_describe_layer(layer)) for layer, n in config.layer_counts()
    ]
    drafts = [(f"{len(config.mtp)} MTP", *_describe_layer(config.mtp[0]))] if config.mtp else []
    return rows + drafts


def _describe_layer(layer: Layer) -> tuple[str, str]:
    return _describe_attention(layer.attention), _describe_feed_forward(layer.feed_forward)


def _kind(attention: Attention) -> str:
    if isinstance(attention, GroupedQuery):
        heads = f"{attention.num_heads}/{attention.num_kv_heads} heads of {attention.head_dim}"
        return heads + (f", window {attention.window}" if attention.window else "")
    sparse = f", top {attention.indexer.top_k}" if attention.indexer else ""
    return f"latent {attention.kv_rank}+{attention.rope_dim}{sparse}"


def _describe_attention(attention: Attention) -> str:
    if isinstance(attention, GroupedQuery):
        extras = {
            "bias": attention.qkv_bias,
            "output bias": attention.out_bias,
            "q and k norms": attention.qk_norm,
            "sinks": attention.sinks,
        }
        return ", ".join([_kind(attention), *(name for name, has in extras.items() if has)])
    queries = f"queries of rank {attention.q_rank}" if attention.q_rank else "full-rank queries"
    heads = f"{attention.num_heads} heads of {attention.nope_dim}+{attention.rope_dim}"
    return f"{_kind(attention)}, {heads}, values of {attention.value_dim}, {queries}"


def _describe_feed_forward(block: FeedForward) -> str:
    if isinstance(block, Dense):
        return f"dense {block.width}" + ("" if block.gated else ", no gate")
    shared = f", shared {block.shared_width}" if block.shared_width else ""
    routed = f"{block.experts_per_token} of {block.num_experts} experts of {block.expert_width}"
    return f"{routed}{shared}; {_describe_router(block.router)}"


def _describe_router(router: Router) -> str:
    groups = f", {router.top_groups} of {router.num_groups} groups" if router.num_groups > 1 else ""
    weights = ", normalised" if router.normalise else ""
    scale = f", times {router.scale:g}" if router.scale != 1 else ""
    return f"{router.scoring}{groups}{weights}{scale}"


def _parameter_rows(config: ModelConfig) -> list[Sequence[object]]:
    count = count_parameters(config)
    rows = {
        "attention": count.attention,
        "dense and shared": count.dense,
        "routed experts": count.experts,
        "router": count.router,
        "norms": count.norms,
        "embedding": count.embedding,
        "head": count.head,
        "total": count.total,
        "active a token": count.active,
        "MTP, apart": count.mtp,
    }
    return [(name, f"{value:,}") for name, value in rows.items() if value]


def _facts(config: ModelConfig) -> list[str]:
    names = [f"{kind} {name}" for kind, name in _format_names(config.formats).items()]
    drafts = f", MTP {format_bytes(mtp_bytes(config))} more" if config.mtp else ""
    cache = cache_bytes_per_token(config, BF16)
    return [
        f"weights: {format_bytes(weight_bytes(config))}{drafts} ({', '.join(names)})",
        f"cache: {cache:,.0f} bytes a token in BF16",
        f"rope: {_describe_rope(config.rope)}",
    ]


def _describe_rope(rope: Rope | None) -> str:
    if rope is None:
        return "none, learnt positions"
    base = f"theta {rope.theta:g} over {rope.dim} values"
    match rope.scaling:
        case None:
            return base
        case Yarn(factor=factor, original_positions=positions):
            return f"{base}, YaRN {factor:g} times from {positions}"
        case Llama3Scaling(factor=factor, original_positions=positions):
            return f"{base}, Llama 3 bands {factor:g} times from {positions}"
        case LinearScaling(factor=factor):
            return f"{base}, linear {factor:g} times"


def _sources(config: ModelConfig, provenance: Provenance) -> list[str]:
    lines = [f"config: {provenance.config_source}"]
    lines += [_published(config, p) for p in (provenance.params, provenance.active) if p]
    return lines + ([f"note: {provenance.note}"] if provenance.note else [])


def _published(config: ModelConfig, published: Published) -> str:
    ours = counted(config, published.counting)
    return (
        f"published: {published.figure} {published.counting}, counted here {ours:,} "
        f"({published.source})"
    )


def _billions(count: int) -> str:
    return f"{count / 1e9:.4g} B"
