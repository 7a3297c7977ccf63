from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.load import (
    Arrivals,
    Burst,
    Clients,
    Load,
    Saturated,
    StaticBatch,
    capacity,
    sequences_within,
    serve,
    serve_apart,
)
from penjing.cost.serving import (
    Instance,
    Traffic,
    prefill_latency_s,
    prefill_request_s,
    room,
    steady_state,
    token_s,
)

CHAT = Traffic(input_tokens=1024, output_tokens=512)
LONG = Traffic(input_tokens=16_384, output_tokens=1024)
traffics = st.builds(
    Traffic,
    input_tokens=st.integers(min_value=16, max_value=16_384),
    output_tokens=st.integers(min_value=16, max_value=8192),
    varied=st.booleans(),
)
loads: st.SearchStrategy[Load] = st.one_of(
    st.builds(Clients, concurrency=st.floats(1, 5000)),
    st.builds(Burst, requests=st.floats(1, 5000)),
    st.builds(Arrivals, per_s=st.floats(0.01, 100)),
    st.just(Saturated()),
    st.builds(StaticBatch, batch=st.floats(1, 5000)),
)


def with_room_for(instance: Instance, sequences: int) -> Instance:
    return replace(instance, engine=replace(instance.engine, max_sequences=sequences))


def saturated_per_s(instance: Instance, traffic: Traffic) -> float:
    """Requests a second that the instance can serve."""
    return serve(instance, traffic, Saturated()).output_tokens_per_s / traffic.output_tokens


@settings(deadline=None, max_examples=60)
@given(traffic=traffics, load=loads)
def test_whatever_arrives_is_seen_within_reason(
    small: Instance, traffic: Traffic, load: Load
) -> None:
    """Positive and finite, never more at a time than fit, never faster than a token alone."""
    seen = serve(small, traffic, load)
    fastest = float(token_s(small, 1.0, traffic.input_tokens))
    assert 0 < seen.output_tokens_per_s < float("inf")
    assert seen.tpot_s >= fastest * (1 - 1e-9)
    assert seen.ttft_s > 0
    assert seen.sequences <= max(1.0, capacity(small, traffic)) * (1 + 1e-9)


@settings(deadline=None, max_examples=60)
@given(traffic=traffics, load=loads)
def test_no_load_is_served_faster_than_a_full_house(
    small: Instance, traffic: Traffic, load: Load
) -> None:
    """But for a static batch, whose prefill no one else waits for, and a last wave alone."""
    full = serve(small, traffic, Saturated())
    seen = serve(small, traffic, load)
    if not isinstance(load, Burst | StaticBatch):
        assert seen.output_tokens_per_s <= full.output_tokens_per_s * (1 + 1e-9)


def test_memory_or_the_engine_limits_what_runs_at_a_time(small: Instance, r1: Instance) -> None:
    assert capacity(small, LONG) == room(small, LONG.context_tokens).max_sequences < 2048
    assert capacity(with_room_for(small, 16), LONG) == 16
    assert capacity(with_room_for(r1, 16), CHAT) == 16 * 16  # of each attention rank


def test_clients_see_the_steady_state(small: Instance) -> None:
    state, seen = steady_state(small, CHAT, 32.0), serve(small, CHAT, Clients(concurrency=32))
    assert (seen.tpot_s, seen.ttft_s) == (state.tpot_s, state.ttft_s)
    assert seen.output_tokens_per_s == state.output_tokens_per_s
    assert seen.sequences == 32


@settings(deadline=None, max_examples=40)
@given(traffic=traffics, clients=st.floats(min_value=1, max_value=10_000))
def test_clients_obey_littles_law(small: Instance, traffic: Traffic, clients: float) -> None:
    """Clients = rate x (wait + decoding); the wait is what the time to a first token gains."""
    instance = with_room_for(small, 64)
    seen = serve(instance, traffic, Clients(concurrency=clients))
    rate = seen.output_tokens_per_s / traffic.output_tokens
    unhindered = steady_state(instance, traffic, seen.sequences).ttft_s
    wait = seen.ttft_s - float(unhindered)
    assert rate * (wait + seen.tpot_s * traffic.output_tokens) == pytest.approx(clients)


