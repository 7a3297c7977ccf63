from collections.abc import Callable
from typing import Any

import pytest

from penjing.models.harmless_keys import HARMLESS
from penjing.models.huggingface import model_from_hf

_ONE_A_FAMILY = ("DeepSeek-R1", "GPT-OSS-20B", "Hy3", "GLM-4.6", "Qwen1.5-MoE-A2.7B", "Llama-2-7B")


@pytest.mark.parametrize("name", _ONE_A_FAMILY)
def test_no_harmless_key_changes_a_model(name: str, bundled: Callable[[str], Any]) -> None:
    plain = model_from_hf(bundled(name), name)
    for value in ("anything", 3, True, {"a": 1}):
        assert model_from_hf(bundled(name) | dict.fromkeys(HARMLESS, value), name) == plain


def test_nothing_that_shapes_a_model_is_harmless() -> None:
    shaping = {"sliding_window", "rope_theta", "attention_bias", "head_dim", "norm_topk_prob"}
    assert not shaping & HARMLESS
