from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.engine import ENGINES, IN_A_MODEL
from penjing.cost.layout import Layout
from penjing.cost.memory import cache_bytes
from penjing.cost.roofline import Bound, time_ops, total_seconds
from penjing.cost.serving import (
    ACCEPTED_TOKENS,
    Instance,
    Traffic,
    decode_step_s,
    decode_timings,
    pass_s,
    prefill_latency_s,
    prefill_request_s,
    prefill_timings,
    room,
    steady_state,
    token_s,
)
from penjing.models.format import FP8

MakeInstance = Callable[..., Instance]
CHAT = Traffic(input_tokens=1024, output_tokens=1024)
BATCHES = np.array([1.0, 2.0, 7.0, 64.0, 500.0])
lengths = st.integers(min_value=16, max_value=32_768)


def test_mean_context_while_decoding() -> None:
    assert CHAT.context_tokens == 1024 + 512


@settings(deadline=None, max_examples=40)
@given(given_tokens=lengths, wanted=lengths, apart=st.booleans(), model=st.sampled_from([0, 1]))
def test_throughput_and_time_a_token_rise_with_the_batch(
    small: Instance, r1: Instance, given_tokens: int, wanted: int, apart: bool, model: int
) -> None:
    traffic = Traffic(input_tokens=given_tokens, output_tokens=wanted)
    batches = np.geomspace(1, 4096, 60)
    state = steady_state((small, r1)[model], traffic, batches, disaggregated=apart)
    throughput, tpot = np.asarray(state.output_tokens_per_s), np.asarray(state.tpot_s)
    assert (np.diff(throughput) > -1e-9 * throughput[1:]).all()
    assert (np.diff(tpot) > -1e-12).all()
    assert tpot[-1] > tpot[0]


def test_throughput_is_batch_over_time_a_token(small: Instance) -> None:
    state = steady_state(small, CHAT, BATCHES)
    assert np.allclose(state.output_tokens_per_s * state.tpot_s, BATCHES)


def test_prefill_steals_from_those_who_decode(small: Instance) -> None:
    """B prefills for every ``output`` tokens; disaggregated decoding is spared them."""
    together = steady_state(small, CHAT, BATCHES)
    apart = steady_state(small, CHAT, BATCHES, disaggregated=True)
    assert together.prefill_s == prefill_request_s(small, 1024)
    assert apart.prefill_s == 0.0
    assert np.array_equal(together.step_s, apart.step_s)
    assert np.allclose(together.tpot_s - apart.tpot_s, BATCHES * together.prefill_s / 1024)
    assert np.array_equal(apart.tpot_s, apart.step_s)


def test_time_to_first_token_waits_for_prefills_and_half_a_step(small: Instance) -> None:
    latency = float(prefill_latency_s(small, 1.0, 1024))
    quiet = steady_state(small, replace(CHAT, output_tokens=1e9), 1.0)
    assert quiet.ttft_s == pytest.approx(latency + float(quiet.step_s) / 2)
    state = steady_state(small, CHAT, BATCHES)
    ttft = np.asarray(state.ttft_s)
    assert (np.diff(ttft) > 0).all()
    # M/D/1 behind one prefill server that is busy for the stolen share.
    stolen = BATCHES * state.prefill_s / 1024 / np.asarray(state.tpot_s)
    wait = latency * stolen / (2 * (1 - stolen))
    assert np.allclose(ttft, latency + wait + np.asarray(state.step_s) / 2)


@pytest.mark.parametrize("chips", ["small", "r1"])
def test_an_array_of_batches_is_a_loop_over_them(
    chips: str, request: pytest.FixtureRequest
) -> None:
    instance: Instance = request.getfixturevalue(chips)
    together = steady_state(instance, CHAT, BATCHES)
    for i, batch in enumerate(BATCHES):
        alone = steady_state(instance, CHAT, float(batch))
        for part in ("step_s", "tpot_s", "ttft_s", "output_tokens_per_s"):
            assert np.asarray(getattr(together, part))[i] == pytest.approx(
                float(getattr(alone, part)), rel=1e-12
            )


