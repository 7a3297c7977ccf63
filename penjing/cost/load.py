"""How requests arrive, and what users of one instance then see.

Four loads cover what benchmarks do: a fixed number of clients, a burst of everything at once,
random arrivals at a rate, and a static batch. All are fluid approximations: lengths are taken at
their means, and a queue is first come, first served.
"""

from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from penjing.cost.serving import (
    Instance,
    Traffic,
    decode_step_s,
    prefill_latency_s,
    prefill_request_s,
    room,
    steady_state,
    token_s,
)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """``concurrency`` clients, each with one request in flight."""

    concurrency: float


@dataclass(frozen=True, kw_only=True)
class Burst:
    """All ``requests`` arrive at once."""

    requests: float


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Poisson arrivals of ``per_s`` requests a second, ``requests`` in all."""

    per_s: float
    requests: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Saturated:
    """Always more requests than fit."""


@dataclass(frozen=True, kw_only=True)
class StaticBatch:
    """``batch`` requests prefilled together, then decoded together to the end."""

    batch: float


SHORTEST_TOKENS = 4.0  # of varied lengths: nobody answers in less

Load = Clients | Burst | Arrivals | Saturated | StaticBatch


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Means over the requests of one instance."""

    output_tokens_per_s: float
    tpot_s: float
    ttft_s: float
    sequences: float  # running at a time


def serve(instance: Instance, traffic: Traffic, load: Load) -> Seen:
    """What ``load`` meets; a batch that memory or the engine caps makes the rest wait."""
    limit = max(1.0, capacity(instance, traffic))
    match load:
        case Clients(concurrency=c):
            return _clients(instance, traffic, c, limit)
        case Burst(requests=n):
            return _burst(instance, traffic, n, limit)
        case Arrivals():
            return _arrivals(instance, traffic, load, limit)
        case Saturated():
            return _clients(instance, traffic, limit, limit)
        case StaticBatch(batch=b):
            return _static(instance, traffic, b, limit)
        case _:
            assert_never(load)


def capacity(instance: Instance, traffic: Traffic) -> float:
    """Sequences that run at a time: pages are taken as they are needed, so the mean counts."""
    fits = room(instance, traffic.context_tokens).max_sequences
    return min(fits, instance.engine.max_sequences * instance.layout.data)


def sequences_within(instance: Instance, traffic: Traffic, tpot_s: float) -> float:
    """The most sequences at which a token still takes ``tpot_s`` at most; below 1: none."""
    grid = np.unique(np.geomspace(1.0, max(2.0, capacity(instance, traffic)), 64))
    reached = np.asarray(steady_state(instance, traffic, grid).tpot_s)
    return float(np.interp(tpot_s, reached, grid)) if reached[0] <= tpot_s else 0.0


def _clients(instance: Instance, traffic: Traffic, clients: float, limit: float) -> Seen:
    running = min(clients, limit)
    state = steady_state(instance, traffic, running)
    tpot, ttft = float(state.tpot_s), float(state.ttft_s)
    if clients > limit:
        # Little's law: who does not run waits, so that all clients together see this rate.
        ttft += (clients - limit) * tpot * traffic.output_tokens / limit
    return Seen(output_tokens_per_s=running / tpot, tpot_s=tpot, ttft_s=ttft, sequences=running)


def _burst(instance: Instance, traffic: Traffic, requests: float, limit: float) -> Seen:
    """Waves of what fits: prefill of a wave, then its decoding; later waves refill as it ends.

    With varied lengths the last wave thins out: exponential lengths, so that a share exp(-s/mean)
    is still alive s tokens in, and the longest of n is about mean * (ln n + 0.58).
    """
    wave, mean = min(requests, limit), traffic.output_tokens
    prefill = wave * prefill_request_s(instance, traffic.input_tokens)
    full = float(token_s(instance, wave, traffic.context_tokens))
    waves = max(1.0, requests / wave)
    length = prefill + full * mean
    last = prefill + (_thinning_s(instance, traffic, wave) if traffic.varied else full * mean)
    # In the first wave a token waits for the prefills still to come, in later ones they are
    # spread evenly over the tokens.
    first = prefill / 2 * _mean_inverse(instance, traffic, wave)
    stolen = first / waves + prefill / mean * (1 - 1 / waves)
    return Seen(
        output_tokens_per_s=requests * mean / ((waves - 1) * length + last),
        tpot_s=full + stolen,
        ttft_s=(waves - 1) / 2 * length + prefill / 2 + full,
        sequences=wave,
    )


