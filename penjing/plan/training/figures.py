"""From the fastest layout of a training search to a plan."""

from dataclasses import replace

from penjing.cost.backward import backward_ops
from penjing.cost.energy import pass_power_w
from penjing.cost.interval import Metric
from penjing.cost.memory import usable_bytes
from penjing.cost.roofline import Bound, Hardware, Timing, time_ops, total_seconds
from penjing.cost.training_memory import TrainMemory
from penjing.cost.training_step import (
    TrainStep,
    micro_batch_timings,
    model_flops_per_token,
    train_step,
)
from penjing.errors import DoesNotFit, Unpublished
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.config import ModelConfig
from penjing.plan.bottleneck import MORE, RATES, operator_classes
from penjing.plan.job import TrainJob
from penjing.plan.plan import (
    Alternative,
    Basis,
    MemoryUse,
    OperatorClass,
    Plan,
    Predicted,
    TrainFigures,
    TrainingGroup,
)
from penjing.plan.predicted import basis_of, inverse, predicted, provenance, times
from penjing.plan.price import Price, price_line
from penjing.plan.training.search import Step, TrainChoice, TrainFound, search_training, trains
from penjing.units import format_bytes

ALTERNATIVES = 5
_MOST_CHIPS = 16384


def training_plan(
    model: ModelConfig,
    job: TrainJob,
    budget: Budget,
    shared: Step,
    prices: dict[Chip, Price],
    notes: tuple[str, ...],
    weights: str,
) -> Plan:
    """The fastest pool's plan; one run spans one kind of chip. Raises ``DoesNotFit``."""
    found = [search_training(model, c.chip, c.count, shared, weights) for c in budget.clusters]
    able = [f for f in found if f.choices]
    if not able:
        raise does_not_train(model, job.model, budget, found, shared, weights)
    mine = min(able, key=lambda f: f.choices[0].step.step_s)
    best = mine.choices[0]
    return Plan(
        job=job,
        budget=str(budget),
        chips=budget.chips,
        groups=(training_group(best),),
        figures=_figures(model, best, job, budget, prices),
        gains={str(rate): gain(model, best, rate) for rate in RATES},
        operators=training_operators(model, best),
        alternatives=_alternatives(mine, job),
        layouts_tried=sum(f.tried for f in found),
        points_tried=sum(f.tried for f in found),
        infeasible={r: n for f in found for r, n in f.infeasible.items()},
        reasons=notes + _reasons(mine, budget, prices),
        provenance=provenance([best.hardware]),
    ).sealed()


def does_not_train(
    model: ModelConfig,
    name: str,
    budget: Budget,
    found: list[TrainFound],
    shared: Step,
    weights: str,
) -> DoesNotFit | Unpublished:
    """The error where no layout of the training state fits, or none whose links are known."""
    for search in found:
        if search.unpublished:
            return Unpublished(search.unpublished)
    with_layout = [f for f in found if f.closest is not None]
    if not with_layout:
        return DoesNotFit(
            f"{name} on {budget}: no layout divides a batch of {shared.batch} sequences; "
            "give --batch a multiple of the chips",
            nearest=f"--batch {max(c.count for c in budget.clusters)}",
        )
    short = min(with_layout, key=lambda f: f.shortfall_bytes)
    nearest = _more_chips(model, budget, shared, weights)
    hint = f"; nearest that fits: {nearest}" if nearest else ""
    assert short.closest is not None
    return DoesNotFit(
        f"{name} cannot be trained on {budget}: even with full recomputation, ZeRO-3 and the "
        f"optimizer in host memory the fullest chip lacks {format_bytes(short.shortfall_bytes)} "
        f"({short.shortfall_bytes:.0f} bytes) with {short.closest.layout}{hint}",
        shortfall_bytes=short.shortfall_bytes,
        nearest=nearest,
    )