def test_an_array_of_draft_depths_is_a_loop_over_them(r1: Instance) -> None:
    depths = np.array([0.0, 1.0, 2.0, 3.0])
    together = steady_state(replace(r1, draft_depth=depths), CHAT, 64.0)
    for depth in range(4):
        alone = steady_state(replace(r1, draft_depth=float(depth)), CHAT, 64.0)
        assert np.asarray(together.tpot_s)[depth] == pytest.approx(float(alone.tpot_s))
        assert np.asarray(together.step_s)[depth] == pytest.approx(float(alone.step_s))


def test_depths_and_batches_make_a_table(r1: Instance) -> None:
    table = steady_state(replace(r1, draft_depth=np.arange(4.0)[:, None]), CHAT, BATCHES)
    assert np.asarray(table.tpot_s).shape == (4, len(BATCHES))
    row = steady_state(replace(r1, draft_depth=2.0), CHAT, BATCHES)
    assert np.allclose(np.asarray(table.tpot_s)[2], row.tpot_s, rtol=1e-12)


def test_tokens_accepted_by_depth(r1: Instance) -> None:
    """LMSYS and Ant Group, 2025-09-26: 1.8-1.9, 2.4-2.7, 2.9-3.3 with 1, 2, 3 drafted."""
    assert ACCEPTED_TOKENS[0] == 1.0
    for depth, (low, high) in enumerate([(1.8, 1.9), (2.4, 2.7), (2.9, 3.3)], start=1):
        assert low <= replace(r1, draft_depth=float(depth)).accepted <= high
    gains = np.diff(ACCEPTED_TOKENS)
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()  # each further one is accepted less often


def test_drafting_pays_at_small_batches_and_not_where_compute_is_spent(r1: Instance) -> None:
    """Ant Group on H20: deeper drafts gain 21 % at batch 1 and lose 18 % at batch 32 a chip."""
    plain, deep = (
        np.asarray(token_s(replace(r1, draft_depth=d), np.array([16.0, 16 * 64.0]), 4096.0))
        for d in (0.0, 3.0)
    )
    assert deep[0] < 0.6 * plain[0]
    assert deep[1] / plain[1] > deep[0] / plain[0]


def test_a_step_by_hand(small: Instance) -> None:
    """Device time as in a model, the engine's own part, and its part of every sequence."""
    engine = small.engine
    timings = decode_timings(small, 32.0, 2048.0)
    device = float(total_seconds(timings)) * IN_A_MODEL
    expected = device + engine.step_s + 32 * engine.sequence_s
    assert decode_step_s(small, 32.0, 2048.0) == pytest.approx(expected)


def test_a_drafting_step_by_hand(r1: Instance) -> None:
    """Every drafted token passes the MTP layer once, and all of them the model together."""
    plain, deep = (decode_timings(replace(r1, draft_depth=d), 64.0, 4096.0) for d in (0.0, 2.0))
    assert "mtp.project" not in {t.op.name for t in plain}
    (project,) = (t for t in deep if t.op.name == "mtp.project")
    assert project.seconds == pytest.approx(
        2 * float(time_ops([project.op], r1.hardware)[0].seconds)
    )
    assert project.op.flops == 2 * 4 * 2 * 7168 * 7168
    heads = [t for t in deep if t.op.name == "head"]
    assert [float(t.op.flops) for t in heads] == [
        2 * 4 * 3 * 129280 * 7168,  # 64 sequences on 16 ranks, each of three tokens
        2 * 4 * 129280 * 7168,
    ]


def test_plain_traffic_and_instances_vary_and_draft_nothing(small: Instance) -> None:
    assert not CHAT.varied
    assert CHAT.longest_output is None
    assert small.accepted == 1.0


def test_drafts_shorten_the_time_a_token_and_not_that_of_prefill(r1: Instance) -> None:
    state = steady_state(replace(r1, draft_depth=2.0), CHAT, 64.0)
    stolen = 64 * state.prefill_s / 1024
    assert state.tpot_s == pytest.approx(float(state.step_s) / ACCEPTED_TOKENS[2] + stolen)
    assert state.prefill_s == steady_state(r1, CHAT, 64.0).prefill_s


def test_the_host_of_each_attention_rank_has_its_own_sequences(r1: Instance) -> None:
    """64 sequences on 16 ranks: bookkeeping for four."""
    device = float(total_seconds(decode_timings(r1, 64.0, 4096.0))) * IN_A_MODEL
    expected = device + r1.engine.step_s + 4 * r1.engine.sequence_s
    assert decode_step_s(r1, 64.0, 4096.0) == pytest.approx(expected)


