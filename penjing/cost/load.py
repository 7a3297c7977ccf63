"""How requests arrive, and what users of one instance then see.

Four loads cover what benchmarks do: a fixed number of clients, a burst of everything at once,
random arrivals at a rate, and a static batch. All are fluid approximations: lengths are taken at
their means, and a queue is first come, first served.
"""

from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from penjing.cost.serving import (
    Instance,
    Traffic,
    decode_step_s,
    prefill_latency_s,
    prefill_request_s,
    room,
    steady_state,
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
    """Poisson arrivals of ``per_s`` requests a second."""

    per_s: float


@dataclass(frozen=True, kw_only=True)
class Saturated:
    """Always more requests than fit."""


@dataclass(frozen=True, kw_only=True)
class StaticBatch:
    """``batch`` requests prefilled together, then decoded together to the end."""

    batch: float


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
        case Arrivals(per_s=rate):
            return _arrivals(instance, traffic, rate, limit)
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


def _clients(instance: Instance, traffic: Traffic, clients: float, limit: float) -> Seen:
    running = min(clients, limit)
    state = steady_state(instance, traffic, running)
    tpot, ttft = float(state.tpot_s), float(state.ttft_s)
    if clients > limit:
        # Little's law: who does not run waits, so that all clients together see this rate.
        ttft += (clients - limit) * tpot * traffic.output_tokens / limit
    return Seen(output_tokens_per_s=running / tpot, tpot_s=tpot, ttft_s=ttft, sequences=running)


def _burst(instance: Instance, traffic: Traffic, requests: float, limit: float) -> Seen:
    """Waves of what fits: prefill of the wave, then its decoding; later waves refill as it ends."""
    wave = min(requests, limit)
    step = float(decode_step_s(instance, wave, traffic.context_tokens)) / instance.accepted
    prefill = wave * prefill_request_s(instance, traffic.input_tokens)
    waves = max(1.0, requests / wave)
    length = prefill + step * traffic.output_tokens
    waiting = (waves - 1) / 2 * length
    # Chunked prefill runs beside decoding: a token waits for the prefill that is still to come.
    tpot = step + prefill / 2 / traffic.output_tokens
    return Seen(
        output_tokens_per_s=requests * traffic.output_tokens / (waves * length),
        tpot_s=tpot,
        ttft_s=waiting + prefill / 2 + step,
        sequences=wave,
    )


def _arrivals(instance: Instance, traffic: Traffic, rate: float, limit: float) -> Seen:
    """Running sequences settle where throughput meets the arrival rate."""
    grid = np.unique(np.geomspace(1.0, max(limit, 1.0), 48))
    state = steady_state(instance, traffic, grid)
    throughput = np.asarray(state.output_tokens_per_s)
    wanted = rate * traffic.output_tokens
    best = np.maximum.accumulate(throughput)
    if wanted >= best[-1]:
        return _clients(instance, traffic, limit, limit)
    running = max(1e-3, float(np.interp(wanted, best, grid)))
    if wanted < best[0]:  # less than one at a time
        running = 1.0
    seen = _clients(instance, traffic, running, limit)
    busy = min(0.95, rate * prefill_request_s(instance, traffic.input_tokens))
    latency = float(prefill_latency_s(instance, 1.0, traffic.input_tokens))
    step = float(decode_step_s(instance, running, traffic.context_tokens))
    queue = latency * (1 + busy / (2 * (1 - busy))) + step / 2  # M/D/1 for the prefill server
    return replace(seen, output_tokens_per_s=wanted, ttft_s=queue)


def _static(instance: Instance, traffic: Traffic, batch: float, limit: float) -> Seen:
    running = min(batch, limit)
    rounds = np.ceil(batch / running)
    rank = running / instance.layout.data
    chunk = max(1.0, min(rank, instance.engine.prefill_tokens // max(traffic.input_tokens, 1.0)))
    passes = np.ceil(rank / chunk)
    prefill = float(prefill_latency_s(instance, chunk, traffic.input_tokens)) * passes
    step = float(decode_step_s(instance, running, traffic.context_tokens)) / instance.accepted
    total = (prefill + step * traffic.output_tokens) * rounds
    return Seen(
        output_tokens_per_s=float(batch * traffic.output_tokens / total),
        tpot_s=step,
        ttft_s=float(prefill),
        sequences=running,
    )


def serve_apart(
    prefill: Instance, decode: Instance, ratio: tuple[int, int], traffic: Traffic, clients: float
) -> Seen:
    """Disaggregated: ``ratio`` prefill to decode instances share ``clients``; whole deployment.

    The rate at which clients come round fixes the load of both sides; three rounds settle it.
    """
    prefills, decodes = ratio
    latency = float(prefill_latency_s(prefill, 1.0, traffic.input_tokens))
    cost = prefill_request_s(prefill, traffic.input_tokens) / prefills
    limit = max(1.0, capacity(decode, traffic)) * decodes
    running, ttft = min(clients, limit), latency
    for _ in range(3):
        step = float(decode_step_s(decode, max(1.0, running / decodes), traffic.context_tokens))
        tpot = step / decode.accepted
        rate = min(clients / (ttft + tpot * traffic.output_tokens), 1.0 / cost)
        busy = min(0.95, rate * cost)
        ttft = latency * (1 + busy / (2 * (1 - busy))) + step / 2
        running = min(limit, rate * tpot * traffic.output_tokens)
    return Seen(
        output_tokens_per_s=rate * traffic.output_tokens,
        tpot_s=tpot,
        ttft_s=ttft,
        sequences=running,
    )
