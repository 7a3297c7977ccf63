import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.engine import ENGINES
from penjing.cost.memory import activation_bytes, cache_bytes, usable_bytes, weight_bytes
from penjing.errors import DoesNotFit, PenjingError, Unpublished
from penjing.hardware.budget import parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.plan.job import ServeJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import storages
from penjing.plan.planner import Terms, make_plan
from penjing.plan.serving.nearest import fits
from penjing.plan.serving.search import Limits, search_serving
from penjing.units import parse_seconds

R1 = ServeJob(model="DeepSeek-R1", input_tokens=4096, output_tokens=1536)
MIXED = replace(R1, model="Qwen3-30B-A3B")


def refusal(job: ServeJob, chips: str, limits: Limits | None = None) -> PenjingError:
    budget = parse_budget(chips, load_catalogue())
    with pytest.raises(PenjingError) as caught:
        make_plan(load_model(job.model), job, budget, Terms(limits=limits or Limits()))
    return caught.value


def does_not_fit(job: ServeJob, chips: str, limits: Limits | None = None) -> DoesNotFit:
    error = refusal(job, chips, limits)
    assert isinstance(error, DoesNotFit)
    return error


def serves(job: ServeJob, chips: str, limits: Limits | None = None) -> bool:
    budget = parse_budget(chips, load_catalogue())
    return bool(search_serving(load_model(job.model), job, budget, limits or Limits(), {}).choices)


@pytest.mark.parametrize("name", ["H800", "A800", "910B"])
def test_the_shortfall_is_what_the_leanest_layout_lacks_on_its_fullest_chip(name: str) -> None:
    """R1 on eight chips of 64 or 80 GB, with one conversation at its mean length."""
    error = does_not_fit(R1, f"8x{name}")
    chip, model = load_catalogue().find(name).chip, load_model("DeepSeek-R1")
    engine = ENGINES["vllm-ascend" if name == "910B" else "sglang"]
    lacks = []
    for storage in storages(model, chip, "auto", "auto"):
        for layout in serving_layouts(model, 8, 8):
            weights = weight_bytes(model, layout, storage.numerics.weights)
            passing = activation_bytes(model, layout, engine.prefill_tokens)
            one = cache_bytes(model, layout, storage.numerics.cache, 1.0, 4096 + 1536 / 2)
            need = weights + passing + float(one)
            lacks.append(need - usable_bytes(chip.capacity_bytes))
    assert error.shortfall_bytes == pytest.approx(min(lacks), rel=1e-9)
    # 671 GB of one-byte weights in eight parts, over what 64 or 80 GiB leave.
    assert 0 < error.shortfall_bytes < 671e9 / 8
    assert f"({error.shortfall_bytes:.0f} bytes)" in str(error)


@pytest.mark.parametrize(
    ("job", "chips"),
    [
        (R1, "8xH800"),
        (R1, "6xH20"),
        (MIXED, "1xL20"),
        (replace(R1, model="R1-Distill-Qwen-32B"), "1xL20"),
        (replace(R1, model="R1-Distill-Qwen-32B"), "1x4090"),
    ],
)
def test_the_nearest_fits_and_nothing_smaller_does(job: ServeJob, chips: str) -> None:
    error = does_not_fit(job, chips)
    more, narrower = error.nearest.split(" or ")
    assert f"; nearest that fits: {error.nearest}" in str(error)
    assert serves(job, more)
    count, _, name = more.partition("x")
    had = int(chips.partition("x")[0])
    assert int(count) > had
    # Up to sixteen every count is tried.
    for fewer in range(had, min(int(count), 17)):
        assert not serves(job, f"{fewer}x{name}"), fewer
    same, _, weights = narrower.partition(" with --weights ")
    assert same == f"{had}x{name}"
    assert serves(job, same, Limits(weights=weights))
    for wider in ("fp8", "int8", "int4")[: ("fp8", "int8", "int4").index(weights)]:
        assert not serves(job, same, Limits(weights=wider))


def test_weights_that_were_given_are_not_talked_down() -> None:
    error = does_not_fit(MIXED, "1xL20", Limits(weights="bf16"))
    assert "--weights" not in error.nearest
    assert serves(MIXED, error.nearest, Limits(weights="bf16"))


