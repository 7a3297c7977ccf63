from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.cost.roofline import Hardware
from penjing.cost.training_memory import train_memory
from penjing.cost.training_setup import STACKS, Recompute, TrainSetup, Zero
from penjing.cost.training_step import train_step
from penjing.cost.work import Numerics
from penjing.errors import Contradiction, Unpublished
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.models.catalogue import load_model
from penjing.models.config import MoE, WeightFormats
from penjing.models.format import BF16, FP8_BLOCK
from penjing.plan.training.search import (
    DO_NOT_FIT,
    LONG_SEQUENCE,
    MICRO_BATCHES,
    MOST_STAGES,
    NO_LINK,
    VIRTUAL_STAGES,
    Step,
    TrainChoice,
    TrainFound,
    search_training,
    setups,
    training_formats,
    training_layouts,
    trains,
)

SMALL = "R1-Distill-Qwen-1.5B"
SAVINGS = tuple(product((False, True), Recompute, Zero))


def part(name: str) -> Chip:
    return load_catalogue().find(name).chip


def step(sequence: int = 2048, batch: int = 8, longest: int | None = None) -> Step:
    return Step(
        sequence=sequence, batch=batch, longest=longest or sequence, stack=STACKS["megatron"]
    )


def search(model: str, chip: str, chips: int, shared: Step, weights: str = "auto") -> TrainFound:
    return search_training(load_model(model), part(chip), chips, shared, weights)


@pytest.fixture(scope="module")
def spread() -> TrainFound:
    """A model with experts where memory is short: some layouts fit, some do not."""
    return search("Moonlight-16B-A3B", "L20", 8, step(4096, 64))


@settings(deadline=None)
@given(
    name=st.sampled_from(["DeepSeek-R1", "Qwen3-30B-A3B", SMALL]),
    chips=st.integers(1, 64),
    node=st.sampled_from([1, 4, 8]),
    sequence=st.sampled_from([4096, LONG_SEQUENCE, LONG_SEQUENCE + 1, 131_072]),
)
def test_degrees_multiply_to_the_chips(name: str, chips: int, node: int, sequence: int) -> None:
    model = load_model(name)
    found = list(training_layouts(model, chips, node, sequence))
    assert len(found) == len(set(found))
    assert found
    experts = {x.feed_forward for x in model.layers if isinstance(x.feed_forward, MoE)}
    for layout in found:
        whole = layout.tensor * layout.data * layout.pipeline * layout.context
        assert whole == layout.chips == chips
        assert layout.tensor <= node
        assert layout.pipeline <= min(MOST_STAGES, len(model.layers))
        assert layout.context == 1 or sequence > LONG_SEQUENCE
        assert layout.stage_chips % layout.expert == 0
        assert all(block.num_experts % layout.expert == 0 for block in experts)
        assert experts or layout.expert == 1