def test_saturated_is_as_many_clients_as_fit(small: Instance) -> None:
    full = serve(small, CHAT, Saturated())
    assert full.sequences == capacity(small, CHAT)
    assert full == serve(small, CHAT, Clients(concurrency=full.sequences))
    more = serve(small, CHAT, Clients(concurrency=2 * full.sequences))
    assert more.output_tokens_per_s == full.output_tokens_per_s
    assert more.ttft_s > full.ttft_s


def test_rare_arrivals_are_served_alone(small: Instance) -> None:
    alone = steady_state(small, CHAT, 1.0)
    seen = serve(small, CHAT, Arrivals(per_s=1e-4))
    assert seen.output_tokens_per_s == pytest.approx(1e-4 * 512)
    assert seen.tpot_s == pytest.approx(float(alone.tpot_s), rel=1e-3)
    assert seen.sequences < 0.01
    latency = float(prefill_latency_s(small, 1.0, 1024))
    assert seen.ttft_s == pytest.approx(latency + float(alone.step_s) / 2, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(traffic=traffics, share=st.floats(min_value=0.01, max_value=0.95))
def test_arrivals_leave_as_fast_as_they_come(
    small: Instance, traffic: Traffic, share: float
) -> None:
    rate = share * saturated_per_s(small, traffic)
    seen = serve(small, traffic, Arrivals(per_s=rate))
    assert seen.output_tokens_per_s == pytest.approx(rate * traffic.output_tokens)
    # Little's law over those who run.
    assert seen.sequences == pytest.approx(rate * seen.tpot_s * traffic.output_tokens)


def test_more_arrivals_mean_more_waiting(small: Instance) -> None:
    top = saturated_per_s(small, LONG)
    seen = [serve(small, LONG, Arrivals(per_s=top * share)) for share in (0.1, 0.5, 0.8, 0.95)]
    for part in ("tpot_s", "ttft_s", "sequences"):
        values = [getattr(s, part) for s in seen]
        assert values == sorted(values)
        assert values[-1] > values[0]


@pytest.mark.parametrize("factor", [1.01, 2.0, 100.0])
def test_overload_saturates(small: Instance, factor: float) -> None:
    top = saturated_per_s(small, CHAT)
    seen = serve(small, CHAT, Arrivals(per_s=factor * top))
    assert seen.output_tokens_per_s == serve(small, CHAT, Saturated()).output_tokens_per_s


@pytest.mark.parametrize("traffic", [CHAT, LONG], ids=["chat", "long"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_arrivals_queue_as_a_birth_death_chain_does(
    small: Instance, traffic: Traffic, share: float
) -> None:
    """Room for 16: the chain summed over 10,000 states, and M/D/1 before the prefill server."""
    instance = with_room_for(small, 16)
    rate = share * saturated_per_s(instance, traffic)
    states = np.arange(1.0, 10_000.0)
    state = steady_state(instance, traffic, np.minimum(states, 16))
    served = np.asarray(state.output_tokens_per_s / traffic.output_tokens)
    weight = np.concatenate(([1.0], np.cumprod(rate / served)))[1:]
    weight /= weight.sum() + 1.0
    running = float(weight @ np.minimum(states, 16))
    waiting = float(weight @ np.maximum(states - 16, 0))
    busy = rate * prefill_request_s(instance, traffic.input_tokens)
    latency = float(prefill_latency_s(instance, 1.0, traffic.input_tokens))
    step = float(steady_state(instance, traffic, running).step_s)
    seen = serve(instance, traffic, Arrivals(per_s=rate))
    assert seen.sequences == pytest.approx(running, rel=0.01)
    queue = latency * (1 + busy / (2 * (1 - busy))) + step / 2
    assert seen.ttft_s == pytest.approx(queue + waiting / rate, rel=0.05)


def test_a_finite_run_of_too_many_is_a_burst_that_takes_time_to_come(small: Instance) -> None:
    """All are served as fast, and each has waited less by the time it came later."""
    rate = 2 * saturated_per_s(small, CHAT)
    burst = serve(small, CHAT, Burst(requests=10_000))
    seen = serve(small, CHAT, Arrivals(per_s=rate, requests=10_000))
    assert seen.output_tokens_per_s == burst.output_tokens_per_s
    assert seen.ttft_s == pytest.approx(burst.ttft_s - 9_999 / rate / 2)
    few = serve(small, CHAT, Arrivals(per_s=rate, requests=10))
    assert few.ttft_s == few.tpot_s  # at the least


def test_no_more_run_at_a_time_than_there_are(small: Instance) -> None:
    rate = 0.999 * saturated_per_s(small, CHAT)
    assert serve(small, CHAT, Arrivals(per_s=rate, requests=100)).sequences <= 100
    part = serve(small, CHAT, Arrivals(per_s=rate, requests=0.25))  # one request, four replicas
    assert 0 < part.sequences <= 1


def test_a_finite_run_has_a_tail(small: Instance) -> None:
    """It ends a latency after the last arrival, longer where lengths vary."""
    rate = 0.5 * saturated_per_s(small, CHAT)
    endless = serve(small, CHAT, Arrivals(per_s=rate))
    latency = endless.ttft_s + endless.tpot_s * 512
    finite = serve(small, CHAT, Arrivals(per_s=rate, requests=100))
    assert finite.output_tokens_per_s == pytest.approx(100 * 512 / (100 / rate + latency))
    varied = serve(small, replace(CHAT, varied=True), Arrivals(per_s=rate, requests=100))
    assert varied.output_tokens_per_s < finite.output_tokens_per_s
    long = serve(small, CHAT, Arrivals(per_s=rate, requests=1e9))
    assert long.output_tokens_per_s == pytest.approx(endless.output_tokens_per_s, rel=1e-6)


def test_a_burst_that_fits_by_hand(small: Instance) -> None:
    """All prompts, then all answers; on average a request waits for half of the prompts."""
    prefill = 8 * prefill_request_s(small, 1024)
    each = float(token_s(small, 8.0, CHAT.context_tokens))
    seen = serve(small, CHAT, Burst(requests=8))
    assert seen.output_tokens_per_s == pytest.approx(8 * 512 / (prefill + each * 512))
    assert seen.ttft_s == pytest.approx(prefill / 2 + each)
    assert seen.tpot_s == pytest.approx(each + prefill / 2 / 512)
    assert seen.sequences == 8


def test_a_burst_beyond_what_fits_goes_in_waves(small: Instance) -> None:
    instance = with_room_for(small, 8)
    one, four = (serve(instance, CHAT, Burst(requests=n)) for n in (8, 32))
    assert four.sequences == one.sequences == 8
    assert four.output_tokens_per_s == pytest.approx(one.output_tokens_per_s)
    length = 8 * 512 / one.output_tokens_per_s
    assert four.ttft_s == pytest.approx(one.ttft_s + 1.5 * length)


@settings(deadline=None, max_examples=30)
@given(
    requests=st.integers(min_value=16, max_value=4000),
    given_tokens=st.integers(min_value=16, max_value=4096),
    wanted=st.integers(min_value=64, max_value=8192),
)
def test_lengths_that_vary_make_a_burst_slower(
    small: Instance, requests: int, given_tokens: int, wanted: int
) -> None:
    """The chips idle while the longest answers end."""
    equal = Traffic(input_tokens=given_tokens, output_tokens=wanted)
    one, other = (
        serve(small, t, Burst(requests=requests)) for t in (equal, replace(equal, varied=True))
    )
    assert other.output_tokens_per_s < one.output_tokens_per_s


@pytest.mark.parametrize("longest", [None, 1024.0])
def test_a_varied_burst_thins_out_exponentially(small: Instance, longest: float | None) -> None:
    """After s tokens exp(-s/mean) of the answers run; the longest of n is mean (ln n + 0.58)."""
    varied = replace(CHAT, varied=True, longest_output=longest)
    seen = serve(small, varied, Burst(requests=200))
    position = np.linspace(0.0, longest or 512 * (np.log(200) + 0.58), 4001)
    alive = np.maximum(1.0, 200 * np.exp(-position / 512))
    steps = np.asarray(token_s(small, alive, 1024 + position))
    decoding = float(((steps[1:] + steps[:-1]) / 2 * np.diff(position)).sum())
    expected = 200 * prefill_request_s(small, 1024) + decoding
    assert 200 * 512 / seen.output_tokens_per_s == pytest.approx(expected, rel=1e-3)


def test_a_short_answer_of_a_burst_bears_more_of_its_prefills(small: Instance) -> None:
    """Half the prefills over the mean of 1/length: ln(mean / shortest) / mean, four at least."""
    varied = replace(CHAT, varied=True)
    prefill = 200 * prefill_request_s(small, 1024)
    full = float(token_s(small, 200.0, CHAT.context_tokens))
    stops = serve(small, varied, Burst(requests=200))
    assert stops.tpot_s - full == pytest.approx(prefill / 2 * np.log(512 / 4) / 512)
    # Decoding between chunks gives a token a chunk: half of the 25 chunks instead of four.
    mixing = replace(small, engine=replace(small.engine, mixes_prefill=True))
    mixes = serve(mixing, varied, Burst(requests=200))
    chunks = 200 * 1024 / 8192
    assert mixes.tpot_s - full == pytest.approx(prefill / 2 * np.log(512 / (chunks / 2)) / 512)


def test_later_waves_spread_their_prefills_evenly(small: Instance) -> None:
    """Of four waves the first waits for half its prefills, three bear one of each sequence."""
    instance = with_room_for(small, 8)
    prefill = 8 * prefill_request_s(small, 1024)
    full = float(token_s(small, 8.0, CHAT.context_tokens))
    seen = serve(instance, CHAT, Burst(requests=32))
    assert seen.tpot_s - full == pytest.approx(prefill / 512 * (0.5 / 4 + 3 / 4))


def test_a_static_batch_by_hand(small: Instance) -> None:
    """16 prompts of 1,024 in two passes of 8, then 512 tokens each, all together."""
    prefill = 2 * float(prefill_latency_s(small, 8.0, 1024))
    each = float(token_s(small, 16.0, CHAT.context_tokens))
    seen = serve(small, CHAT, StaticBatch(batch=16))
    assert seen.ttft_s == pytest.approx(prefill)
    assert seen.tpot_s == pytest.approx(each)
    assert seen.output_tokens_per_s == pytest.approx(16 * 512 / (prefill + 512 * each))


def test_a_static_batch_is_shared_by_attention_ranks(r1: Instance) -> None:
    """64 prompts on 16 ranks: four each, in one pass of 4,096 tokens."""
    seen = serve(r1, CHAT, StaticBatch(batch=64))
    assert seen.ttft_s == pytest.approx(float(prefill_latency_s(r1, 4.0, 1024)))


def test_a_static_batch_beyond_what_fits_takes_rounds(small: Instance) -> None:
    instance = with_room_for(small, 8)
    one, two = (serve(instance, CHAT, StaticBatch(batch=b)) for b in (8, 16))
    assert two.output_tokens_per_s == pytest.approx(one.output_tokens_per_s)
    assert two.sequences == 8


@settings(deadline=None, max_examples=30)
@given(traffic=traffics, tpot_s=st.floats(min_value=0.002, max_value=0.2))
def test_the_most_sequences_within_a_time_a_token(
    small: Instance, traffic: Traffic, tpot_s: float
) -> None:
    found = sequences_within(small, traffic, tpot_s)
    if found < 1:
        assert steady_state(small, traffic, 1.0).tpot_s > tpot_s
        return
    assert steady_state(small, traffic, found).tpot_s <= tpot_s * 1.03  # between grid points
    if found < 0.99 * capacity(small, traffic):
        assert steady_state(small, traffic, 1.05 * found).tpot_s >= tpot_s * 0.99


def test_the_least_time_a_token_allows_one_sequence(small: Instance) -> None:
    alone = float(steady_state(small, CHAT, 1.0).tpot_s)
    assert sequences_within(small, CHAT, alone) == 1.0
    assert 1.0 < sequences_within(small, CHAT, 1.0001 * alone) < 2.0
    assert sequences_within(small, CHAT, 0.9999 * alone) == 0.0
    assert sequences_within(small, CHAT, 1e9) == pytest.approx(capacity(small, CHAT))


def test_apart_decoding_is_shared_by_its_instances(small: Instance) -> None:
    """64 clients on four of them: 16 each, less those in prefill, which is a third busy."""
    seen = serve_apart(small, small, (2, 4), CHAT, clients=64)
    each = seen.sequences / 4
    assert 14 < each < 16
    assert seen.tpot_s == pytest.approx(float(token_s(small, each, CHAT.context_tokens)), rel=0.01)
    busy = seen.output_tokens_per_s / prefill_bound(small, 2, CHAT)
    prefill = float(prefill_latency_s(small, 1.0, 1024)) * (1 + busy / (2 * (1 - busy)))
    assert busy == pytest.approx(1 / 3, abs=0.05)
    assert seen.ttft_s == pytest.approx(prefill + seen.tpot_s / 2)


def prefill_bound(instance: Instance, count: int, traffic: Traffic) -> float:
    return count / prefill_request_s(instance, traffic.input_tokens) * traffic.output_tokens


def decode_bound(instance: Instance, count: int, traffic: Traffic) -> float:
    limit = max(1.0, capacity(instance, traffic))
    state = steady_state(instance, traffic, limit, disaggregated=True)
    return count * float(state.output_tokens_per_s)


@settings(deadline=None, max_examples=40)
@given(
    traffic=traffics,
    prefills=st.integers(min_value=1, max_value=8),
    decodes=st.integers(min_value=1, max_value=8),
    share=st.floats(min_value=0.001, max_value=4.0),
)
def test_apart_neither_side_is_outrun(
    small: Instance, traffic: Traffic, prefills: int, decodes: int, share: float
) -> None:
    """However many clients there are."""
    instance = with_room_for(small, 256)
    clients = max(1.0, share * capacity(instance, traffic) * decodes)
    seen = serve_apart(instance, instance, (prefills, decodes), traffic, clients)
    ceiling = min(
        prefill_bound(instance, prefills, traffic), decode_bound(instance, decodes, traffic)
    )
    assert seen.output_tokens_per_s <= ceiling * (1 + 1e-6)
    assert seen.sequences <= clients * (1 + 1e-9)


def test_overload_saturates_an_instance_of_one_sequence(small: Instance) -> None:
    instance = with_room_for(small, 1)
    top = saturated_per_s(instance, CHAT)
    seen = serve(instance, CHAT, Arrivals(per_s=1.3 * top))
    assert seen.output_tokens_per_s <= top * 512 * (1 + 1e-9)


def test_apart_the_slower_side_decides(small: Instance) -> None:
    """Long prompts and short answers: prefill is what lacks, and more of it helps."""
    prompts = Traffic(input_tokens=8192, output_tokens=32)
    one, four = (serve_apart(small, small, (n, 1), prompts, clients=64) for n in (1, 4))
    bound = prefill_bound(small, 1, prompts)
    assert 0.98 * bound < one.output_tokens_per_s < bound  # a queue before it is never empty
    assert four.output_tokens_per_s > 2 * one.output_tokens_per_s


@settings(deadline=None, max_examples=40)
@given(
    traffic=traffics,
    ratio=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    clients=st.floats(min_value=1, max_value=10_000),
)
def test_apart_clients_obey_littles_law(
    small: Instance, traffic: Traffic, ratio: tuple[int, int], clients: float
) -> None:
    """Whichever side is the slower, and whether or not decoding has room for all."""
    seen = serve_apart(small, with_room_for(small, 64), ratio, traffic, clients)
    rate = seen.output_tokens_per_s / traffic.output_tokens
    found = rate * (seen.ttft_s + traffic.output_tokens * seen.tpot_s)
    assert found == pytest.approx(clients, rel=1e-3)