def test_where_nothing_would_do_nothing_is_offered() -> None:
    # 4.7 MB a token and ten million tokens: no node of eight and no sixteen stages hold them.
    job = replace(R1, model="GPT-3-175B", input_tokens=10_000_000)
    endless = replace(load_model(job.model), max_positions=20_000_000)
    budget = parse_budget("8xH20", load_catalogue())
    with pytest.raises(DoesNotFit) as caught:
        make_plan(endless, job, budget, Terms())
    error = caught.value
    assert error.nearest == ""
    assert error.shortfall_bytes > 1e11
    assert "nearest" not in str(error)


def test_a_mixed_budget_that_holds_nothing_names_its_leanest_chip() -> None:
    error = does_not_fit(R1, "2xH20+2xL20")
    alone = [does_not_fit(R1, chips).shortfall_bytes for chips in ("2xH20", "2xL20")]
    assert error.shortfall_bytes == min(alone)
    assert str(error).startswith("DeepSeek-R1 does not fit on 2xH20+2xL20: the fullest chip lacks ")


@settings(deadline=None, max_examples=15)
@given(
    share=st.floats(0.01, 0.99),
    flag=st.sampled_from(["tpot", "ttft"]),
    tokens=st.integers(1, 39_000),
)
def test_a_limit_too_tight_is_answered_with_one_that_is_kept(
    share: float, flag: str, tokens: int
) -> None:
    job = replace(MIXED, input_tokens=tokens)
    name = f"{flag}_limit_s"
    first = does_not_fit(replace(job, **{name: 1e-9}), "2xH20")  # type: ignore[arg-type]
    reached = offered(first, flag)
    assert first.shortfall_bytes == 0
    assert serves(replace(job, **{name: reached}), "2xH20")  # type: ignore[arg-type]
    # Well below it either nothing is kept, and the same is offered, or only prefill set apart does.
    again = replace(job, **{name: reached * share * 0.5})  # type: ignore[arg-type]
    if not serves(again, "2xH20"):
        assert offered(does_not_fit(again, "2xH20"), flag) == reached


def offered(error: DoesNotFit, flag: str) -> float:
    word, _, value = error.nearest.partition(" ")
    assert word == f"--{flag}"
    assert f"allow that with --{flag}, or take faster or more chips" in str(error)
    shown = re.search(r"the best reaches (.+?) with ", str(error))
    assert shown
    assert shown[1].replace(" ", "") == value
    return parse_seconds(value)


@pytest.mark.parametrize(("tpot", "ttft"), [(0.02, 1e-6), (1e-6, 1e-6), (0.03, 0.05)])
def test_with_both_limits_the_one_in_the_way_is_named(tpot: float, ttft: float) -> None:
    job = replace(MIXED, tpot_limit_s=tpot, ttft_limit_s=ttft)
    error = does_not_fit(job, "2xH20")
    flag = "tpot" if tpot == 1e-6 else "ttft"
    reached = offered(error, flag)
    relaxed = replace(job, **{f"{flag}_limit_s": reached})  # type: ignore[arg-type]
    if flag == "ttft":
        assert serves(relaxed, "2xH20")
    else:  # one step further, the other limit stands in the way
        assert "keeps TTFT within" in str(does_not_fit(relaxed, "2xH20"))


def test_a_figure_that_nobody_published_goes_before_what_was_tried() -> None:
    error = refusal(R1, "16xL20")
    assert isinstance(error, Unpublished)
    assert str(error) == "L20: bandwidth between nodes not published; give --network 400Gb/s"


def test_whether_a_count_of_chips_holds_a_model() -> None:
    chip, model = load_catalogue().find("H20").chip, load_model("DeepSeek-R1")
    native = storages(model, chip, "native", "auto")
    held = [count for count in (4, 7, 8, 9, 12, 16) if fits(model, chip, count, native, R1)]
    assert held[0] == 8
    assert 16 in held
    # Seventeen is prime and deeper than any pipeline tried: only a part of it serves.
    assert not fits(model, chip, 17, native, R1)
    assert fits(model, chip, 17, native, R1, smaller=True)
