"""What one token leaves in the cache."""

from typing import assert_never

from penjing.models.config import Attention, GroupedQuery, Latent, ModelConfig
from penjing.models.format import Format


def cache_values_per_token(attention: Attention) -> int:
    """Values that one layer keeps for one token: 2 M H, or C + R and the key of the indexer.

    A windowed layer keeps them too, but only for the tokens of its window.
    """
    match attention:
        case GroupedQuery(num_kv_heads=heads, head_dim=dim):
            return 2 * heads * dim
        case Latent(kv_rank=rank, rope_dim=rope, indexer=indexer):
            return rank + rope + (indexer.head_dim if indexer else 0)
        case _:
            assert_never(attention)


def cache_bytes_per_token(config: ModelConfig, form: Format) -> float:
    """All layers of the model, without ``mtp``: 70,272 bytes for DeepSeek-R1 in BF16."""
    values = sum(n * cache_values_per_token(x.attention) for x, n in config.layer_counts())
    return values * form.bytes_per_value
