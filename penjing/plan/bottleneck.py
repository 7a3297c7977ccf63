"""What limits a pass: its operators by class, the ceiling of each, and what a faster chip saves."""

from collections.abc import Callable, Iterable, Sequence

from penjing.cost.engine import IN_A_MODEL
from penjing.cost.op import Kind, Op
from penjing.cost.roofline import Bound, Hardware, Timing
from penjing.plan.plan import OperatorClass

MORE = 1.10  # what "10 % more" of a rate means
RATES = (Bound.COMPUTE, Bound.BANDWIDTH, Bound.LINK)
_CORES = (
    Kind.PREFILL_ATTENTION,
    Kind.DECODE_ATTENTION,
    Kind.PREFILL_LATENT,
    Kind.DECODE_LATENT,
)


def operator_class(op: Op) -> str:
    """The class an operator is reported under."""
    if op.kind is Kind.ALL_TO_ALL or op.name in ("moe.gather", "moe.scatter"):
        return "expert exchange"
    if op.kind.is_communication:
        return "collectives"
    if op.kind is Kind.GROUPED_GEMM:
        return "experts"
    if op.kind is Kind.ELEMENTWISE:
        return "elementwise"
    if op.kind in _CORES:
        return "attention core"
    if op.name.startswith(("attention", "indexer")):
        return "attention projections"
    return "head" if op.name == "head" else "feed-forward products"


def operator_classes(
    phase: str,
    timings_on: Callable[[Hardware], Sequence[Timing]],
    hardware: Hardware,
    pass_s: float,
    stretch: float = IN_A_MODEL,
) -> tuple[OperatorClass, ...]:
    """Classes by share of ``pass_s``, largest first; what no operator explains is the host's.

    ``stretch`` is how much slower kernels run in a model than alone.
    """
    now = _by_class(timings_on(hardware))
    faster = {rate: _by_class(timings_on(hardware.scaled(rate, MORE))) for rate in RATES}
    found = [
        _operator_class(
            phase, name, timings, pass_s, stretch, {r: _seconds(faster[r][name]) for r in RATES}
        )
        for name, timings in now.items()
    ]
    host = pass_s - sum(row.seconds for row in found)
    if host > 1e-9 * pass_s:
        found.append(
            OperatorClass(
                phase=phase,
                name="host",
                seconds=host,
                share=host / pass_s,
                bound=Bound.OVERHEAD,
                slack=1.0,
                saved_by={str(rate): 0.0 for rate in RATES},
            )
        )
    return tuple(sorted(found, key=lambda row: -row.seconds))


def _by_class(timings: Iterable[Timing]) -> dict[str, list[Timing]]:
    classes: dict[str, list[Timing]] = {}
    for timing in timings:
        classes.setdefault(operator_class(timing.op), []).append(timing)
    return classes


def _operator_class(
    phase: str,
    name: str,
    timings: Sequence[Timing],
    pass_s: float,
    stretch: float,
    faster_s: dict[Bound, float],
) -> OperatorClass:
    seconds = _seconds(timings)
    ceilings = sorted(_ceilings(timings).items(), key=lambda item: -item[1])
    (bound, first), (_, second) = ceilings[:2]
    return OperatorClass(
        phase=phase,
        name=name,
        seconds=seconds * stretch,
        share=seconds * stretch / pass_s,
        bound=bound,
        slack=1.0 - second / first if first else 1.0,
        saved_by={str(rate): 1.0 - faster_s[rate] / seconds for rate in RATES},
    )


def _ceilings(timings: Iterable[Timing]) -> dict[Bound, float]:
    """Seconds that each ceiling alone would take."""
    total = dict.fromkeys(Bound, 0.0)
    for timing in timings:
        total[Bound.COMPUTE] += float(timing.compute_s)
        total[Bound.BANDWIDTH] += float(timing.memory_s)
        total[Bound.LINK] += float(timing.link_s)
        total[Bound.OVERHEAD] += float(timing.overhead_s)
    return total


def _seconds(timings: Iterable[Timing]) -> float:
    return sum(float(timing.seconds) for timing in timings)
