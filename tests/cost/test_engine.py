import pytest

from penjing.cost.engine import DEFAULT_ENGINE, ENGINES, IN_A_MODEL, Engine, engine_named
from penjing.errors import UnknownName


@pytest.mark.parametrize("name", ["sglang", "SGLang", "vLLM", "TensorRT-LLM", "llama.cpp"])
def test_engines_are_found_however_they_are_written(name: str) -> None:
    assert engine_named(name).name == name.lower()


def test_a_typo_is_answered_with_the_nearest_engine() -> None:
    with pytest.raises(UnknownName, match=r"unknown engine .vlm.; nearest: .*vllm") as caught:
        engine_named("vlm")
    assert "vllm" in caught.value.nearest


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT_ENGINE in ENGINES


@pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda e: e.name)
def test_host_times_are_of_a_host(engine: Engine) -> None:
    """Between a tenth of a millisecond and ten a step, microseconds a sequence."""
    assert ENGINES[engine.name] is engine
    assert 1e-4 <= engine.step_s <= 1e-2
    assert 1e-6 <= engine.sequence_s <= 1e-4
    assert 0 <= engine.layer_s <= engine.prefill_layer_s or engine.prefill_layer_s == 0
    assert engine.max_sequences >= 1
    assert engine.prefill_tokens >= 512


def test_kernels_in_a_model_are_slower_than_alone() -> None:
    assert 1.0 < IN_A_MODEL < 1.5


def test_only_sglang_stops_decoding_to_prefill() -> None:
    """SGLang's scheduler runs prefill batches alone; vLLM and TensorRT-LLM mix them in."""
    assert {name for name, e in ENGINES.items() if not e.mixes_prefill} == {"sglang"}


def test_decoding_without_graphs_launches_layer_by_layer() -> None:
    graphs = {name for name, e in ENGINES.items() if e.layer_s == 0}
    assert {"sglang", "vllm", "tensorrt-llm"} <= graphs
    assert "transformers" not in graphs


def test_engines_are_not_to_be_added_at_run_time() -> None:
    with pytest.raises(TypeError):
        ENGINES["mine"] = ENGINES["vllm"]  # type: ignore[index]