def test_layouts_of_a_small_case_are_all_there() -> None:
    """Moonlight on eight: 16 heads, 64 experts, 27 layers."""
    expected = {
        Layout(tensor=t, data=8 // (t * p), pipeline=p, expert=e)
        for t, p, e in product((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8))
        if t * p <= 8 and e <= 8 // p
    }
    assert set(training_layouts(load_model("Moonlight-16B-A3B"), 8, 8, 4096)) == expected


def test_every_setup_divides_its_batch() -> None:
    model, shared = load_model(SMALL), step(2048, 24)
    found = list(setups(model, 8, 8, shared))
    assert len(found) == len(set(found))
    for setup in found:
        assert setup.micro_batches * setup.layout.data * setup.micro_batch == 24
        assert setup.micro_batch in MICRO_BATCHES
        assert setup.virtual_stages in (VIRTUAL_STAGES if setup.layout.pipeline > 1 else (1,))
        assert setup.layout.pipeline * setup.virtual_stages <= len(model.layers)
        assert (setup.global_batch, setup.sequence) == (24, 2048)
    assert {setup.micro_batch for setup in found} == {1, 2, 4, 8}
    assert {setup.micro_batch for setup in setups(model, 8, 8, step(2048, 9))} == {1}


@pytest.mark.parametrize(
    ("model", "chip", "wanted", "expected"),
    [
        ("DeepSeek-R1", "H20", "auto", ["bf16", "fp8"]),
        ("DeepSeek-R1", "H20", "native", ["bf16", "fp8"]),
        ("DeepSeek-R1", "A800", "auto", ["bf16"]),
        (SMALL, "H20", "auto", ["bf16"]),
        (SMALL, "H20", "fp8", ["fp8"]),
        (SMALL, "A800", "BF16", ["bf16"]),
    ],
)
def test_formats_that_products_may_run_in(
    model: str, chip: str, wanted: str, expected: list[str]
) -> None:
    found = dict(training_formats(load_model(model), part(chip), wanted))
    assert list(found) == expected
    if "bf16" in found:
        assert found["bf16"] == WeightFormats(attention=BF16, dense=BF16, experts=BF16)
    if "fp8" in found:
        assert found["fp8"].experts == FP8_BLOCK


def test_a_format_that_nobody_knows_names_its_flag() -> None:
    with pytest.raises(Contradiction, match=r"^--weights: unknown number format 'foo'; "):
        search(SMALL, "H20", 1, step(), "foo")


def test_every_choice_fits_and_the_fastest_is_first(spread: TrainFound) -> None:
    chip = part("L20")
    seconds = [choice.step.step_s for choice in spread.choices]
    assert len(seconds) > 20
    assert seconds == sorted(seconds)
    for choice in spread.choices:
        assert choice.memory.shortfall_bytes == 0
        assert choice.memory.total_bytes <= choice.memory.usable_bytes
        assert choice.memory == train_memory(load_model("Moonlight-16B-A3B"), choice.setup, chip)
        assert choice.setup.layout.chips == 8


def test_every_setup_fits_or_falls(spread: TrainFound) -> None:
    assert spread.infeasible[DO_NOT_FIT] > 0
    assert spread.tried == len(spread.choices) + spread.infeasible.total()
    model = load_model("Moonlight-16B-A3B")
    assert spread.tried == len(list(setups(model, 8, 8, step(4096, 64))))


def variants(choice: TrainChoice) -> Iterator[TrainSetup]:
    for offload, recompute, zero in SAVINGS:
        yield replace(choice.setup, offload=offload, recompute=recompute, zero=zero)


def test_memory_is_saved_only_where_it_must_be_or_where_that_is_faster(
    spread: TrainFound,
) -> None:
    """Of a setup's variants that fit, the fastest is kept; offloading stands back behind all."""
    model, chip = load_model("Moonlight-16B-A3B"), part("L20")
    for choice in spread.choices[::5]:
        fitting = [v for v in variants(choice) if not train_memory(model, v, chip).shortfall_bytes]
        allowed = [v for v in fitting if not v.offload] or fitting
        assert choice.setup in allowed
        fastest = min(train_step(model, v, choice.hardware).step_s for v in allowed)
        assert choice.step.step_s == pytest.approx(fastest, rel=1e-12)
    used = {(c.setup.recompute, c.setup.offload) for c in spread.choices}
    assert len(used) > 1


def test_a_chip_with_room_to_spare_saves_nothing() -> None:
    best = search(SMALL, "H20", 1, step(1024, 8)).choices[0].setup
    assert (best.recompute, best.offload, best.zero) == (Recompute.NONE, False, Zero.NONE)


def every_time(model_name: str, chip_name: str, chips: int, shared: Step) -> Iterator[float]:
    """Seconds of every setup that fits, in every way to save memory, one at a time."""
    model, chip = load_model(model_name), part(chip_name)
    hardware = Hardware.of(chip, chips)
    for bare in setups(model, chips, chip.node_chips, shared):
        by_host: dict[bool, list[float]] = {False: [], True: []}
        for offload, recompute, zero in SAVINGS:
            setup = replace(
                bare,
                offload=offload,
                recompute=recompute,
                zero=zero,
                numerics=Numerics(weights=WeightFormats()),
            )
            held = train_memory(model, replace(setup, sequence=shared.longest), chip)
            if held.total_bytes <= held.usable_bytes:
                by_host[offload].append(train_step(model, setup, hardware).step_s)
        yield from by_host[False] or by_host[True]


@pytest.mark.parametrize(
    ("model", "chip", "chips", "shared"),
    [
        (SMALL, "L20", 2, step()),
        (SMALL, "4090", 4, step(4096, 16)),
        ("Qwen2.5-3B", "H20", 1, step()),
        ("R1-Distill-Qwen-7B", "L20", 4, step(1024, 8, longest=8192)),
    ],
)
def test_the_best_is_the_best_of_every_way(model: str, chip: str, chips: int, shared: Step) -> None:
    found = search(model, chip, chips, shared)
    assert found.choices[0].step.step_s == pytest.approx(
        min(every_time(model, chip, chips, shared)), rel=1e-12
    )


def test_memory_holds_the_longest_sequence_not_the_mean() -> None:
    mean = search(SMALL, "L20", 1, step(1024, 8))
    long = search(SMALL, "L20", 1, step(1024, 8, longest=16_384))
    assert mean.choices
    assert len(long.choices) <= len(mean.choices)
    for choice in long.choices:
        again = train_memory(load_model(SMALL), replace(choice.setup, sequence=16_384), part("L20"))
        assert choice.memory == again
        assert choice.setup.sequence == 1024
    assert long.choices[0].step.step_s >= mean.choices[0].step.step_s


def test_what_does_not_fit_says_what_the_leanest_lacks() -> None:
    found = search("R1-Distill-Llama-70B", "H20", 2, step())
    assert found.choices == ()
    assert found.infeasible[DO_NOT_FIT] == found.tried
    assert found.closest is not None
    model, chip = load_model("R1-Distill-Llama-70B"), part("H20")
    lacks = [
        train_memory(
            model,
            replace(s, offload=True, recompute=Recompute.FULL, zero=Zero.PARAMETERS),
            chip,
        ).shortfall_bytes
        for s in setups(model, 2, 8, step())
    ]
    assert found.shortfall_bytes == min(lacks) > 0


def test_a_batch_that_nothing_divides_leaves_nothing_to_try() -> None:
    # 37 is prime and above the deepest pipeline: only data ranks take 37 chips.
    found = search(SMALL, "A800", 37, step(batch=7))
    assert (found.tried, found.closest, found.choices) == (0, None, ())
    assert search(SMALL, "A800", 37, step(batch=37)).choices


def test_a_link_that_nobody_published_is_told() -> None:
    found = search(SMALL, "4090", 16, step(batch=16))
    assert Layout(data=16) not in {choice.setup.layout for choice in found.choices}
    assert found.infeasible[NO_LINK] > 0
    assert found.unpublished == (
        "RTX 4090: bandwidth between nodes not published; give --network 400Gb/s"
    )
    with pytest.raises(Unpublished, match="MLU590"):
        search(SMALL, "MLU590", 1, step())


@pytest.mark.parametrize(
    ("model", "chip", "chips"),
    [
        (SMALL, "H20", 1),
        ("R1-Distill-Qwen-32B", "4090", 8),
        ("R1-Distill-Qwen-32B", "4090", 32),
        ("Moonlight-16B-A3B", "L20", 8),
        ("DeepSeek-R1", "H20", 16),
        ("DeepSeek-R1", "H20", 64),
    ],
)
def test_what_trains_is_what_a_search_finds(model: str, chip: str, chips: int) -> None:
    found = search(model, chip, chips, step(2048, 64))
    assert trains(load_model(model), part(chip), chips, step(2048, 64)) is bool(found.choices)


def test_more_chips_train_faster() -> None:
    times = [search(SMALL, "H20", n, step(4096, 64)).choices[0].step.step_s for n in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert times[3] > times[0] / 8  # links and bubbles are not free
