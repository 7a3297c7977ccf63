"""Bytes of a checkpoint, from parameter counts and storage formats."""

from penjing.models.config import Layer, ModelConfig
from penjing.models.parameters import (
    attention_parameters,
    count_parameters,
    dense_parameters,
    expert_parameters,
    mtp_parameters,
)


def weight_bytes(config: ModelConfig) -> float:
    """The main model as stored: norms and routers are as wide as the embedding, never quantised."""
    count = count_parameters(config)
    formats = config.formats
    wide = count.router + count.norms + count.embedding + count.head
    return (
        count.attention * formats.attention.bytes_per_value
        + count.dense * formats.dense.bytes_per_value
        + count.experts * formats.experts.bytes_per_value
        + wide * formats.embedding.bytes_per_value
    )


def mtp_bytes(config: ModelConfig) -> float:
    """The multi-token-prediction layers, without the copies of embedding and head beside them."""
    return sum(_mtp_layer_bytes(layer, config) for layer in config.mtp)


def _mtp_layer_bytes(layer: Layer, config: ModelConfig) -> float:
    formats, width = config.formats, config.width
    attention = attention_parameters(layer.attention, width)
    dense = dense_parameters(layer.feed_forward, width)
    experts = expert_parameters(layer.feed_forward, width)
    wide = mtp_parameters(layer, config) - attention - dense - experts
    return (
        attention * formats.attention.bytes_per_value
        + dense * formats.dense.bytes_per_value
        + experts * formats.experts.bytes_per_value
        + wide * formats.embedding.bytes_per_value
    )
