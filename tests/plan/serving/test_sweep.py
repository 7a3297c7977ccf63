from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from penjing.cost.engine import ENGINES
from penjing.cost.layout import Layout
from penjing.cost.memory import cache_bytes
from penjing.cost.roofline import Hardware
from penjing.cost.serving import ACCEPTED_TOKENS, Traffic, steady_state
from penjing.errors import Unpublished
from penjing.hardware.chip import Chip
from penjing.models.catalogue import load_model
from penjing.plan.numerics import Storage, storages
from penjing.plan.serving.sweep import (
    BATCHES,
    NO_LINK,
    NO_SEQUENCE_FITS,
    WEIGHTS_DO_NOT_FIT,
    Misfit,
    Pool,
    Sweep,
    sweep,
)

FindChip = Callable[[str], Chip]
CHAT = Traffic(input_tokens=4096, output_tokens=1536)
R1_16 = Layout(data=16, expert=16)


@pytest.fixture(scope="module")
def make(chip: FindChip) -> Callable[..., Sweep | Misfit]:
    """A sweep of a bundled model in its first storage."""

    def swept(
        model: str = "Qwen3-30B-A3B",
        name: str = "H20",
        chips: int = 4,
        layout: Layout | None = None,
        traffic: Traffic = CHAT,
        engine: str = "sglang",
    ) -> Sweep | Misfit:
        config, part = load_model(model), chip(name)
        pool = Pool(hardware=Hardware.of(part, chips), chips=chips, engine=ENGINES[engine])
        return sweep(config, pool, layout or Layout(), first(model, part), traffic)

    return swept


def first(model: str, chip: Chip) -> Storage:
    return storages(load_model(model), chip, "native", "bf16")[0]


Make = Callable[..., Sweep | Misfit]


def fitting(found: Sweep | Misfit) -> Sweep:
    assert isinstance(found, Sweep), found
    return found


def test_every_draft_depth_meets_every_batch(make: Make) -> None:
    found = fitting(make("DeepSeek-R1", chips=16, layout=R1_16))
    batches = np.asarray(found.steady.sequences)
    depths = len(ACCEPTED_TOKENS)
    assert batches.shape[0] == 1
    for figure in (found.steady.tpot_s, found.steady.step_s, found.steady.ttft_s):
        assert np.asarray(figure).shape == (depths, batches.shape[1])
    assert np.asarray(found.instance.draft_depth).tolist() == [[0.0], [1.0], [2.0], [3.0]]


def test_a_model_without_a_draft_head_drafts_nothing(make: Make) -> None:
    found = fitting(make())
    assert not found.instance.model.mtp
    assert np.asarray(found.steady.tpot_s).shape[0] == 1
    assert np.all(np.asarray(found.instance.accepted) == 1.0)


def test_batches_are_whole_and_run_from_one_to_what_fits(make: Make) -> None:
    found = fitting(make())
    batches = np.asarray(found.steady.sequences)[0]
    assert batches[0] == 1
    assert batches[-1] == np.floor(found.room.max_sequences)
    assert 20 < len(batches) <= BATCHES
    assert (np.diff(batches) >= 1).all()
    assert (batches == np.floor(batches)).all()
    # Geometric: neighbours differ by a few percent once whole numbers allow it.
    assert (batches[1:] / batches[:-1])[batches[:-1] > 20].max() < 1.2


@pytest.mark.parametrize("layout", [Layout(), Layout(data=4, expert=4), Layout(tensor=4)])
def test_the_largest_batch_fits_in_memory_and_one_more_does_not(make: Make, layout: Layout) -> None:
    found = fitting(make(layout=layout))
    space = found.room
    largest = float(np.asarray(found.steady.sequences).max())

    def total(sequences: float) -> float:
        cached = cache_bytes(
            found.instance.model,
            layout,
            found.storage.numerics.cache,
            sequences / layout.data,
            CHAT.context_tokens,
        )
        return space.weights_bytes + space.activations_bytes + float(cached)

    assert total(largest) <= space.usable_bytes < total(largest + 1)


def test_the_engine_caps_the_batch_of_every_data_rank(make: Make) -> None:
    short = Traffic(input_tokens=64, output_tokens=64)
    for layout in (Layout(), Layout(data=4, expert=4)):
        found = fitting(make(layout=layout, traffic=short, engine="vllm-ascend"))
        most = ENGINES["vllm-ascend"].max_sequences * layout.data
        assert found.room.max_sequences > most
        assert np.asarray(found.steady.sequences).max() == most


