"""What an engine will hold in memory, said before anything is loaded, and kept to afterwards."""

from collections import Counter
from dataclasses import dataclass
from typing import assert_never

from penjing.errors import BadQuantity, DoesNotFit
from penjing.models.cache import cache_bytes_per_token
from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    ModelConfig,
    MoE,
    Scoring,
)
from penjing.models.format import BF16, FP32, Format
from penjing.models.parameters import count_parameters
from penjing.units import format_bytes

PAGE_SIZE = 16  # tokens; half a page of each sequence is lost, and prefixes match in whole pages
LOGIT_ROWS = 64
_CACHE_BYTES = 4 * 2**30  # unless asked for more
# What interpreter and torch take when first used, past their state before the load: threads,
# code, small tensors. Measured at 21 to 25 MiB.
_RUNTIME_BYTES = 23.0 * 2**20
_FREE_SHARE = 0.9  # of available memory: the rest is other programs' to grow into


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """Sizes an engine is built with, and the bytes they come to."""

    num_pages: int
    page_size: int
    max_batch_tokens: int
    max_sequences: int
    max_length: int  # tokens of a prompt and its completion
    logit_rows: int
    weight_bytes: float
    cache_bytes: float
    buffer_bytes: float
    base_bytes: float  # what the process held before

    @property
    def pages_per_sequence(self) -> int:
        return -(-self.max_length // self.page_size)

    @property
    def peak_bytes(self) -> float:
        base = self.base_bytes + _RUNTIME_BYTES
        return base + self.weight_bytes + self.cache_bytes + self.buffer_bytes


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the user asks of an engine's size; None: as much as fits, within reason."""

    max_length: int | None = None
    max_sequences: int = 64
    max_batch_tokens: int = 512
    cache_bytes: float | None = None
    expands_latents: bool = False  # as fast numerics do: keys and values of all heads in a pass

    def __post_init__(self) -> None:
        for name in ("max_length", "max_sequences", "max_batch_tokens", "cache_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadQuantity(f"{name} is {value}; it must be at least 1")


def plan_engine(
    config: ModelConfig,
    form: Format,
    limits: Limits,
    *,
    available_bytes: float,
    base_bytes: float = 0.0,
    weights_held: bool = False,
) -> EnginePlan:
    """Sizes that fit into ``available_bytes``; ``weights_held``: the weights are there already.

    Raises ``DoesNotFit`` where weights, buffers and one sequence of ``max_length`` do not, and
    ``BadQuantity`` for a length that the model was not made for.
    """
    batch_tokens = max(limits.max_batch_tokens, limits.max_sequences)
    weights = 0.0 if weights_held else engine_weight_bytes(config, form)
    buffers = buffer_bytes(config, form, batch_tokens, expands_latents=limits.expands_latents)
    buffers += turn_bytes(config)
    room = available_bytes * _FREE_SHARE - weights - buffers
    page = PAGE_SIZE * cache_bytes_per_token(config, form)
    wanted = _wanted_length(config, limits)
    needed = -(-wanted // PAGE_SIZE)
    least = page * (needed if limits.max_length else 1)
    most = min(room, limits.cache_bytes or max(_CACHE_BYTES, least))
    if room >= least > most:
        raise _too_little_cache(limits, least, int(most // page))
    if most < least:
        raise _too_large(config, weights, buffers, page * needed, available_bytes, most // page)
    pages = int(min(most // page, needed * limits.max_sequences))
    return EnginePlan(
        num_pages=pages,
        page_size=PAGE_SIZE,
        max_batch_tokens=batch_tokens,
        max_sequences=limits.max_sequences,
        max_length=min(wanted, pages * PAGE_SIZE),
        logit_rows=LOGIT_ROWS,
        weight_bytes=weights,
        cache_bytes=pages * page,
        buffer_bytes=buffers,
        base_bytes=base_bytes,
    )


def _wanted_length(config: ModelConfig, limits: Limits) -> int:
    wanted = limits.max_length or config.max_positions
    if wanted > config.max_positions:
        raise BadQuantity(
            f"max_length is {wanted}, but {config.name} has {config.max_positions} positions; give "
            "at most that"
        )
    return wanted


def _too_little_cache(limits: Limits, least: float, pages: int) -> DoesNotFit:
    assert limits.cache_bytes is not None
    length = limits.max_length or PAGE_SIZE
    return DoesNotFit(
        f"cache_bytes is {format_bytes(limits.cache_bytes)}, but one sequence of {length} tokens "
        f"takes {format_bytes(least)}; give at least that, or leave it out",
        shortfall_bytes=least - limits.cache_bytes,
        nearest=f"{pages * PAGE_SIZE} tokens",
    )


def _too_large(
    config: ModelConfig,
    weights: float,
    buffers: float,
    cache: float,
    available: float,
    pages: float,
) -> DoesNotFit:
    total = weights + buffers + cache
    short = total - available * _FREE_SHARE
    nearest = f"{int(pages) * PAGE_SIZE} tokens" if pages >= 1 else "a smaller model or dtype"
    return DoesNotFit(
        f"{config.name} needs {format_bytes(total)} (weights {format_bytes(weights)}, cache "
        f"{format_bytes(cache)}, buffers {format_bytes(buffers)}), but of "
        f"{format_bytes(available)} free memory {_FREE_SHARE:.0%} may be used; nearest that fits: "
        f"{nearest}",
        shortfall_bytes=max(short, 0.0),
        nearest=nearest,
    )


def engine_weight_bytes(config: ModelConfig, form: Format) -> float:
    """All parameters in one format but the correction biases, which stay in fp32."""
    count = count_parameters(config)
    layers = (*config.layers, *config.mtp)
    blocks = [layer.feed_forward for layer in layers]
    biases = sum(
        block.num_experts
        for block in blocks
        if isinstance(block, MoE) and block.router.correction_bias
    )
    total = count.total + count.mtp
    return total * form.bytes_per_value + biases * (FP32.bytes_per_value - form.bytes_per_value)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One buffer of a pass at full size."""

    num_values: int
    is_wide: bool = False  # fp32, whatever the weights are


def planned_buffers(
    config: ModelConfig, tokens: int, *, expands_latents: bool = False
) -> dict[str, Planned]:
    """By name, what a pass over ``tokens`` writes its results into."""
    values = Counter(dict.fromkeys(("embedded", "hidden", "normed"), config.width))
    for attention, _ in config.attention_counts:
        values |= Counter(_attention_buffers(attention))
        if expands_latents and isinstance(attention, Latent):
            values |= Counter(_expanded_buffers(attention))
    for block, _ in config.feed_forward_counts:
        values |= Counter(_feed_forward_buffers(block, config.width))
    rows = min(LOGIT_ROWS, tokens)
    planned = {
        name: Planned(num_values=tokens * width, is_wide=name in ("router", "scores"))
        for name, width in values.items()
    }
    planned["picked"] = Planned(num_values=rows * config.width)
    planned["logits"] = Planned(num_values=rows * config.vocab_size, is_wide=True)
    return planned


def buffer_bytes(
    config: ModelConfig, form: Format, tokens: int, *, expands_latents: bool = False
) -> float:
    """All buffers, and the fp32 copies of rows that the kernels make of narrower ones."""
    wide, narrow = FP32.bytes_per_value, form.bytes_per_value
    planned = planned_buffers(config, tokens, expands_latents=expands_latents).values()
    held = sum(buffer.num_values * (wide if buffer.is_wide else narrow) for buffer in planned)
    copies = tokens * max(_factors(config)) * wide if form is BF16 else 0.0
    return held + copies


def turn_bytes(config: ModelConfig) -> float:
    """Cosines and sines of every position that the model has."""
    return config.max_positions * (config.rope.dim if config.rope else 0) * FP32.bytes_per_value


def _attention_buffers(attention: Attention) -> dict[str, int]:
    match attention:
        case GroupedQuery(num_heads=n, num_kv_heads=m, head_dim=h):
            return {"qkv": (n + 2 * m) * h, "kv": 2 * m * h, "attended": n * h}
        case Latent(num_heads=n, q_rank=q, kv_rank=c, nope_dim=p, rope_dim=r, value_dim=v):
            down = (q or n * (p + r)) + c + r
            full_rank = {"q_latent": q, "q": n * (p + r)} if q else {}
            latent = {"latent": c, "kv": c + r, "q_absorbed": n * (c + r), "latents": n * c}
            return {"down": down, **full_rank, **latent, "attended": n * v}
        case _:
            assert_never(attention)


def _expanded_buffers(shape: Latent) -> dict[str, int]:
    n, v, h = shape.num_heads, shape.value_dim, shape.nope_dim + shape.rope_dim
    return {"kv_up": n * (shape.nope_dim + v), "keys": n * h, "expanded": n * (h + v)}


def _feed_forward_buffers(block: FeedForward, width: int) -> dict[str, int]:
    match block:
        case Dense(width=f):
            return {"gate_up": 2 * f, "inner": f}
        case MoE(experts_per_token=k, expert_width=f, shared_width=s, num_experts=e):
            inner = max(k * f, s)
            scores = {"scores": e} if block.router.scoring is Scoring.SIGMOID else {}
            return {
                "router": e,
                **scores,
                "gate_up": 2 * inner,
                "inner": inner,
                "down_rows": k * width,
            }
        case _:
            assert_never(block)


def _factors(config: ModelConfig) -> list[int]:
    """Values a token of what goes into each product."""
    found = [config.width]
    for attention, _ in config.attention_counts:
        match attention:
            case GroupedQuery(num_heads=n, head_dim=h):
                found.append(n * h)
            case Latent(num_heads=n, kv_rank=c, value_dim=v):
                found += [n * c, n * v]
    for block, _ in config.feed_forward_counts:
        match block:
            case Dense(width=f):
                found.append(f)
            case MoE(experts_per_token=k, expert_width=f, shared_width=s):
                found.append(max(k * f, s))
    return found
