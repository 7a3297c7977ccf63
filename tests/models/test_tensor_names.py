import math
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile, UnknownName
from penjing.models.catalogue import bundled_models, load_model
from penjing.models.config import (
    Dense,
    GroupedQuery,
    Latent,
    Layer,
    ModelConfig,
    MoE,
    Router,
    Scoring,
)
from penjing.models.parameters import count_parameters
from penjing.models.tensor_names import RUNNABLE, Place, copies, tensor_places, zero_rows

RUNNABLE_MODELS = [n for n in bundled_models() if load_model(n).model_type in RUNNABLE]
COUNTS = st.integers(1, 3)


def model(model_type: str, *layers: Layer, mtp: int = 0, tied: bool = False) -> ModelConfig:
    return ModelConfig(
        name="small",
        model_type=model_type,
        width=8,
        vocab_size=11,
        layers=layers,
        mtp=layers[-1:] * mtp,
        tied_embeddings=tied,
        rope=None,
        norm_eps=1e-6,
        max_positions=64,
    )


def latent(q_rank: int | None, *, bias: bool = False) -> Latent:
    return Latent(
        num_heads=2, q_rank=q_rank, kv_rank=5, nope_dim=4, rope_dim=2, value_dim=3, bias=bias
    )


def moe(num_experts: int = 4, shared_width: int = 6) -> MoE:
    router = Router(scoring=Scoring.SIGMOID, correction_bias=True)
    return MoE(
        num_experts=num_experts,
        experts_per_token=1,
        expert_width=3,
        shared_width=shared_width,
        router=router,
    )


@pytest.mark.parametrize("name", RUNNABLE_MODELS)
def test_tensors_hold_every_parameter_that_is_counted(name: str) -> None:
    config = load_model(name)
    places = tensor_places(config)
    values = sum(math.prod(places[name].shape) for name in places.keys() - copies(config).keys())
    count = count_parameters(config)
    assert values == count.total + count.mtp


def test_all_runnable_families_are_bundled_or_nearly() -> None:
    assert len(RUNNABLE_MODELS) > 10
    assert {load_model(n).model_type for n in RUNNABLE_MODELS} >= {"deepseek_v3", "qwen3_moe"}


def test_names_and_places_of_r1() -> None:
    """Shapes as DeepSeek-R1's config.json has them, row ranges by hand."""
    places = tensor_places(load_model("DeepSeek-R1"))
    attention, expert = "model.layers.3.self_attn", "model.layers.60.mlp.experts.255"
    assert places[f"{attention}.q_a_proj.weight"] == Place(
        parameter="layers.3.attention.down", rows=(0, 1536), shape=(1536, 7168)
    )
    assert places[f"{attention}.kv_a_proj_with_mqa.weight"] == Place(
        parameter="layers.3.attention.down", rows=(1536, 2112), shape=(576, 7168)
    )
    assert places[f"{expert}.up_proj.weight"] == Place(
        parameter="layers.60.feed_forward.gate_up",
        index=255,
        rows=(2048, 4096),
        shape=(2048, 7168),
    )
    assert places[f"{expert}.down_proj.weight"] == Place(
        parameter="layers.60.feed_forward.down", index=255, shape=(7168, 2048)
    )
    assert places["model.layers.61.eh_proj.weight"] == Place(
        parameter="mtp.0.projection", shape=(7168, 14336)
    )
    bias = places["model.layers.61.mlp.gate.e_score_correction_bias"]
    assert bias == Place(parameter="mtp.0.block.feed_forward.correction_bias", shape=(256,))