def test_arrays_hold_what_single_points_give(make: Make) -> None:
    found = fitting(make("DeepSeek-R1", chips=16, layout=R1_16))
    batches = np.asarray(found.steady.sequences)[0]
    for depth in (0, 3):
        for place in (0, 11, -1):
            one = steady_state(found.at(depth), CHAT, float(batches[place]))
            for name in ("tpot_s", "ttft_s", "step_s", "output_tokens_per_s"):
                cell = np.asarray(getattr(found.steady, name))[depth, place]
                assert float(cell) == pytest.approx(float(getattr(one, name)), rel=1e-12), name


def test_a_token_of_decoding_alone_is_a_step_over_what_it_yields(make: Make) -> None:
    found = fitting(make("DeepSeek-R1", chips=16, layout=R1_16))
    steps, tokens = np.asarray(found.steady.step_s), np.asarray(found.decode_token_s)
    for depth, accepted in enumerate(ACCEPTED_TOKENS):
        assert np.allclose(tokens[depth] * accepted, steps[depth], rtol=1e-12)
    assert (tokens < np.asarray(found.steady.tpot_s)).all()


def test_at_one_depth_the_instance_is_the_same_but_for_it(make: Make) -> None:
    found = fitting(make("DeepSeek-R1", chips=16, layout=R1_16))
    one = found.at(2)
    assert one.draft_depth == 2.0
    assert replace(one, draft_depth=found.instance.draft_depth).layout == found.layout == R1_16
    assert one.model is found.instance.model


def test_weights_that_do_not_fit_say_what_lacks(make: Make, chip: FindChip) -> None:
    layout = Layout(tensor=8)
    assert isinstance(make("DeepSeek-R1", "H20", chips=8, layout=layout), Sweep)
    found = make("DeepSeek-R1", "H800", chips=8, layout=layout)
    assert isinstance(found, Misfit)
    assert (found.reason, found.layout) == (WEIGHTS_DO_NOT_FIT, layout)
    assert found.storage == first("DeepSeek-R1", chip("H800"))
    # An eighth of 671 GB in FP8 against 80 GiB less what the runtime keeps.
    assert 2e9 < found.shortfall_bytes < 20e9


def test_no_room_for_a_single_sequence_is_another_reason(make: Make) -> None:
    long = Traffic(input_tokens=1_000_000, output_tokens=1000)
    found = make(layout=Layout(), traffic=long)
    assert isinstance(found, Misfit)
    assert found.reason == NO_SEQUENCE_FITS
    assert found.shortfall_bytes > 0


def test_a_sequence_lives_on_one_data_rank_and_must_fit_there(make: Make) -> None:
    """Four ranks with room for half a sequence each are not room for two."""
    layout = Layout(data=4, expert=4)
    shortest, longest = 100_000, 4_000_000
    while longest - shortest > 1000:
        middle = (shortest + longest) // 2
        fits = isinstance(
            make(layout=layout, traffic=Traffic(input_tokens=middle, output_tokens=2)), Sweep
        )
        shortest, longest = (middle, longest) if fits else (shortest, middle)
    last = fitting(make(layout=layout, traffic=Traffic(input_tokens=shortest, output_tokens=2)))
    assert last.room.max_sequences >= layout.data
    assert last.room.max_sequences / layout.data == pytest.approx(1.0, rel=0.01)


def test_a_link_that_nobody_published_rules_a_layout_out(make: Make) -> None:
    within, across = Layout(data=8, expert=8), Layout(data=16, expert=16)
    assert isinstance(make(name="L20", chips=16, layout=within), Sweep)
    found = make(name="L20", chips=16, layout=across)
    assert isinstance(found, Misfit)
    assert found.reason == NO_LINK
    assert found.shortfall_bytes == 0
    assert found.unpublished == (
        "L20: bandwidth between nodes not published; give --network 400Gb/s"
    )


def test_a_chip_that_lacks_more_than_a_link_is_not_a_misfit(make: Make) -> None:
    with pytest.raises(Unpublished, match="MLU590: memory bandwidth is not published"):
        make("R1-Distill-Qwen-1.5B", "MLU590", chips=1)
