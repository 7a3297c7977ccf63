"""What every phase reads from a row: chips, model, engine, unit."""

from collections.abc import Callable

import pytest

from penjing.cost.efficiency import Efficiency, measured_chips
from penjing.cost.load import Seen
from penjing.cost.serving import Traffic
from penjing.hardware.catalogue import load_catalogue
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row
from penjing.plan.validate.setting import engine_of, metric, setting_of

MakeRow = Callable[..., Row]
SEEN = Seen(output_tokens_per_s=100.0, tpot_s=0.02, ttft_s=0.5, sequences=2.0)
TRAFFIC = Traffic(input_tokens=300.0, output_tokens=100.0)


def lenders(efficiency: Efficiency | None) -> list[str]:
    """The chips whose curves are asked, nearest first."""
    return [efficiency.measured_on, *lenders(efficiency.relative)] if efficiency else []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chip": "H2O"}, "chip 'H2O' is not one part of the catalogue"),
        ({"chip": "secret.toml"}, "chip 'secret.toml' is not one part of the catalogue"),
        ({"model": "/etc/config.json"}, "model '/etc/config.json' is not bundled"),
        ({"model": "Llama-9-1T"}, "model 'Llama-9-1T' is not bundled"),
        ({"chips_total": ""}, "number of chips not stated"),
        ({"chips_total": "lots"}, "number of chips not understood"),
        ({"chips_total": "1e9"}, "number of chips of 1e9 is not between 0 and 100,000"),
        ({"model": "DeepSeek-V2 (truncated to 0 layers)"}, "number of layers of 0 is below one"),
    ],
)
def test_what_is_not_known_is_said(row: MakeRow, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Unmapped) as caught:
        setting_of(row(**changes))
    assert str(caught.value).startswith(reason)


def test_a_truncated_model_keeps_its_first_layers(row: MakeRow) -> None:
    whole = setting_of(row(model="DeepSeek-V2")).model
    short = setting_of(row(model="DeepSeek-V2 (truncated to 4 layers)")).model
    assert short.layers == whole.layers[:4]


@pytest.mark.parametrize(
    ("chips", "nodes", "inside"), [("4", "1", 4), ("16", "2", 8), ("10", "1", 10), ("16", "", 8)]
)
def test_chips_that_share_a_node(row: MakeRow, chips: str, nodes: str, inside: int) -> None:
    assert setting_of(row(chips_total=chips, nodes=nodes)).hardware.node_chips == inside


def test_hidden_curves_are_those_of_a_relative_that_does_not_lean_on_the_chip(
    row: MakeRow,
) -> None:
    own = setting_of(row(chip="H20-3e")).hardware.efficiency
    hidden = setting_of(row(chip="H20-3e"), hide_own_curves=True).hardware.efficiency
    assert lenders(own)[0] == "H20-3e"
    assert hidden.derived_from == "H20"
    assert "H20-3e" in lenders(measured_chips()["H20"])
    assert "H20-3e" not in lenders(hidden)
    assert lenders(hidden)[1] == "H200 SXM"  # who lent to the one left out


@pytest.mark.parametrize(
    ("text", "name", "most"),
    [
        ("TensorRT-LLM", "tensorrt-llm", 2048),
        ("NVIDIA NIM (TensorRT-LLM)", "tensorrt-llm", 2048),
        ("vLLM-Ascend", "vllm-ascend", 256),
        ("something new", "sglang", 2048),
        ("vLLM", "vllm", 1024),
    ],
)
def test_the_engine_that_a_label_speaks_of(text: str, name: str, most: int) -> None:
    engine = engine_of(text, load_catalogue().find("H100 SXM").chip)
    assert (engine.name, engine.max_sequences) == (name, most)


def test_vllm_serves_fewer_at_a_time_on_an_a100() -> None:
    assert engine_of("vLLM", load_catalogue().find("A100 80GB SXM").chip).max_sequences == 256


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output_tok_s_total", 400.0),
        ("output_tok_s_per_gpu", 25.0),
        ("output_tok_s_per_node", 200.0),
        ("output_tok_s_per_user", 50.0),
        ("total_tok_s_total", 1600.0),
        ("total_tok_s_per_gpu", 100.0),
        ("req_s", 4.0),
        ("tpot_ms", 20.0),
        ("ttft_ms", 500.0),
    ],
)
def test_what_four_replicas_on_16_chips_are_seen_to_do(
    row: MakeRow, name: str, value: float
) -> None:
    setting = setting_of(row(metric_name=name, chips_total="16", nodes="2"))
    assert metric(setting, TRAFFIC, SEEN, 4) == pytest.approx(value)


def test_other_metrics_are_refused(row: MakeRow) -> None:
    with pytest.raises(Unmapped, match="metric joules is not predicted for serving-online"):
        metric(setting_of(row(metric_name="joules")), TRAFFIC, SEEN, 1)