def _mean_inverse(instance: Instance, traffic: Traffic, wave: float) -> float:
    """Mean of 1/length over requests: ln(mean / shortest) / mean for exponential lengths.

    An engine that decodes between chunks of prefill gives a token a chunk meanwhile, which takes
    the place of the shortest length.
    """
    mean = traffic.output_tokens
    if not traffic.varied:
        return 1.0 / mean
    shortest = SHORTEST_TOKENS
    if instance.engine.mixes_prefill:
        tokens = wave / instance.layout.data * traffic.input_tokens
        shortest = max(shortest, tokens / instance.engine.prefill_tokens / 2)
    return float(np.log(max(mean / shortest, np.e)) / mean)


def _thinning_s(instance: Instance, traffic: Traffic, wave: float) -> float:
    """Seconds to decode a wave of exponential lengths until its longest request ends."""
    mean = traffic.output_tokens
    longest = mean * (np.log(wave) + 0.58)
    if traffic.longest_output is not None:
        longest = min(longest, traffic.longest_output)
    position = np.linspace(0.0, max(longest, mean), 65)
    alive = np.maximum(1.0, wave * np.exp(-position / mean))
    each = np.asarray(token_s(instance, alive, traffic.input_tokens + position))
    return float(np.trapezoid(each, position))


def _arrivals(instance: Instance, traffic: Traffic, load: Arrivals, limit: float) -> Seen:
    """Steady where the rate can be served; else a queue that grows until the last request."""
    grid = np.unique(np.geomspace(1.0, limit, 48))
    state = steady_state(instance, traffic, grid)
    served = np.maximum.accumulate(np.asarray(state.output_tokens_per_s)) / traffic.output_tokens
    if load.per_s < served[-1]:
        return _finite(_chain(instance, traffic, load, limit, grid, served), traffic, load)
    if load.requests == float("inf"):
        return _clients(instance, traffic, limit, limit)
    return _overload(instance, traffic, load, limit)


def _overload(instance: Instance, traffic: Traffic, load: Arrivals, limit: float) -> Seen:
    """As a burst, but that the requests come over a time in which part of them is served."""
    burst = _burst(instance, traffic, load.requests, limit)
    early = (load.requests - 1) / load.per_s / 2  # what a request comes later than in a burst
    return replace(burst, ttft_s=max(burst.ttft_s - early, burst.tpot_s))


def _chain(
    instance: Instance,
    traffic: Traffic,
    load: Arrivals,
    limit: float,
    grid: NDArray[np.float64],
    served: NDArray[np.float64],
) -> Seen:
    """Requests in the system as a birth-death chain: born at a rate, served at X(n) / output.

    X(n) is the steady throughput with n running, ``served`` at the points of ``grid``; beyond
    ``limit`` requests wait, and no more are in the system than come in all. Product-form
    stationary distribution; means by Little's law.
    """
    rate = load.per_s
    states = np.arange(1.0, 1 + max(1.0, min(np.ceil(4 * limit) + 1, load.requests)))
    service = np.interp(states, grid, served)
    log_weight = np.concatenate(([0.0], np.cumsum(np.log(rate / service))))
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    count = np.concatenate(([0.0], states))
    admitted = rate * (1.0 - float(weight[-1]))  # whoever comes to a full house is not
    running = float(weight @ np.minimum(count, limit))
    waiting = float(weight @ np.maximum(count - limit, 0.0))
    busy = min(0.95, rate * prefill_request_s(instance, traffic.input_tokens))
    latency = float(prefill_latency_s(instance, 1.0, traffic.input_tokens))
    step = float(decode_step_s(instance, max(1.0, running), traffic.context_tokens))
    queue = latency * (1 + busy / (2 * (1 - busy))) + step / 2  # M/D/1 for the prefill server
    return Seen(
        output_tokens_per_s=rate * traffic.output_tokens,
        tpot_s=running / admitted / traffic.output_tokens,
        ttft_s=queue + waiting / admitted,
        sequences=running,
    )


