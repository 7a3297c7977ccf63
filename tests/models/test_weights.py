import pytest

from penjing.models.catalogue import bundled_models, load_model
from penjing.models.parameters import count_parameters
from penjing.models.weights import mtp_bytes, weight_bytes

GIB = 2**30


@pytest.mark.parametrize(("name", "published"), [("GPT-OSS-120B", 60.8), ("GPT-OSS-20B", 12.8)])
def test_checkpoints_of_gpt_oss(name: str, published: float) -> None:
    """gpt-oss model card, arXiv 2508.10925, table 1: checkpoint size in GiB."""
    assert weight_bytes(load_model(name)) / GIB == pytest.approx(published, abs=0.1)


def test_r1_is_fp8_but_for_embedding_head_norms_and_routers() -> None:
    config = load_model("DeepSeek-R1")
    count = count_parameters(config)
    narrow = count.attention + count.dense + count.experts
    wide = count.total - narrow
    assert weight_bytes(config) == pytest.approx(narrow * (1 + 4 / 128**2) + 2 * wide)


def test_a_draft_layer_stores_its_experts_like_the_others() -> None:
    config = load_model("DeepSeek-R1")
    # Its projection, norms and router are wide: 14336 x 7168, 5 x 7168, 256 x 7169.
    wide = 14336 * 7168 + 5 * 7168 + 256 * 7169
    narrow = count_parameters(config).mtp - wide
    assert mtp_bytes(config) == pytest.approx(narrow * (1 + 4 / 128**2) + 2 * wide)
    assert mtp_bytes(load_model("Llama-3-8B")) == 0


@pytest.mark.parametrize("name", [n for n in bundled_models() if "Qwen" in n or "Llama" in n])
def test_bf16_models_take_two_bytes_a_parameter(name: str) -> None:
    config = load_model(name)
    assert weight_bytes(config) == 2 * count_parameters(config).total
