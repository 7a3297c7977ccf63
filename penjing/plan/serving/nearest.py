"""Where nothing serves: by how much, and the nearest thing that would."""

from penjing.cost.roofline import Hardware
from penjing.cost.serving import room
from penjing.errors import DoesNotFit, Unpublished
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.models.config import ModelConfig
from penjing.plan.job import ServeJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import AUTO, Storage, storages
from penjing.plan.serving.search import Found, Limits, engine_for, traffic_of
from penjing.plan.serving.sweep import Misfit, Pool, placed
from penjing.plan.serving.together import MISSES_TPOT, MISSES_TTFT
from penjing.units import format_bytes, format_seconds, parse_seconds

_MOST_CHIPS = 4096
_NARROWER = ("fp8", "int8", "int4")


def does_not_serve(
    model: ModelConfig, job: ServeJob, budget: Budget, found: Found, limits: Limits
) -> DoesNotFit | Unpublished:
    """The error for a search without a choice: a figure that lacks goes before what was tried."""
    for misfit in found.misfits:
        if misfit.unpublished:
            return Unpublished(misfit.unpublished)
    missed = [m for m in found.misfits if m.reached_s is not None]
    if missed:
        return _too_slow(job, budget, missed)
    short = min(
        (m for m in found.misfits if m.shortfall_bytes > 0), key=lambda m: m.shortfall_bytes
    )
    offers = [*_more_chips(model, job, budget, limits), *_narrower(model, job, budget, limits)]
    nearest = " or ".join(offers)
    hint = f"; nearest that fits: {nearest}" if nearest else ""
    return DoesNotFit(
        f"{job.model} does not fit on {budget}: the fullest chip lacks "
        f"{format_bytes(short.shortfall_bytes)} ({short.shortfall_bytes:.0f} bytes) with "
        f"{short.layout} and {short.storage.weights} weights{hint}",
        shortfall_bytes=short.shortfall_bytes,
        nearest=nearest,
    )


def _too_slow(job: ServeJob, budget: Budget, missed: list[Misfit]) -> DoesNotFit:
    """The limit that came nearest to being kept."""
    ttft = [m for m in missed if m.reason == MISSES_TTFT]
    name, limit = ("TTFT", job.ttft_limit_s) if ttft else ("TPOT", job.tpot_limit_s)
    best = min(ttft or missed, key=lambda m: m.reached_s or 0.0)
    assert limit is not None
    assert best.reached_s is not None
    reached = _rounded_up(best.reached_s)
    flag = "--ttft" if best.reason != MISSES_TPOT else "--tpot"
    return DoesNotFit(
        f"no layout of {job.model} on {budget} keeps {name} within {format_seconds(limit)}; "
        f"the best reaches {reached} with {best.layout}: allow that with {flag}, or take faster "
        "or more chips",
        nearest=f"{flag} {reached.replace(' ', '')}",
    )


def _rounded_up(seconds: float) -> str:
    """As it is printed, but never less than what was reached."""
    shown = seconds
    while parse_seconds(format_seconds(shown)) < seconds:
        shown *= 1.001
    return format_seconds(shown)


def _more_chips(model: ModelConfig, job: ServeJob, budget: Budget, limits: Limits) -> list[str]:
    """The smallest count of the first chip that holds the model."""
    cluster = budget.clusters[0]
    chip = cluster.chip
    counts = {*range(1, 17), *(1 << n for n in range(13)), *range(0, 513, chip.node_chips)}
    for count in sorted(c for c in counts if cluster.count < c <= _MOST_CHIPS):
        if fits(model, chip, count, storages(model, chip, limits.weights, limits.cache), job):
            return [f"{count}x{chip.name}"]
    return []


def _narrower(model: ModelConfig, job: ServeJob, budget: Budget, limits: Limits) -> list[str]:
    """The widest storage that fits on the chips at hand."""
    if limits.weights != AUTO:
        return []
    for cluster in budget.clusters:
        for name in _NARROWER:
            narrow = storages(model, cluster.chip, name, limits.cache)
            if fits(model, cluster.chip, cluster.count, narrow, job, smaller=True):
                return [f"{cluster.count}x{cluster.chip.name} with --weights {name}"]
    return []


def fits(
    model: ModelConfig,
    chip: Chip,
    count: int,
    choices: list[Storage],
    job: ServeJob,
    *,
    smaller: bool = False,
) -> bool:
    """Whether an instance on ``count`` chips (or, with ``smaller``, on part of them) has room."""
    engine = engine_for(chip, AUTO)
    pool = Pool(hardware=Hardware.of(chip, count), chips=count, engine=engine)
    tokens = traffic_of(job).context_tokens
    return any(
        not room(placed(model, pool, layout, storage), tokens).shortfall_bytes
        for storage in choices
        for layout in serving_layouts(model, count, chip.node_chips)
        if smaller or layout.chips == count
    )