def test_a_prediction_layer_repeats_embedding_and_head() -> None:
    config = model("deepseek_v3", Layer(attention=latent(5), feed_forward=moe()), mtp=2)
    places = tensor_places(config)
    assert copies(config) == {
        "model.layers.1.embed_tokens.weight": "model.embed_tokens.weight",
        "model.layers.1.shared_head.head.weight": "lm_head.weight",
        "model.layers.2.embed_tokens.weight": "model.embed_tokens.weight",
        "model.layers.2.shared_head.head.weight": "lm_head.weight",
    }
    assert places["model.layers.2.shared_head.head.weight"].parameter == "head"
    assert places["model.layers.2.shared_head.norm.weight"].parameter == "mtp.1.norm"


def test_a_tied_head_is_a_copy_of_the_embedding() -> None:
    layer = Layer(attention=latent(5), feed_forward=Dense(width=4))
    config = model("deepseek_v3", layer, mtp=1, tied=True)
    places = tensor_places(config)
    assert copies(config)["lm_head.weight"] == "model.embed_tokens.weight"
    assert {places[name].parameter for name in copies(config)} == {"embedding"}
    assert "head" not in {p.parameter for p in places.values()}


def test_full_rank_queries_have_no_bias_in_a_checkpoint() -> None:
    config = model(
        "deepseek_v3", Layer(attention=latent(None, bias=True), feed_forward=moe()), mtp=1
    )
    biases = {name: p for name, p in tensor_places(config).items() if name.endswith("proj.bias")}
    assert "model.layers.0.self_attn.q_proj.bias" not in biases
    latent_bias = tensor_places(config)["model.layers.0.self_attn.kv_a_proj_with_mqa.bias"]
    assert latent_bias == Place(parameter="layers.0.attention.down_bias", rows=(12, 19), shape=(7,))
    assert zero_rows(config) == {
        "layers.0.attention.down_bias": (0, 12),
        "mtp.0.block.attention.down_bias": (0, 12),
    }
    low_rank = Layer(attention=latent(5, bias=True), feed_forward=moe())
    assert not zero_rows(model("deepseek_v3", low_rank))


@given(
    attention=st.one_of(
        st.builds(
            GroupedQuery,
            num_heads=st.sampled_from([2, 4]),
            num_kv_heads=st.sampled_from([1, 2]),
            head_dim=COUNTS,
            qkv_bias=st.booleans(),
            out_bias=st.booleans(),
            qk_norm=st.booleans(),
        ),
        st.builds(latent, st.none() | COUNTS, bias=st.booleans()),
    ),
    feed_forward=st.one_of(
        st.builds(Dense, width=COUNTS), st.builds(moe, COUNTS, st.integers(0, 2))
    ),
    tied=st.booleans(),
    mtp=st.integers(0, 2),
)
def test_every_row_of_every_parameter_is_filled_once(
    attention: GroupedQuery | Latent, feed_forward: Dense | MoE, tied: bool, mtp: int
) -> None:
    layer = Layer(attention=attention, feed_forward=feed_forward)
    config = model("deepseek_v3", layer, layer, mtp=mtp, tied=tied)
    repeated = copies(config)
    matrices: dict[tuple[str, int | None], list[tuple[int, int]]] = defaultdict(list)
    for name, place in tensor_places(config).items():
        if name not in repeated:
            rows = place.rows or (0, place.shape[0])
            assert rows[1] - rows[0] == place.shape[0]
            matrices[place.parameter, place.index].append(rows)
    for parameter, rows in zero_rows(config).items():
        matrices[parameter, None].append(rows)
    for ranges in matrices.values():
        ends = [0, *(stop for _, stop in sorted(ranges))]
        assert [start for start, _ in sorted(ranges)] == ends[:-1]


@pytest.mark.parametrize("name", ["GPT-OSS-20B", "GLM-4.5"])
def test_a_family_without_modules_is_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="can be planned, but not run"):
        tensor_places(load_model(name))


def test_a_feed_forward_bias_is_refused() -> None:
    config = load_model("Llama-3-8B")
    layer = replace(config.layers[0], feed_forward=Dense(width=4, bias=True))
    with pytest.raises(BadFile, match="mlp_bias is true"):
        tensor_places(replace(config, layers=(layer,)))
