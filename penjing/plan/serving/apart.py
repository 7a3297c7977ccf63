"""Disaggregated serving: some instances prefill, others decode, in one pool or across two.

Every prefill instance is paired with every decode instance that keeps the cache in the same
format, in every ratio the chips allow. The side that is slower sets the rate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penjing.cost.layout import Layout
from penjing.cost.memory import cache_bytes
from penjing.cost.network import NETWORK_EFFICIENCY, NETWORK_OVERHEAD_S
from penjing.cost.serving import Traffic
from penjing.errors import Unpublished
from penjing.hardware.chip import Chip
from penjing.plan.job import Objective, ServeJob
from penjing.plan.price import Price
from penjing.plan.serving.choice import Choice, Group, Role, decode_power_w, prefill_power_w
from penjing.plan.serving.sweep import Pool, Sweep

# Prefill runs no fuller than this, or its queue would grow without bound. Assumed.
MOST_BUSY = 0.9
DENSE = 256  # counts of prefill instances tried one by one; above, steps of a few per cent
KEPT = 4  # best pairs kept of each pair of pools


@dataclass(frozen=True, kw_only=True, eq=False)
class Prefill:
    """One side: requests a second of an instance, seconds until its first token, cost a chip."""

    sweep: Sweep
    requests_per_s: float
    latency_s: float
    cost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Decode:
    """The other side at its best point within the limit."""

    sweep: Sweep
    depth: int
    requests_per_s: float
    token_s: float
    step_s: float
    cost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Decodes:
    """Decode sides as columns."""

    sides: Sequence[Decode]
    chips: NDArray[np.int64]
    requests_per_s: NDArray[np.float64]
    token_s: NDArray[np.float64]
    step_s: NDArray[np.float64]
    cost: NDArray[np.float64]

    @classmethod
    def of(cls, sides: Sequence[Decode]) -> "Decodes":
        return cls(
            sides=sides,
            chips=np.array([d.sweep.layout.chips for d in sides]),
            requests_per_s=np.array([d.requests_per_s for d in sides]),
            token_s=np.array([d.token_s for d in sides]),
            step_s=np.array([d.step_s for d in sides]),
            cost=np.array([d.cost for d in sides]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """``ahead`` prefill instances feed ``behind`` decode instances at ``requests_per_s`` in all."""

    worth: float
    prefill: Prefill
    decode: Decode
    ahead: int
    behind: int
    requests_per_s: float


def apart(
    fore: Sequence[Sweep],
    aft: Sequence[Sweep],
    job: ServeJob,
    traffic: Traffic,
    prices: dict[Chip, Price],
) -> list[Choice]:
    """The best few pairs of a prefill side from ``fore`` and a decode side from ``aft``.

    Raises ``Unpublished`` where no link between the two is known.
    """
    if not fore or not aft:
        return []
    pairs: list[Pair] = []
    for cache in dict.fromkeys(sweep.storage.cache for sweep in fore):
        same = [s for s in fore if s.storage.cache == cache]
        transfer = transfer_s(same[0], aft[0], traffic)
        decodes = list(_decodes(aft, cache, job, traffic, prices))
        if not decodes:
            continue
        columns = Decodes.of(decodes)
        for prefill in _prefills(same, job, traffic, prices):
            pairs += _pairs(prefill, columns, job, traffic, transfer)
    best = sorted(pairs, key=lambda pair: -pair.worth)[:KEPT]
    return [_choice(pair, traffic) for pair in best]


def transfer_s(fore: Sweep, aft: Sweep, traffic: Traffic) -> float:
    """Seconds to hand over the cache of one prompt: one chip's link, the slower of the two."""
    numerics = fore.storage.numerics
    model = fore.instance.model
    size = float(cache_bytes(model, Layout(), numerics.cache, 1.0, traffic.input_tokens))
    one = fore.pool is aft.pool
    rates = [_link_bytes_per_s(fore.pool, one), _link_bytes_per_s(aft.pool, one)]
    return NETWORK_OVERHEAD_S + size / (min(rates) * NETWORK_EFFICIENCY)