def _more_chips(model: ModelConfig, budget: Budget, shared: Step, weights: str) -> str:
    """The smallest doubling of the first chip's count that trains, and the batch it takes."""
    cluster = budget.clusters[0]
    count = cluster.count * 2
    while count <= _MOST_CHIPS:
        batch = -(-shared.batch // count) * count
        again = replace(shared, batch=batch)
        if trains(model, cluster.chip, count, again, weights):
            needed = f" with --batch {batch}" if batch != shared.batch else ""
            return f"{count}x{cluster.chip.name}{needed}"
        count *= 2
    return ""


def gain(model: ModelConfig, choice: TrainChoice, rate: Bound) -> float:
    """Share by which throughput rises with 10 % more of ``rate`` on every chip."""
    faster = train_step(model, choice.setup, choice.hardware.scaled(rate, MORE))
    return choice.step.step_s / faster.step_s - 1.0


def training_group(choice: TrainChoice) -> TrainingGroup:
    setup = choice.setup
    return TrainingGroup(
        chip=choice.hardware.chip.name,
        layout=setup.layout,
        stack=setup.stack.name,
        weights=choice.weights,
        batch=setup.global_batch,
        micro_batch=setup.micro_batch,
        virtual_stages=setup.virtual_stages,
        zero=int(setup.zero),
        recompute=setup.recompute.value,
        offload=setup.offload,
        memory=memory_use(choice.memory, choice.hardware.chip),
    )


def memory_use(memory: TrainMemory, chip: Chip) -> MemoryUse:
    return MemoryUse(
        capacity_bytes=chip.capacity_bytes,
        weights_bytes=memory.weights_bytes,
        gradients_bytes=memory.gradients_bytes,
        optimizer_bytes=memory.optimizer_bytes,
        activations_bytes=memory.activations_bytes,
        reserved_bytes=chip.capacity_bytes - usable_bytes(chip.capacity_bytes),
        host_bytes=memory.host_bytes,
    )


def parts_s(step: TrainStep) -> dict[str, float]:
    """Seconds of a step by cause."""
    return {
        "forward": step.forward_s,
        "backward": step.backward_s,
        "recompute": step.recompute_s,
        "pipeline bubble": step.bubble_s,
        "data parallel": step.data_parallel_s,
        "optimizer": step.optimizer_s,
    }


def training_operators(model: ModelConfig, choice: TrainChoice) -> tuple[OperatorClass, ...]:
    """Classes of one micro-batch going forward through all stages, and back."""
    setup, stretch = choice.setup, choice.setup.stack.kernel_factor

    def forward(on: Hardware) -> tuple[Timing, ...]:
        return micro_batch_timings(model, setup, on)

    def backward(on: Hardware) -> list[Timing]:
        return time_ops(backward_ops(t.op for t in forward(on)), on)

    found: tuple[OperatorClass, ...] = ()
    for phase, timings_on in (("forward", forward), ("backward", backward)):
        seconds = float(total_seconds(timings_on(choice.hardware))) * stretch
        found += operator_classes(phase, timings_on, choice.hardware, seconds, stretch)
    return found


def _figures(
    model: ModelConfig,
    choice: TrainChoice,
    job: TrainJob,
    budget: Budget,
    prices: dict[Chip, Price],
) -> TrainFigures:
    setup, chip = choice.setup, choice.hardware.chip
    basis = basis_of([choice.hardware])
    tokens = setup.global_batch * setup.sequence
    rate = predicted(tokens / choice.step.step_s, Metric.PRETRAINING, basis)
    chips = setup.layout.chips
    flops = model_flops_per_token(model, setup.sequence)
    total = inverse(rate, job.tokens)
    hours = times(total, chips / 3600)
    watts = pass_power_w(choice.step.timings, total_seconds(choice.step.timings), chip)
    power = None
    if watts is not None:
        power = Predicted(value=float(watts) * chips, basis=Basis.ASSUMED)
    return TrainFigures(
        tokens_per_s=rate,
        tokens_per_s_per_chip=times(rate, 1.0 / budget.chips),
        step_s=inverse(rate, tokens),
        model_flops_utilization=times(rate, flops / chips / chip.flops_per_s(Precision.BF16)),
        parts_s=parts_s(choice.step),
        total_s=total,
        chip_hours=hours,
        power_w=power,
        usd=_usd(hours, prices.get(chip)),
    )


def _usd(hours: Predicted, price: Price | None) -> Predicted | None:
    if price is None:
        return None
    usd = times(hours, price.usd_per_h)
    return replace(usd, basis=Basis.ASSUMED) if price.is_assumed else usd


def describe(choice: TrainChoice) -> str:
    """A training layout in one line."""
    setup = choice.setup
    parts = [
        f"{choice.hardware.chip.name} [{setup.layout}] {choice.weights}",
        f"micro-batch {setup.micro_batch}",
        f"ZeRO-{int(setup.zero)}" if setup.zero else "",
        f"{setup.virtual_stages} virtual stages" if setup.virtual_stages > 1 else "",
        f"{setup.recompute} recompute" if setup.recompute != "none" else "",
        "optimizer on host" if setup.offload else "",
    ]
    return ", ".join(part for part in parts if part)


def _alternatives(found: TrainFound, job: TrainJob) -> tuple[Alternative, ...]:
    best = found.choices[0].step.step_s
    return tuple(
        Alternative(
            layout=describe(choice),
            tokens_per_s=job.batch * job.sequence / choice.step.step_s,
            step_s=choice.step.step_s,
            behind=1.0 - best / choice.step.step_s,
        )
        for choice in found.choices[1 : 1 + ALTERNATIVES]
    )


def _reasons(found: TrainFound, budget: Budget, prices: dict[Chip, Price]) -> tuple[str, ...]:
    choice = found.choices[0]
    chip, said = choice.hardware.chip, []
    idle = budget.chips - choice.setup.layout.chips
    if idle:
        said.append(f"one training run spans one kind of chip: {idle} of {budget.chips} stay idle")
    if choice.weights != "bf16":
        said.append(f"products run in {choice.weights}; --weights bf16 keeps 16 bits")
    if choice.setup.offload:
        said.append(_offloaded(found))
    said.append(price_line(chip, prices))
    return tuple(said)


def _offloaded(found: TrainFound) -> str:
    """Why the optimizer is in host memory: nothing else fits, or what fits is slower."""
    kept = next((c for c in found.choices if not c.setup.offload), None)
    if kept is None:
        return "nothing fits with the optimizer in device memory: it lies in host memory"
    slower = kept.step.step_s / found.choices[0].step.step_s
    return (
        f"the optimizer lies in host memory: with it on the chip the fastest that fits, "
        f"{describe(kept)}, takes {slower:.2f} times as long"
    )
