"""Every way to serve a model on a budget, ranked."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from penjing.cost.engine import Engine, engine_named
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Traffic
from penjing.errors import Unpublished
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.models.config import ModelConfig
from penjing.plan.job import ServeJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import AUTO, storages
from penjing.plan.price import Price
from penjing.plan.serving.apart import apart
from penjing.plan.serving.choice import Choice, score
from penjing.plan.serving.sweep import Misfit, Pool, Sweep, sweep
from penjing.plan.serving.together import side_by_side, together

# Not of a layout but of two pools, and so not one of the layouts tried.
NO_HANDOVER = "prefill apart from decode: bandwidth between nodes is not published"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the search may try; names as on the command line."""

    weights: str = AUTO
    cache: str = AUTO
    engine: str = AUTO


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Choices best first; what was looked at; what fell, and why."""

    choices: tuple[Choice, ...]
    layouts: int  # layouts x number formats
    points: int  # those x draft depths x batch sizes
    misfits: tuple[Misfit, ...]

    @property
    def infeasible(self) -> Counter[str]:
        return Counter(misfit.reason for misfit in self.misfits)


def search_serving(
    model: ModelConfig,
    job: ServeJob,
    budget: Budget,
    limits: Limits,
    prices: dict[Chip, Price],
) -> Found:
    """All layouts, formats, draft depths and batches; one pool or several, together or apart."""
    traffic = traffic_of(job)
    pools = [_pool(cluster.chip, cluster.count, limits) for cluster in budget.clusters]
    tried = [_sweeps(model, pool, limits, traffic) for pool in pools]
    sweeps = [[s for s in part if isinstance(s, Sweep)] for part in tried]
    misfits = [s for part in tried for s in part if isinstance(s, Misfit)]
    choices: list[Choice] = []
    per_pool: list[list[Choice]] = []
    for part in sweeps:
        outcomes = [together(s, job, traffic) for s in part]
        misfits += [o for o in outcomes if isinstance(o, Misfit)]
        per_pool.append([o for o in outcomes if isinstance(o, Choice)])
        choices += per_pool[-1]
    for fore in sweeps:
        for aft in sweeps:
            try:
                choices += apart(fore, aft, job, traffic, prices)
            except Unpublished as error:
                misfits.append(
                    Misfit(
                        layout=fore[0].layout,
                        storage=fore[0].storage,
                        reason=NO_HANDOVER,
                        unpublished=str(error),
                    )
                )
    choices += _beside(per_pool, job, traffic, prices)
    ranked = sorted(choices, key=lambda c: -score(c, job.objective, traffic, prices))
    return Found(
        choices=tuple(ranked),
        layouts=sum(len(part) for part in tried),
        points=sum(np.size(s.steady.tpot_s) for part in sweeps for s in part),
        misfits=tuple(misfits),
    )


def traffic_of(job: ServeJob) -> Traffic:
    return Traffic(input_tokens=float(job.input_tokens), output_tokens=float(job.output_tokens))


def engine_for(chip: Chip, name: str) -> Engine:
    """The engine named, or the one people run on such a chip."""
    if name != AUTO:
        return engine_named(name)
    if chip.is_cpu:
        return engine_named("llama.cpp")
    return engine_named("vllm-ascend" if chip.vendor == "Huawei" else "sglang")


def _pool(chip: Chip, count: int, limits: Limits) -> Pool:
    return Pool(
        hardware=Hardware.of(chip, count), chips=count, engine=engine_for(chip, limits.engine)
    )


def _sweeps(
    model: ModelConfig, pool: Pool, limits: Limits, traffic: Traffic
) -> list[Sweep | Misfit]:
    chip = pool.hardware.chip
    layouts = list(serving_layouts(model, pool.chips, chip.node_chips))
    return [
        sweep(model, pool, layout, storage, traffic)
        for storage in storages(model, chip, limits.weights, limits.cache)
        for layout in layouts
    ]


def _beside(
    per_pool: Sequence[Iterable[Choice]],
    job: ServeJob,
    traffic: Traffic,
    prices: dict[Chip, Price],
) -> list[Choice]:
    """The best of each pool next to each other, where there are several and each has one."""
    best = [
        max(part, key=lambda c: score(c, job.objective, traffic, prices), default=None)
        for part in per_pool
    ]
    able = [choice for choice in best if choice is not None]
    return [side_by_side(able)] if len(able) > 1 else []