def _link_bytes_per_s(pool: Pool, one: bool) -> float:
    """The fabric where ``one`` pool is a single node; chips of two kinds share no node."""
    topology = pool.hardware.topology
    inside = one and pool.chips <= topology.node_chips
    try:
        return topology.fabric_bytes_per_s if inside else topology.network_bytes_per_s
    except Unpublished:
        return topology.network_bytes_per_s


def _prefills(
    sweeps: Sequence[Sweep], job: ServeJob, traffic: Traffic, prices: dict[Chip, Price]
) -> Iterator[Prefill]:
    for sweep in sweeps:
        latency = sweep.steady.prefill_latency_s
        if latency <= (job.ttft_limit_s or np.inf):
            yield Prefill(
                sweep=sweep,
                requests_per_s=1.0 / sweep.steady.prefill_s,
                latency_s=latency,
                cost=_chip_cost(sweep, Role.PREFILL, 1.0, 0, job, traffic, prices),
            )


def _decodes(
    sweeps: Sequence[Sweep],
    cache: str,
    job: ServeJob,
    traffic: Traffic,
    prices: dict[Chip, Price],
) -> Iterator[Decode]:
    for sweep in sweeps:
        token = np.asarray(sweep.decode_token_s)
        kept = token <= (job.tpot_limit_s or np.inf)
        if sweep.storage.cache != cache or not kept.any():
            continue
        sequences = np.asarray(sweep.steady.sequences)
        quick = job.objective is Objective.LATENCY
        worth = np.where(kept, -token if quick else sequences / token, -np.inf)
        depth, batch = np.unravel_index(int(worth.argmax()), worth.shape)
        running = float(sequences[0, batch])
        yield Decode(
            sweep=sweep,
            depth=int(depth),
            requests_per_s=running / float(token[depth, batch]) / traffic.output_tokens,
            token_s=float(token[depth, batch]),
            step_s=float(np.asarray(sweep.steady.step_s)[depth, batch]),
            cost=_chip_cost(sweep, Role.DECODE, running, int(depth), job, traffic, prices),
        )


def _chip_cost(
    sweep: Sweep,
    role: Role,
    sequences: float,
    depth: int,
    job: ServeJob,
    traffic: Traffic,
    prices: dict[Chip, Price],
) -> float:
    """What one chip counts for in the objective: dollars, watts, or nothing."""
    chip = sweep.pool.hardware.chip
    match job.objective:
        case Objective.USD:
            return prices[chip].usd_per_h if chip in prices else float("inf")
        case Objective.WATT:
            instance = sweep.at(depth)
            if role is Role.PREFILL:
                watts = prefill_power_w(instance, traffic)
            else:
                watts = decode_power_w(instance, traffic, sequences)
            return float("inf") if watts is None else float(watts)
        case _:
            return 0.0


def _pairs(
    prefill: Prefill, decodes: Decodes, job: ServeJob, traffic: Traffic, transfer: float
) -> list[Pair]:
    """The best ratio of one prefill side with each decode side, the best of those kept."""
    counts = _counts(prefill, decodes)
    if counts is None:
        return []
    ahead, behind = counts  # prefill instances (rows), decode instances (rows x columns)
    slack = np.full(len(decodes.sides), MOST_BUSY)
    if job.ttft_limit_s is not None:
        slack = _busy_within(job.ttft_limit_s - transfer - decodes.step_s / 2, prefill.latency_s)
    can_prefill = ahead[:, None] * prefill.requests_per_s * slack
    rate = np.minimum(can_prefill, behind * decodes.requests_per_s)
    rate = np.where(behind > 0, rate, 0.0)
    match job.objective:
        case Objective.THROUGHPUT:
            worth = rate
        case Objective.LATENCY:
            total = prefill.latency_s + decodes.step_s / 2 + decodes.token_s * traffic.output_tokens
            worth = np.where(rate > 0, -total, -np.inf)
        case _:
            spent = ahead[:, None] * prefill.sweep.layout.chips * prefill.cost
            # A chip without the figure costs infinity; where none decodes the rate is 0 anyway.
            spent = spent + np.maximum(behind, 1) * decodes.chips * decodes.cost
            worth = rate / np.maximum(spent, 1e-30)
    found = []
    for column in np.argsort(-worth.max(axis=0))[:KEPT]:
        row = int(worth[:, column].argmax())
        if rate[row, column] > 0:
            found.append(
                Pair(
                    worth=float(worth[row, column]),
                    prefill=prefill,
                    decode=decodes.sides[column],
                    ahead=int(ahead[row]),
                    behind=int(behind[row, column]),
                    requests_per_s=float(rate[row, column]),
                )
            )
    return found


