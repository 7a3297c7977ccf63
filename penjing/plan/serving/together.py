"""Aggregated serving: every instance prefills and decodes."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from penjing.cost.serving import Traffic
from penjing.plan.job import Objective, ServeJob
from penjing.plan.serving.choice import Choice, Group, Role, decode_power_w, prefill_power_w
from penjing.plan.serving.sweep import Misfit, Sweep

MISSES_TPOT = "time per output token over the limit"
MISSES_TTFT = "time to first token over the limit"


def together(sweep: Sweep, job: ServeJob, traffic: Traffic) -> Choice | Misfit:
    """The best point of one sweep within the limits, on as many instances as the pool holds."""
    tpot, ttft = np.asarray(sweep.steady.tpot_s), np.asarray(sweep.steady.ttft_s)
    fast = tpot <= (job.tpot_limit_s or np.inf)
    kept = fast & (ttft <= (job.ttft_limit_s or np.inf))
    if not kept.any():
        reason, reached = (MISSES_TTFT, ttft[fast]) if fast.any() else (MISSES_TPOT, tpot)
        return Misfit(
            layout=sweep.layout,
            storage=sweep.storage,
            reason=reason,
            reached_s=float(reached.min()),
        )
    worth = np.where(kept, _worth(sweep, job.objective, traffic), -np.inf)
    depth, batch = np.unravel_index(int(worth.argmax()), worth.shape)
    return choice_at(sweep, int(depth), int(batch), traffic)


def choice_at(sweep: Sweep, depth: int, batch: int, traffic: Traffic) -> Choice:
    """The choice at one cell of the sweep."""
    count = sweep.pool.chips // sweep.layout.chips
    tpot = float(np.asarray(sweep.steady.tpot_s)[depth, batch])
    sequences = float(np.asarray(sweep.steady.sequences)[0, batch])
    stolen = sequences * sweep.steady.prefill_s / traffic.output_tokens
    group = Group(
        role=Role.SERVE,
        sweep=sweep,
        depth=depth,
        count=count,
        sequences=sequences,
        prefill_share=stolen / tpot,
    )
    return Choice(
        groups=(group,),
        tokens_per_s=sequences / tpot * count,
        tpot_s=tpot,
        ttft_s=float(np.asarray(sweep.steady.ttft_s)[depth, batch]),
    )


def side_by_side(choices: Iterable[Choice]) -> Choice:
    """Pools that serve next to each other: rates add up, latencies are the worst."""
    parts = tuple(choices)
    return Choice(
        groups=tuple(group for part in parts for group in part.groups),
        tokens_per_s=sum(part.tokens_per_s for part in parts),
        tpot_s=max(part.tpot_s for part in parts),
        ttft_s=max(part.ttft_s for part in parts),
        transfer_s=max(part.transfer_s for part in parts),
    )


def _worth(sweep: Sweep, objective: Objective, traffic: Traffic) -> NDArray[np.float64]:
    """More is better, within one layout: its chips are the same at every point."""
    steady = sweep.steady
    rate = np.asarray(steady.output_tokens_per_s)
    match objective:
        case Objective.THROUGHPUT | Objective.USD:
            return rate
        case Objective.WATT:
            prefill = prefill_power_w(sweep.instance, traffic)
            decode = decode_power_w(sweep.instance, traffic, steady.sequences)
            if prefill is None or decode is None:
                return rate
            share = rate / traffic.output_tokens * steady.prefill_s
            return rate / np.asarray(share * prefill + (1 - share) * decode)
        case Objective.LATENCY:
            total = steady.ttft_s + steady.tpot_s * traffic.output_tokens
            return -np.asarray(total)