def _finite(seen: Seen, traffic: Traffic, load: Arrivals) -> Seen:
    """A run ends when its last request does, one latency after the last arrival."""
    if load.requests == float("inf"):
        return seen
    tokens = load.requests * traffic.output_tokens
    latency = seen.ttft_s + seen.tpot_s * traffic.output_tokens
    longest = latency * (np.log(max(load.requests, np.e)) if traffic.varied else 1.0)
    duration = max(load.requests / load.per_s, tokens / seen.output_tokens_per_s) + longest
    return replace(seen, output_tokens_per_s=float(tokens / duration))


def _static(instance: Instance, traffic: Traffic, batch: float, limit: float) -> Seen:
    running = min(batch, limit)
    rounds = np.ceil(batch / running)
    rank = running / instance.layout.data
    chunk = max(1.0, min(rank, instance.engine.prefill_tokens // max(traffic.input_tokens, 1.0)))
    passes = np.ceil(rank / chunk)
    prefill = float(prefill_latency_s(instance, chunk, traffic.input_tokens)) * passes
    each = float(token_s(instance, running, traffic.context_tokens))
    total = (prefill + each * traffic.output_tokens) * rounds
    return Seen(
        output_tokens_per_s=float(batch * traffic.output_tokens / total),
        tpot_s=each,
        ttft_s=float(prefill),
        sequences=running,
    )


def serve_apart(
    prefill: Instance, decode: Instance, ratio: tuple[int, int], traffic: Traffic, clients: float
) -> Seen:
    """Disaggregated: ``ratio`` prefill to decode instances share ``clients``; whole deployment.

    A client is decoding, prefilling or waiting. The number that decodes, up to what has room,
    fixes the rate; the rate fixes how long the others wait for prefill (M/D/1). The number is
    found at which all add up to ``clients``; who finds no room waits before prefill.
    """
    prefills, decodes = ratio
    limit = max(1.0, capacity(decode, traffic))
    grid = np.unique(np.geomspace(1.0, limit, 48))
    steps = np.asarray(decode_step_s(decode, grid, traffic.context_tokens))
    latency = float(prefill_latency_s(prefill, 1.0, traffic.input_tokens))
    cost = prefill_request_s(prefill, traffic.input_tokens) / prefills

    def with_decoding(running: float) -> Seen:
        step = float(np.interp(running / decodes, grid, steps))
        tpot = step / float(decode.accepted)
        busy = running / (tpot * traffic.output_tokens) * cost
        wait = busy / (2 * (1 - busy)) if busy < 1 else float("inf")
        return Seen(
            output_tokens_per_s=running / tpot,
            tpot_s=tpot,
            ttft_s=latency * (1 + wait) + step / 2,
            sequences=running,
        )

    def unplaced(seen: Seen) -> float:
        """Clients that neither decode nor prefill; below zero: there are too few for ``seen``."""
        rate = seen.output_tokens_per_s / traffic.output_tokens
        return clients - seen.sequences - rate * seen.ttft_s

    low, high = 0.0, min(clients, limit * decodes)
    seen = with_decoding(high)
    if unplaced(seen) < 0:
        for _ in range(60):
            middle = (low + high) / 2
            enough = unplaced(with_decoding(middle)) >= 0
            low, high = (middle, high) if enough else (low, middle)
        return with_decoding(low)
    rate = seen.output_tokens_per_s / traffic.output_tokens
    return replace(seen, ttft_s=seen.ttft_s + unplaced(seen) / rate)
