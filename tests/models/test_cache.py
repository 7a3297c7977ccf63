import pytest

from penjing.models.cache import cache_bytes_per_token, cache_values_per_token
from penjing.models.catalogue import load_model
from penjing.models.config import GroupedQuery, Indexer, Latent
from penjing.models.format import BF16, FP8


def test_r1_keeps_a_latent() -> None:
    """61 layers of 512 + 64 values: DeepSeek-V3 report, section 4.2."""
    config = load_model("DeepSeek-R1")
    assert cache_bytes_per_token(config, BF16) == 70_272
    assert cache_bytes_per_token(config, FP8) == 35_136


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Moonlight-16B-A3B", 31_104),
        ("R1-Distill-Qwen-1.5B", 28_672),
        ("DeepSeek-V3.2", 61 * (512 + 64 + 128) * 2),
        ("Llama-3.1-8B", 131_072),
    ],
)
def test_other_families(name: str, expected: int) -> None:
    assert cache_bytes_per_token(load_model(name), BF16) == expected


def test_by_hand() -> None:
    grouped = GroupedQuery(num_heads=4, num_kv_heads=2, head_dim=8, window=16)
    assert cache_values_per_token(grouped) == 2 * 2 * 8
    latent = Latent(
        num_heads=4,
        q_rank=3,
        kv_rank=6,
        nope_dim=8,
        rope_dim=2,
        value_dim=5,
        indexer=Indexer(num_heads=2, head_dim=4, top_k=9),
    )
    assert cache_values_per_token(latent) == 6 + 2 + 4