def _counts(
    prefill: Prefill, decodes: Decodes
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """How many prefill instances (one axis), and how many decode instances go with them."""
    fore, aft = prefill.sweep.pool, decodes.sides[0].sweep.pool
    each = prefill.sweep.layout.chips
    if fore is not aft:
        ahead = np.array([fore.chips // each])
        return ahead, np.broadcast_to(aft.chips // decodes.chips, (1, len(decodes.sides)))
    ahead = _shares((fore.chips - 1) // each)
    if not len(ahead):
        return None
    return ahead, (fore.chips - ahead[:, None] * each) // decodes.chips


def _shares(most: int) -> NDArray[np.int64]:
    """Counts from one to ``most``: all of a few, of many as many again spread geometrically."""
    few = np.arange(1, min(most, DENSE) + 1)
    if most <= DENSE:
        return few
    return np.unique(np.concatenate((few, np.geomspace(DENSE, most, DENSE).astype(np.int64))))


def _busy_within(left_s: NDArray[np.float64], latency_s: float) -> NDArray[np.float64]:
    """How busy prefill may be for M/D/1 waiting to stay within ``left_s``: 0 where it cannot."""
    wait = left_s / latency_s - 1.0  # busy / (2 (1 - busy))
    return np.where(wait > 0, np.minimum(MOST_BUSY, 2 * wait / (1 + 2 * wait)), 0.0)


def _choice(pair: Pair, traffic: Traffic) -> Choice:
    prefill, decode = pair.prefill, pair.decode
    transfer = transfer_s(prefill.sweep, decode.sweep, traffic)
    busy = pair.requests_per_s / (pair.ahead * prefill.requests_per_s)
    sequences, token, step = _running(decode, pair.requests_per_s / pair.behind, traffic)
    wait = prefill.latency_s * (1 + busy / (2 * (1 - busy)))
    groups = (
        Group(
            role=Role.PREFILL,
            sweep=prefill.sweep,
            depth=0,
            count=pair.ahead,
            sequences=1.0,
            prefill_share=1.0,
            idle_share=1.0 - busy,
        ),
        Group(
            role=Role.DECODE,
            sweep=decode.sweep,
            depth=decode.depth,
            count=pair.behind,
            sequences=sequences,
            prefill_share=0.0,
        ),
    )
    return Choice(
        groups=groups,
        tokens_per_s=pair.requests_per_s * traffic.output_tokens,
        tpot_s=token,
        ttft_s=wait + transfer + step / 2,
        transfer_s=transfer,
    )


def _running(decode: Decode, rate: float, traffic: Traffic) -> tuple[float, float, float]:
    """Sequences in flight at ``rate`` requests a second, with token and step seconds there."""
    steady = decode.sweep.steady
    token = np.asarray(decode.sweep.decode_token_s)[decode.depth]
    step = np.asarray(steady.step_s)[decode.depth]
    sequences = np.asarray(steady.sequences)[0]
    served = np.maximum.accumulate(sequences / token) / traffic.output_tokens
    # Below the rate of one sequence that never rests, one runs for a part of the time.
    running = float(np.interp(rate, [0.0, *served], [0.0, *sequences]))
    return (
        running,
        float(np.interp(running, sequences, token)),
        float(np.interp(running, sequences, step)),
    )
