"""Every way to spread one instance of a model over a number of chips."""

import math
from collections.abc import Iterator

from penjing.cost.layout import Layout
from penjing.models.config import Attention, GroupedQuery, Latent, ModelConfig, MoE

MOST_STAGES = 16


def serving_layouts(model: ModelConfig, chips: int, node_chips: int) -> Iterator[Layout]:
    """Layouts of an instance on up to ``chips`` chips.

    Tensor parallelism stays inside a node and divides the heads; attention data parallelism is
    for models with experts, which are then either spread whole or all split in width, as engines
    offer it. An instance takes a divisor of ``chips`` or a power of two.
    """
    for size in instance_sizes(chips):
        for pipeline in _divisors(size):
            if pipeline > min(MOST_STAGES, len(model.layers)):
                continue
            yield from _stage_layouts(model, size // pipeline, pipeline, node_chips)


def instance_sizes(chips: int) -> list[int]:
    powers = {1 << n for n in range(chips.bit_length()) if 1 << n <= chips}
    return sorted(powers | set(_divisors(chips)))


def tensor_degrees(model: ModelConfig, most: int) -> list[int]:
    """Degrees that split the heads of every layer evenly, or copy key-value heads evenly."""
    attentions = {layer.attention for layer in model.layers}
    return [d for d in range(1, most + 1) if all(_splits(a, d) for a in attentions)]


def has_experts(model: ModelConfig) -> bool:
    return any(isinstance(layer.feed_forward, MoE) for layer in model.layers)


def _stage_layouts(model: ModelConfig, stage: int, pipeline: int, node: int) -> Iterator[Layout]:
    for tensor in tensor_degrees(model, min(stage, node)):
        if stage % tensor:
            continue
        data = stage // tensor
        if data > 1 and not has_experts(model):
            continue
        for expert in _expert_degrees(model, stage):
            yield Layout(tensor=tensor, data=data, expert=expert, pipeline=pipeline)


def _expert_degrees(model: ModelConfig, stage: int) -> list[int]:
    blocks = {layer.feed_forward for layer in model.layers if isinstance(layer.feed_forward, MoE)}
    if not blocks or stage == 1:
        return [1]
    whole = all(block.num_experts % stage == 0 for block in blocks)
    split = all(block.expert_width % stage == 0 for block in blocks)
    return ([1] if split else []) + ([stage] if whole else [])


def _splits(attention: Attention, tensor: int) -> bool:
    match attention:
        case GroupedQuery(num_heads=n, num_kv_heads=m):
            return n % tensor == 0 and (m % tensor == 0 or tensor % m == 0)
        case Latent(num_heads=n):
            return n % tensor == 0


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
