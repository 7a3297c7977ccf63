import json
import re
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main
from penjing.plan.job import Objective, RlJob, ServeJob, TrainJob
from penjing.plan.plan import Plan, RlFigures, ServeFigures, ServingGroup, plan_from_json

SMALL = ("--model", "r1-distill-qwen-1.5b", "--chips", "2xH20")
MUST_SHOW = (
    *("--model", "deepseek-r1", "--chips", "16xH20"),
    *("--input", "4096", "--output", "1536", "--tpot", "50ms"),
)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["plan", *words])
    out, err = capsys.readouterr()
    return status, out, err


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> Plan:
    """The plan as a program reads it."""
    status, out, err = run(capsys, *words, "--json")
    assert (status, err) == (0, "")
    return plan_from_json(out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the error as a document, and the line for people."""
    status, out, err = run(capsys, *words, "--json")
    assert err.count("\n") == 1
    error: dict[str, Any] = json.loads(out)["error"]
    assert err == f"penjing plan: {error['message']}\n"
    return status, error, error["message"]


def served(plan: Plan) -> tuple[ServingGroup, ServeFigures]:
    group, figures = plan.groups[0], plan.figures
    assert isinstance(group, ServingGroup)
    assert isinstance(figures, ServeFigures)
    return group, figures


def test_r1_on_16_h20_keeps_its_limit_and_says_what_holds_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = planned(capsys, *MUST_SHOW)
    group, figures = served(plan)
    assert plan.job == ServeJob(
        model="DeepSeek-R1", input_tokens=4096, output_tokens=1536, tpot_limit_s=0.05
    )
    assert (plan.budget, plan.chips, group.chips) == ("16xH20", 16, 16)
    assert figures.tpot_s.value <= 0.05
    first = next(row for row in plan.operators if row.phase == "decode")
    assert (first.name, first.bound) == ("attention core", "compute")  # 242 FLOPs a byte against 37
    assert max(plan.gains, key=lambda rate: plan.gains[rate]) == "compute"
    assert any("H20-3e (141 GB) also exists" in reason for reason in plan.reasons)


def test_the_same_question_has_the_same_answer(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (run(capsys, *SMALL, "--json")[1] for _ in range(2))
    assert first == second
    assert json.loads(first)["digest"]


def test_the_text_tells_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *MUST_SHOW)
    assert (status, err) == (0, "")
    assert out.startswith("DeepSeek-R1 on 16xH20: serve 4,096 tokens in, 1,536 out, TPOT within 50")
    for part in (
        *("throughput", "time per output token", "price of 1M output tokens", "weights", "cache"),
        *("bound by", "runners-up", "layouts tried", "kernels measured on it"),
    ):
        assert part in out


def test_limits_formats_and_engine_reach_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--ttft", "3s", "--kv", "bf16", "--weights", "fp8", "--engine", "vllm")
    plan = planned(capsys, *SMALL, *flags, "--objective", "latency")
    group, figures = served(plan)
    assert isinstance(plan.job, ServeJob)
    assert (plan.job.ttft_limit_s, plan.job.objective) == (3.0, Objective.LATENCY)
    assert (group.cache, group.weights, group.engine) == ("bf16", "fp8", "vllm")
    assert figures.ttft_s.value <= 3.0


def test_a_training_run(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--for", "train", "--tokens", "14.8T", "--sequence", "2k", "--batch", "128")
    plan = planned(capsys, *SMALL, *flags, "--stack", "fsdp")
    assert plan.job == TrainJob(
        model="R1-Distill-Qwen-1.5B", tokens=14.8e12, sequence=2000, batch=128
    )
    assert [g.kind for g in plan.groups] == ["training"]
    assert plan.figures.kind == "train"
    assert not isinstance(plan.groups[0], ServingGroup)
    assert plan.groups[0].stack == "fsdp"
    by_default = planned(capsys, *SMALL, "--for", "train").job
    assert isinstance(by_default, TrainJob)
    assert by_default.batch == 1024


def test_a_step_of_grpo(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--for", "rl", "--prompts", "8", "--group", "4", "--input", "256", "--output", "512")
    plan = planned(capsys, *SMALL, *flags)
    assert plan.job == RlJob(
        model="R1-Distill-Qwen-1.5B",
        prompts=8,
        group=4,
        input_tokens=256,
        output_tokens=512,
        longest_output=2048,
    )
    assert isinstance(plan.figures, RlFigures)
    assert list(plan.figures.parts_s) == [
        *("rollout", "reward", "log-probabilities", "update", "weight hand-over")
    ]


def test_a_price_for_all_chips_or_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    def usd(*words: str) -> float:
        figure = served(planned(capsys, *SMALL, *words))[1].usd_per_million_tokens
        assert figure is not None
        return figure.value

    assert usd("--price", "2.60") == pytest.approx(2 * usd("--price", "1.30"))
    assert usd("--price", "H20=2.60USD/h") == usd("--price", "2.60")
    status, _, message = refused(capsys, *SMALL, "--price", "H800=1")
    assert (status, message) == (2, "--price 'H800=1': the chips are 2xH20")


def test_a_slower_network_serves_less(capsys: pytest.CaptureFixture[str]) -> None:
    as_sold, slow = (
        served(planned(capsys, *MUST_SHOW, *words))[1].tokens_per_s.value
        for words in ((), ("--network", "25Gb/s"))
    )
    assert slow < as_sold


def test_chips_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*MUST_SHOW, "--compare", "16xH800", "--compare", "2xH20")
    status, out, _ = run(capsys, *words)
    assert status == 0
    table = out.split("\n\n")[-2].splitlines()
    assert re.split(r"  +", table[0].strip()) == ["16xH20", "16xH800 SXM"]
    assert [line.split("  ")[0] for line in table[2:]] == [
        *("throughput", "for each chip", "requests", "time per output token"),
        *("time to first token", "power, chips alone", "energy a token"),
        *("price of 1M output tokens", "limited by"),
    ]
    assert "2xH20: DeepSeek-R1 does not fit on 2xH20" in out
    plans = json.loads(run(capsys, *words, "--json")[1])["plans"]
    assert [p["budget"] for p in plans] == ["16xH20", "16xH800 SXM", "2xH20"]
    assert [("error" in p) for p in plans] == [False, False, True]


def test_a_comparison_of_nothing_that_fits_is_a_no(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", "deepseek-r1", "--chips", "1xH20", "--compare", "2xH20")
    status, out, _ = run(capsys, *words, "--json")
    assert status == 1
    assert all("error" in plan for plan in json.loads(out)["plans"])


def test_what_does_not_fit_is_a_no_with_the_bytes_and_what_would(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, error, message = refused(capsys, "--model", "deepseek-r1", "--chips", "4xH20")
    assert (status, error["type"]) == (1, "DoesNotFit")
    assert error["shortfall_bytes"] > 2**30
    assert f"({error['shortfall_bytes']:.0f} bytes)" in message
    assert error["nearest"].startswith("8xH20")
    served(planned(capsys, "--model", "deepseek-r1", "--chips", error["nearest"].split(" or ")[0]))


def test_a_limit_out_of_reach_is_a_no_with_the_one_in_reach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, error, _ = refused(capsys, *SMALL, "--tpot", "10us")
    assert (status, error["type"]) == (1, "DoesNotFit")
    flag, reach = error["nearest"].split()
    assert flag == "--tpot"
    served(planned(capsys, *SMALL, flag, reach))


def test_heterogeneous_chips_share_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "--model", "qwen3-30b-a3b", "--chips", "2xH20+2x910B")
    assert plan.chips == 4
    assert {g.chip for g in plan.groups} == {"H20", "Ascend 910B2"}


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Measured where no cache knows it; a GPU where torch sees one."""
    plan = planned(capsys, "--model", "r1-distill-qwen-1.5b", "--chips", "here", "--input", "512")
    _, figures = served(plan)
    assert figures.tokens_per_s.value > 0
    assert any(reason.startswith("here: ") for reason in plan.reasons)


def test_a_config_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = {
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    short = ("--input", "64", "--output", "192")
    for path in (str(file), str(tmp_path)):
        served(planned(capsys, "--model", path, "--chips", "1xL20", *short))
    file.write_text(json.dumps(config | {"hidden_size": 63}), encoding="utf-8")
    status, error, _ = refused(capsys, "--model", str(file), "--chips", "1xL20")
    assert (status, error["type"]) == (2, "Contradiction")
    file.write_text("{", encoding="utf-8")
    status, error, _ = refused(capsys, "--model", str(file), "--chips", "1xL20")
    assert (status, error["type"]) == (2, "BadFile")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--tpot", "50"), "--tpot '50' has no unit; write it with ms or s, as in 50ms"),
        (("--tpot", "-5ms"), "--tpot '-5ms': must be above zero"),
        (("--ttft", "2kg"), "--ttft '2kg' unit 'kg' is not known"),
        (("--input", "0"), "--input '0': must be a whole number of at least 1"),
        (("--output", "1.5"), "--output '1.5': must be a whole number of at least 1"),
        (("--input", "1e30"), "--input '1e30': more than 10,000,000 tokens; check the number"),
        (("--input", "many"), "--input 'many': not a number with a unit"),
        (("--chips", "0xH20"), "chips '0xH20': count '0': must be a whole number of at least 1"),
        (("--chips", ""), "chips '': write a count and a chip, as in 16xH20"),
        (("--chips", "2xH2O"), "unknown chip 'H2O'; nearest: H20"),
        (("--chips", "8xM3 Ultra"), "M3 Ultra: bf16 compute is not published"),
        (("--model", "deepseek-r9"), "unknown model 'deepseek-r9'; nearest: "),
        (("--model", "no/config.json"), "no/config.json does not exist"),
        (("--weights", "int3"), "--weights: unknown number format 'int3'; nearest: int8"),
        (("--kv", "int8"), "--kv int8: a cache is kept in bf16 or fp8"),
        (("--price", "abc"), "--price 'abc': not a number with a unit"),
        (("--price", "1e9"), "--price '1e9': more than 1,000,000 USD a chip-hour"),
        (("--network", "400"), "--network '400' has no unit"),
        (("--network", "1b/s"), "--network '1b/s': below 1 Mb/s or above 1 Pb/s"),
        (("--engine", "vlm"), "argument --engine: invalid choice: 'vlm'"),
        (("--for", "rl", "--longest", "1"), "longest output 1 is below the mean 1536"),
        (("--for", "train", "--tokens", "1e25"), "--tokens '1e25': more than 1,000,000,000,000,"),
    ],
)
def test_what_is_wrong_is_named(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, message = refused(capsys, *SMALL, *words)
    assert (status, message[: len(complaint)]) == (2, complaint)
