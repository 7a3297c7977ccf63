"""Every way to lay a training step over equal chips, ranked by its time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from penjing.cost.layout import Layout
from penjing.cost.roofline import Hardware, Timing
from penjing.cost.training_memory import TrainMemory, train_memory
from penjing.cost.training_setup import Recompute, TrainSetup, TrainStack, Zero
from penjing.cost.training_step import TrainStep, micro_batch_timings, train_step
from penjing.cost.work import Numerics
from penjing.errors import Unpublished
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.config import ModelConfig, MoE, WeightFormats
from penjing.models.format import FP8
from penjing.plan.layouts import tensor_degrees
from penjing.plan.numerics import AUTO, NATIVE, named_format, weight_formats

MICRO_BATCHES = (1, 2, 4, 8)
VIRTUAL_STAGES = (1, 2, 4)
LONG_SEQUENCE = 8192  # context parallelism is tried from here on
MOST_STAGES = 32
NO_LINK = "bandwidth of a link that it needs is not published"
DO_NOT_FIT = "training state and activations do not fit in memory"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainChoice:
    """A layout that fits, its step and its memory."""

    setup: TrainSetup
    hardware: Hardware
    weights: str
    step: TrainStep
    memory: TrainMemory


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainFound:
    """Choices fastest first; what was looked at, what fell."""

    choices: tuple[TrainChoice, ...]
    tried: int
    infeasible: Counter[str]
    shortfall_bytes: float  # least, where nothing fits
    closest: TrainSetup | None
    unpublished: str = ""  # the figure that a layout which fits would need


@dataclass(frozen=True, kw_only=True)
class Step:
    """What every setup of a search shares."""

    sequence: int
    batch: int
    longest: int  # tokens of the longest sequence, which memory must hold
    stack: TrainStack


def search_training(
    model: ModelConfig, chip: Chip, chips: int, shared: Step, weights: str = AUTO
) -> TrainFound:
    """Tensor, data, expert, pipeline and context degrees, micro-batch, ZeRO, recompute, offload."""
    hardware = Hardware.of(chip, chips)
    found: list[TrainChoice] = []
    fallen: Counter[str] = Counter()
    least: tuple[float, TrainSetup | None] = (float("inf"), None)
    tried, unpublished = 0, ""
    for name, formats in training_formats(model, chip, weights):
        for bare in setups(model, chips, chip.node_chips, shared):
            setup = replace(bare, numerics=Numerics(weights=formats))
            tried += 1
            fitting, short = _fitting(model, setup, chip, shared)
            if not fitting:
                fallen[DO_NOT_FIT] += 1
                least = min(least, (short, setup), key=lambda pair: pair[0])
                continue
            try:
                timings = micro_batch_timings(model, setup, hardware)
                found.append(_fastest(model, fitting, hardware, name, timings))
            except Unpublished as error:
                fallen[NO_LINK] += 1
                unpublished = str(error)
    found.sort(key=lambda choice: choice.step.step_s)
    return TrainFound(
        choices=tuple(found),
        tried=tried,
        infeasible=fallen,
        shortfall_bytes=0.0 if found else least[0],
        closest=least[1],
        unpublished=unpublished,
    )


def trains(model: ModelConfig, chip: Chip, chips: int, shared: Step, weights: str = AUTO) -> bool:
    """Whether any layout fits and can be timed; far quicker than to time them all."""
    hardware = Hardware.of(chip, chips)
    for _, formats in training_formats(model, chip, weights):
        for bare in setups(model, chips, chip.node_chips, shared):
            setup = replace(bare, numerics=Numerics(weights=formats))
            leanest, memory = _variant(model, setup, chip, shared, *_LEANEST)
            if memory.shortfall_bytes:
                continue
            try:
                train_step(model, leanest, hardware)
            except Unpublished:  # a link that this layout needs
                continue
            return True
    return False


def training_formats(
    model: ModelConfig, chip: Chip, wanted: str
) -> Iterator[tuple[str, WeightFormats]]:
    """BF16 products, and FP8 ones where the model was made so and the chip has the units."""
    if wanted not in (AUTO, NATIVE):
        form = named_format(wanted, "--weights")
        yield form.name, weight_formats(form, model)
        return
    stored = model.formats
    made_in_fp8 = any(Precision.FP8 in f.compute for f in (stored.dense, stored.experts))
    yield "bf16", WeightFormats()
    if made_in_fp8 and chip.supports(Precision.FP8):
        yield FP8.name, weight_formats(FP8, model)


def setups(model: ModelConfig, chips: int, node: int, shared: Step) -> Iterator[TrainSetup]:
    """Every layout, micro-batch and interleaving, without the ways to save memory."""
    for layout in training_layouts(model, chips, node, shared.sequence):
        for micro in MICRO_BATCHES:
            if shared.batch % (layout.data * micro):
                continue
            for virtual in VIRTUAL_STAGES if layout.pipeline > 1 else (1,):
                if layout.pipeline * virtual <= len(model.layers):
                    yield TrainSetup(
                        layout=layout,
                        sequence=shared.sequence,
                        global_batch=shared.batch,
                        micro_batch=micro,
                        virtual_stages=virtual,
                        stack=shared.stack,
                    )


def training_layouts(model: ModelConfig, chips: int, node: int, sequence: int) -> Iterator[Layout]:
    """Degrees whose product is ``chips``; experts over powers of two of what a stage holds."""
    contexts = (1, 2, 4, 8) if sequence > LONG_SEQUENCE else (1,)
    for tensor in tensor_degrees(model, min(chips, node)):
        for pipeline in range(1, min(MOST_STAGES, chips, len(model.layers)) + 1):
            for context in contexts:
                if chips % (tensor * pipeline * context):
                    continue
                data = chips // (tensor * pipeline * context)
                for expert in _expert_degrees(model, tensor * data * context):
                    yield Layout(
                        tensor=tensor,
                        data=data,
                        expert=expert,
                        pipeline=pipeline,
                        context=context,
                    )


def _expert_degrees(model: ModelConfig, stage: int) -> list[int]:
    blocks = [layer.feed_forward for layer in model.layers]
    counts = {block.num_experts for block in blocks if isinstance(block, MoE)}
    powers = [1 << n for n in range(stage.bit_length())] if counts else [1]
    return [e for e in powers if stage % e == 0 and all(n % e == 0 for n in counts)]


# Ways to save memory.
_VARIANTS = tuple(
    (offload, recompute, zero)
    for offload in (False, True)
    for recompute in Recompute
    for zero in Zero
)
_LEANEST = _VARIANTS[-1]


def _fitting(
    model: ModelConfig, setup: TrainSetup, chip: Chip, shared: Step
) -> tuple[list[tuple[TrainSetup, TrainMemory]], float]:
    """The variants that fit, offloaded ones only where no other does; what the leanest lacks."""
    least = _variant(model, setup, chip, shared, *_LEANEST)[1].shortfall_bytes
    found: list[tuple[TrainSetup, TrainMemory]] = []
    for offload, recompute, zero in _VARIANTS if least == 0 else ():
        if offload and not all(kept.offload for kept, _ in found):
            break
        if zero is not Zero.NONE and setup.layout.chips == 1:
            continue
        tried, memory = _variant(model, setup, chip, shared, offload, recompute, zero)
        if memory.shortfall_bytes == 0:
            found.append((tried, memory))
    return found, least


def _variant(
    model: ModelConfig,
    setup: TrainSetup,
    chip: Chip,
    shared: Step,
    offload: bool,
    recompute: Recompute,
    zero: Zero,
) -> tuple[TrainSetup, TrainMemory]:
    tried = replace(setup, offload=offload, recompute=recompute, zero=zero)
    return tried, train_memory(model, replace(tried, sequence=shared.longest), chip)


def _fastest(
    model: ModelConfig,
    fitting: list[tuple[TrainSetup, TrainMemory]],
    hardware: Hardware,
    weights: str,
    timings: tuple[Timing, ...],
) -> TrainChoice:
    steps = [train_step(model, setup, hardware, timings) for setup, _ in fitting]
    best = min(range(len(steps)), key=lambda place: steps[place].step_s)
    setup, memory = fitting[best]
    return TrainChoice(
        setup=setup, hardware=hardware, weights=weights, step=steps[best], memory=memory
    )