def test_a_queue_before_prefill_is_cut_off_at_95_percent(small: Instance) -> None:
    """Prompts of 8,192 and one token each: nearly all the time is prefill's."""
    prompts = Traffic(input_tokens=8192, output_tokens=1)
    state = steady_state(small, prompts, 1000.0)
    latency = float(prefill_latency_s(small, 1.0, 8192))
    assert 1000 * state.prefill_s / float(state.tpot_s) > 0.95
    assert state.ttft_s == pytest.approx(latency * (1 + 0.95 / 0.1) + float(state.step_s) / 2)


def test_launches_bound_a_step_without_graphs(small: Instance) -> None:
    """Transformers: 0.6 ms a layer, whatever the device could do."""
    slow = replace(small, engine=ENGINES["transformers"])
    launches = 0.6e-3 * len(small.model.layers) + slow.engine.step_s
    assert pass_s(slow, [], slow.engine.layer_s) == pytest.approx(launches)
    one = float(decode_step_s(slow, 1.0, 128.0))
    assert one == pytest.approx(launches + slow.engine.sequence_s)


def test_data_parallel_ranks_share_sequences(r1: Instance) -> None:
    """16 ranks: up to 16 sequences every rank has one, so the step is that of one."""
    steps = [float(total_seconds(decode_timings(r1, b, 4096.0))) for b in (1.0, 16.0, 32.0)]
    assert steps[0] == steps[1] < steps[2]


def test_pipeline_stages_share_sequences(make_instance: MakeInstance) -> None:
    """Two stages work on two halves of the batch; a token still passes both."""
    stages = make_instance("Llama-3.1-8B", layout=Layout(pipeline=2))
    whole = make_instance("Llama-3.1-8B")
    names = [t.op.name for t in decode_timings(stages, 64.0, 4096.0)]
    assert "pipeline.send" in names
    two, one = (
        sum(float(t.seconds) for t in decode_timings(i, b, 4096.0) if t.op.name != "pipeline.send")
        for i, b in ((stages, 64.0), (whole, 32.0))
    )
    assert two == pytest.approx(one)


def test_prefill_of_a_prompt_in_full_passes(small: Instance) -> None:
    """8,192 tokens a pass: eight prompts of 1,024, and one of anything longer."""
    eight = float(prefill_latency_s(small, 8.0, 1024))
    assert prefill_request_s(small, 1024) == pytest.approx(eight / 8)
    long = float(prefill_latency_s(small, 1.0, 20_000))
    assert prefill_request_s(small, 20_000) == pytest.approx(long)


def test_prefill_is_shared_by_ranks_and_stages(make_instance: MakeInstance) -> None:
    layout = Layout(data=4, expert=8, tensor=2, pipeline=2)
    instance = make_instance("Qwen3-30B-A3B", layout=layout)
    latency = float(prefill_latency_s(instance, 8.0, 1024))
    assert prefill_request_s(instance, 1024) == pytest.approx(latency / (8 * 4 * 2))


@settings(deadline=None, max_examples=30)
@given(tokens=lengths, more=st.floats(min_value=1.0, max_value=4.0))
def test_longer_prompts_take_longer(small: Instance, tokens: int, more: float) -> None:
    short, long = (float(prefill_latency_s(small, 1.0, t)) for t in (tokens, tokens * more))
    assert long >= short * (1 - 1e-12)


def test_prefill_is_listed_by_operator(small: Instance) -> None:
    timings = prefill_timings(small, 2.0, 512.0)
    assert {"attention.core", "ffn.up", "head"} <= {t.op.name for t in timings}


@settings(deadline=None, max_examples=30)
@given(
    bound=st.sampled_from([Bound.COMPUTE, Bound.BANDWIDTH, Bound.LINK]),
    factor=st.floats(min_value=1.0, max_value=10.0),
    batch=st.floats(min_value=1.0, max_value=2000.0),
)
def test_better_hardware_never_serves_less(
    r1: Instance, bound: Bound, factor: float, batch: float
) -> None:
    better = replace(r1, hardware=r1.hardware.scaled(bound, factor))
    before, after = (steady_state(i, CHAT, batch) for i in (r1, better))
    assert after.tpot_s <= float(before.tpot_s) * (1 + 1e-12)
    assert after.ttft_s <= float(before.ttft_s) * (1 + 1e-12)


