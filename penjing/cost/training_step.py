"""One optimizer step of training, in seconds by cause.

The forward pass is the serving prefill without a cache. A pipeline of p stages with v virtual ones
each waits (p - 1) / (m v) of its m micro-batches (arXiv 2104.04473, section 2.2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penjing.cost.backward import backward_calls
from penjing.cost.forward import forward_ops
from penjing.cost.layout import Layout
from penjing.cost.network import collective_seconds
from penjing.cost.op import Kind, Op, collective
from penjing.cost.roofline import Hardware, Timing, time_ops
from penjing.cost.training_memory import held_parameters, state_parameters
from penjing.cost.training_setup import Recompute, TrainSetup, TrainStack, Zero
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import ModelConfig, MoE

# Share of data-parallel traffic that hides behind backward; Megatron and FSDP prefetch and
# reduce in buckets, and the first and last bucket stay exposed. Assumed.
DATA_OVERLAP = 0.9
# An offloaded optimizer, one chip's share of its host, assumed: PCIe 4.0 x16 at 80 %, and a
# quarter of the memory bandwidth of a socket with eight DDR5 channels.
HOST_LINK_BYTES_PER_S = 25e9
HOST_MEMORY_BYTES_PER_S = 60e9


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """Seconds of one optimizer step by cause, on the slowest chip."""

    forward_s: float
    backward_s: float
    recompute_s: float
    bubble_s: float
    data_parallel_s: float  # exposed only
    optimizer_s: float
    timings: tuple[Timing, ...]  # one micro-batch forward, all stages

    @property
    def step_s(self) -> float:
        return (
            self.forward_s
            + self.backward_s
            + self.recompute_s
            + self.bubble_s
            + self.data_parallel_s
            + self.optimizer_s
        )


def micro_batch_timings(
    model: ModelConfig, setup: TrainSetup, hardware: Hardware
) -> tuple[Timing, ...]:
    """Operators of one micro-batch going forward through all stages."""
    own = setup.sequence / setup.layout.context
    work = Pass(phase=Phase.TRAIN, sequences=float(setup.micro_batch), new=own, logits=own)
    ops = forward_ops(
        model,
        _expert_group(setup.layout),
        work,
        setup.numerics,
        stage_chips=setup.layout.stage_chips,
    )
    return tuple(time_ops(ops, hardware))


def train_step(
    model: ModelConfig,
    setup: TrainSetup,
    hardware: Hardware,
    timings: tuple[Timing, ...] | None = None,
) -> TrainStep:
    """Time of one step; all chips are equal and busy to the same degree.

    ``timings`` are those of the micro-batch, where a caller has them already.
    """
    timings = timings or micro_batch_timings(model, setup, hardware)
    count, stages = setup.micro_batches, setup.layout.pipeline
    stack = setup.stack
    forward = max(_pass_s(timings, stack), _host_s(model, stack) / 3) / stages
    backward = _backward_s(model, setup, timings)
    backward += _accumulate_s(model, setup, hardware)
    again = _pass_s(timings, stack, _recomputed(setup)) / stages
    busy = forward + backward + again
    waiting = busy * (stages - 1) / setup.virtual_stages
    exposed = _data_parallel_s(model, setup, hardware, backward * count)
    return TrainStep(
        forward_s=forward * count,
        backward_s=backward * count,
        recompute_s=again * count,
        bubble_s=waiting,
        data_parallel_s=exposed,
        optimizer_s=_optimizer_s(model, setup, hardware),
        timings=timings,
    )


def model_flops_per_token(model: ModelConfig, sequence: float) -> float:
    """Forward and backward FLOPs, attention counted causally: 250 G for V3 at 4,096."""
    work = Pass(phase=Phase.TRAIN, sequences=1.0, new=sequence, logits=sequence)
    ops = forward_ops(model, Layout(), work, Numerics())
    return 3.0 * sum(float(op.flops) * op.calls for op in ops) / sequence


def _expert_group(layout: Layout) -> Layout:
    """The part of the layout that one set of experts spans: the tokens that meet in it."""
    group = max(1, layout.expert // (layout.tensor * layout.context))
    expert = min(layout.expert, layout.tensor * layout.context * group)
    return Layout(
        tensor=layout.tensor,
        data=group,
        context=layout.context,
        expert=expert,
        pipeline=layout.pipeline,
    )


def _pass_s(
    timings: Sequence[Timing], stack: TrainStack, times: Callable[[Op], float] = lambda _: 1.0
) -> float:
    """Each kernel so many ``times``, one after the other.

    The expert exchange is hidden as far as the schedule can.
    """
    kernels = link = exchange = 0.0
    for timing in timings:
        seconds = float(timing.seconds) * times(timing.op)
        if timing.op.kind is Kind.ALL_TO_ALL:
            exchange += seconds
        elif timing.op.kind.is_communication:
            link += seconds
        else:
            kernels += seconds * stack.kernel_factor
    return kernels + link + exchange - stack.exchange_overlap * min(exchange, kernels)


def _backward_s(model: ModelConfig, setup: TrainSetup, timings: Sequence[Timing]) -> float:
    """The operators of ``backward_ops`` for one micro-batch, from the timings of forward."""
    back = _pass_s(timings, setup.stack, lambda op: backward_calls(op, adapters=setup.adapters))
    return max(back, _host_s(model, setup.stack) * 2 / 3) / setup.layout.pipeline


def _host_s(model: ModelConfig, stack: TrainStack) -> float:
    """Forward and backward through all layers where nothing but the host counts."""
    routed = sum(count for block, count in model.feed_forward_counts if isinstance(block, MoE))
    return routed * stack.moe_layer_s


def _recomputed(setup: TrainSetup) -> Callable[[Op], float]:
    """How much of each operator backward computes again."""
    match setup.recompute:
        case Recompute.NONE:
            return lambda _: 0.0
        case Recompute.SELECTIVE:
            chosen = (Kind.PREFILL_ATTENTION, Kind.PREFILL_LATENT)
            return lambda op: float(op.kind in chosen)
        case Recompute.FULL:
            share = setup.recompute_share
            return lambda op: 0.0 if op.name.startswith(("head", "loss")) else share


def _data_parallel_s(
    model: ModelConfig, setup: TrainSetup, hardware: Hardware, backward_s: float
) -> float:
    """Exposed seconds of gradient reduction and parameter gathering in one step.

    Expert ranks lie next to each other, so the copies of an expert are that many ranks apart.
    """
    layout, held = setup.layout, held_parameters(model, setup.layout)
    reductions = 0 if setup.adapters else 1
    sharded = setup.zero is Zero.PARAMETERS
    gathers = 2 * setup.micro_batches if sharded else reductions
    seconds = 0.0
    for share, ranks, stride in (
        (held.dense, layout.data * layout.context, layout.tensor),
        (held.experts, setup.expert_copies, layout.expert),
    ):
        if ranks == 1 or share == 0:
            continue
        for kind, value_bytes, times in (
            (Kind.REDUCE_SCATTER, 4.0, reductions),
            (Kind.ALL_GATHER, 2.0, gathers),
        ):
            op = collective("data_parallel", kind, share * value_bytes, ranks, stride)
            seconds += float(collective_seconds(op, hardware.topology)) * times
    return max(seconds * (1 - DATA_OVERLAP), seconds - DATA_OVERLAP * backward_s)


def _accumulate_s(model: ModelConfig, setup: TrainSetup, hardware: Hardware) -> float:
    """Each micro-batch reads and writes the fp32 gradient of every weight on the chip."""
    if setup.adapters:
        return 0.0
    bandwidth = hardware.chip.bandwidth_bytes_per_s * hardware.bandwidth_scale
    return held_parameters(model, setup.layout).total * 8.0 / bandwidth


def _optimizer_s(model: ModelConfig, setup: TrainSetup, hardware: Hardware) -> float:
    """AdamW moves about 30 bytes a parameter: two moments, master copy, gradient, weight.

    Offloaded, it does so in host memory, with the gradient (4 bytes) sent there and the new
    weight (2 bytes) back.
    """
    if setup.adapters:
        return 0.0
    updated = state_parameters(held_parameters(model, setup.layout), setup, Zero.OPTIMIZER)
    if setup.offload:
        return updated * (6.0 / HOST_LINK_BYTES_PER_S + 30.0 / HOST_MEMORY_BYTES_PER_S)
    return updated * 30.0 / (hardware.chip.bandwidth_bytes_per_s * hardware.bandwidth_scale)