def test_h20_gains_from_compute_where_h800_gains_from_bandwidth(
    make_instance: MakeInstance,
) -> None:
    """R1 decoding at 32 sequences a chip and 4,096 tokens each."""
    gains: dict[str, dict[Bound, float]] = {}
    for chip in ("H20", "H800 SXM"):
        instance = make_instance("DeepSeek-R1", chip, Layout(data=32, expert=32))
        base = float(decode_step_s(instance, 1024.0, 4096.0))
        gains[chip] = {
            bound: base
            / float(
                decode_step_s(
                    replace(instance, hardware=instance.hardware.scaled(bound, 1.5)),
                    1024.0,
                    4096.0,
                )
            )
            for bound in (Bound.COMPUTE, Bound.BANDWIDTH)
        }
    h20, h800 = gains["H20"], gains["H800 SXM"]
    assert h20[Bound.COMPUTE] > h20[Bound.BANDWIDTH]
    assert h800[Bound.BANDWIDTH] > h800[Bound.COMPUTE]


@settings(deadline=None, max_examples=40)
@given(tokens=st.floats(min_value=64, max_value=1e5), more=st.floats(1.0, 8.0))
def test_longer_contexts_leave_room_for_fewer(small: Instance, tokens: float, more: float) -> None:
    few, many = room(small, tokens * more), room(small, tokens)
    assert few.max_sequences <= many.max_sequences
    assert few.weights_bytes == many.weights_bytes
    assert few.sequence_bytes == pytest.approx(many.sequence_bytes * more)


def test_room_adds_up(small: Instance) -> None:
    """Weights, activations and the cache of every sequence fill what is usable."""
    found = room(small, 4096.0)
    filled = found.weights_bytes + found.activations_bytes
    filled += found.max_sequences * found.sequence_bytes
    assert filled == pytest.approx(found.usable_bytes)
    each = 4096 * cache_bytes(small.model, small.layout, small.numerics.cache, 1.0, 1.0)
    assert found.sequence_bytes == each
    assert found.shortfall_bytes == 0.0


def test_room_is_of_the_whole_instance(r1: Instance) -> None:
    """Sixteen attention ranks, each with sequences of its own."""
    found = room(r1, 4096.0)
    free = found.usable_bytes - found.weights_bytes - found.activations_bytes
    assert found.max_sequences == pytest.approx(16 * free / (4096 * 70_272))


def test_an_eight_bit_cache_makes_room_for_twice_as_many(r1: Instance) -> None:
    narrow = replace(r1, numerics=replace(r1.numerics, cache=FP8))
    assert room(narrow, 4096.0).max_sequences == pytest.approx(2 * room(r1, 4096.0).max_sequences)


def test_smaller_prefill_chunks_make_room(small: Instance) -> None:
    default, small_chunk = room(small, 4096.0), room(small, 4096.0, prefill_tokens=2048)
    assert small_chunk.activations_bytes < default.activations_bytes
    assert small_chunk.max_sequences > default.max_sequences


def test_what_does_not_fit_says_what_is_missing(make_instance: MakeInstance) -> None:
    """R1 in FP8 is 689 GB; eight H800 have 640 GiB less what the runtime keeps."""
    found = room(make_instance("DeepSeek-R1", "H800 SXM", Layout(tensor=8, expert=8)), 4096.0)
    assert found.max_sequences == 0.0
    missing = found.weights_bytes + found.activations_bytes + found.sequence_bytes
    assert found.shortfall_bytes == missing - found.usable_bytes
    assert 5e9 < found.shortfall_bytes < 15e9


def test_r1_fits_on_eight_h20_and_on_sixteen_with_room_to_spare(
    make_instance: MakeInstance, r1: Instance
) -> None:
    eight = room(make_instance("DeepSeek-R1", layout=Layout(tensor=8, expert=8)), 4096.0)
    sixteen = room(r1, 4096.0)
    assert 1 < eight.max_sequences < 60
    assert sixteen.max_sequences > 1000
    assert eight.shortfall_bytes == sixteen.shortfall_bytes == 0.0
