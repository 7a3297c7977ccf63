"""One optimizer step of training: time, and memory on the fullest chip.

The forward pass is the serving prefill without a cache. Backward does each product twice and
each attention five halves times (FlashAttention recomputes the scores: arXiv 2307.08691, section
3.1), and repeats the collectives. A pipeline of p stages with v virtual ones each waits
(p - 1) / (m v) of its m micro-batches (arXiv 2104.04473, section 2.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from types import MappingProxyType

from penjing.cost.forward import forward_ops
from penjing.cost.layout import Layout
from penjing.cost.memory import Shares, layer_shares, usable_bytes
from penjing.cost.network import collective_seconds
from penjing.cost.op import Kind, collective
from penjing.cost.roofline import Hardware, Timing, time_ops
from penjing.cost.work import Numerics, Pass, Phase
from penjing.errors import Contradiction
from penjing.models.config import Dense, GroupedQuery, Latent, Layer, ModelConfig, MoE


class Recompute(StrEnum):
    """What backward computes again instead of keeping."""

    NONE = "none"
    SELECTIVE = "selective"  # the attention core and the activation function
    FULL = "full"  # every layer from its input


class Zero(IntEnum):
    """What data-parallel ranks split: ZeRO, arXiv 1910.02054; stage 3 is FSDP."""

    NONE = 0
    OPTIMIZER = 1
    GRADIENTS = 2
    PARAMETERS = 3


@dataclass(frozen=True, kw_only=True)
class TrainStack:
    """What the training software adds, the same on every chip.

    ``kernel_factor`` stretches the time of the fastest measured kernels: launches, unfused
    pointwise work, clocks under sustained power. ``exchange_overlap`` is the share of the expert
    exchange that its schedule hides behind compute.
    """

    name: str
    kernel_factor: float
    exchange_overlap: float


STACKS: Mapping[str, TrainStack] = MappingProxyType(
    {
        s.name: s
        for s in (
            # NeMo, Megatron-Bridge and MLPerf submissions; DualPipe at DeepSeek.
            TrainStack(name="tuned", kernel_factor=1.1, exchange_overlap=0.8),
            TrainStack(name="megatron", kernel_factor=1.3, exchange_overlap=0.0),
            TrainStack(name="fsdp", kernel_factor=1.7, exchange_overlap=0.0),
        )
    }
)


@dataclass(frozen=True, kw_only=True)
class TrainSetup:
    """How a training step is laid out; batches are counted in sequences.

    ``layout.data`` is all data parallelism; experts are spread over ``layout.expert`` ranks taken
    from it, the rest of the data ranks hold copies of them.
    """

    layout: Layout
    sequence: int
    global_batch: int
    micro_batch: int = 1
    virtual_stages: int = 1
    zero: Zero = Zero.OPTIMIZER
    recompute: Recompute = Recompute.NONE
    numerics: Numerics = field(default_factory=Numerics)
    stack: TrainStack = STACKS["megatron"]

    @property
    def micro_batches(self) -> int:
        """Micro-batches a pipeline works through in one step."""
        each = self.layout.data * self.micro_batch
        if self.global_batch % each:
            raise Contradiction(
                f"global batch {self.global_batch} is not a multiple of {self.layout.data} data "
                f"ranks x micro-batch {self.micro_batch}"
            )
        return self.global_batch // each


# Share of data-parallel traffic that hides behind backward; Megatron and FSDP prefetch and
# reduce in buckets, and the first and last bucket stay exposed. Assumed.
DATA_OVERLAP = 0.9
_BACKWARD = {
    Kind.GEMM: 2.0,
    Kind.GROUPED_GEMM: 2.0,
    Kind.PREFILL_ATTENTION: 2.5,
    Kind.PREFILL_LATENT: 2.5,
    Kind.ELEMENTWISE: 2.0,
}


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


def train_step(model: ModelConfig, setup: TrainSetup, hardware: Hardware) -> TrainStep:
    """Time of one step; all chips are equal and busy to the same degree."""
    layout = setup.layout
    timings = time_ops(
        forward_ops(model, _expert_group(layout), _micro_batch(setup), setup.numerics), hardware
    )
    count, stages = setup.micro_batches, layout.pipeline
    stack = setup.stack
    forward = _pass_s(timings, stack) / stages
    backward = _pass_s([_backward(t) for t in timings], stack) / stages
    backward += _accumulate_s(model, setup, hardware)
    again = _pass_s(_recomputed(timings, setup.recompute), stack) / stages
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
        timings=tuple(timings),
    )


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


def _micro_batch(setup: TrainSetup) -> Pass:
    own = setup.sequence / setup.layout.context
    return Pass(phase=Phase.TRAIN, sequences=float(setup.micro_batch), new=own, logits=own)


def _pass_s(timings: list[Timing], stack: TrainStack) -> float:
    """Kernels one after the other, the expert exchange hidden as far as the schedule can."""
    exchange = sum(float(t.seconds) for t in timings if t.op.kind is Kind.ALL_TO_ALL)
    link = sum(float(t.seconds) for t in timings if t.op.kind.is_communication) - exchange
    kernels = sum(float(t.seconds) for t in timings) - exchange - link
    kernels *= stack.kernel_factor
    return kernels + link + exchange - stack.exchange_overlap * min(exchange, kernels)


def _backward(timing: Timing) -> Timing:
    return replace(timing, seconds=timing.seconds * _BACKWARD.get(timing.op.kind, 1.0))


def _recomputed(timings: list[Timing], recompute: Recompute) -> list[Timing]:
    match recompute:
        case Recompute.NONE:
            return []
        case Recompute.SELECTIVE:
            chosen = (Kind.PREFILL_ATTENTION, Kind.PREFILL_LATENT)
            return [t for t in timings if t.op.kind in chosen]
        case Recompute.FULL:
            return [t for t in timings if not t.op.name.startswith(("head", "loss"))]


def _data_parallel_s(
    model: ModelConfig, setup: TrainSetup, hardware: Hardware, backward_s: float
) -> float:
    """Exposed seconds of gradient reduction and parameter gathering in one step."""
    layout = setup.layout
    dense, experts = _parameters(model, layout)
    copies = max(1, layout.data * layout.tensor * layout.context // max(layout.expert, 1))
    rounds = setup.micro_batches if setup.zero is Zero.PARAMETERS else 1
    seconds = 0.0
    for held, ranks in ((dense, layout.data * layout.context), (experts, copies)):
        if ranks == 1 or held == 0:
            continue
        for kind, value_bytes, times in (
            (Kind.REDUCE_SCATTER, 4.0, 1),
            (Kind.ALL_GATHER, 2.0, 2 * rounds if setup.zero is Zero.PARAMETERS else 1),
        ):
            op = collective("data_parallel", kind, held * value_bytes, ranks, layout.tensor)
            seconds += float(collective_seconds(op, hardware.topology)) * times
    return max(seconds * (1 - DATA_OVERLAP), seconds - DATA_OVERLAP * backward_s)


def _accumulate_s(model: ModelConfig, setup: TrainSetup, hardware: Hardware) -> float:
    """Each micro-batch reads and writes the fp32 gradient of every weight on the chip."""
    held = sum(_parameters(model, setup.layout))
    return held * 8.0 / hardware.chip.bandwidth_bytes_per_s


def _optimizer_s(model: ModelConfig, setup: TrainSetup, hardware: Hardware) -> float:
    """AdamW moves about 30 bytes a parameter: two moments, master copy, gradient, weight."""
    held = sum(_parameters(model, setup.layout))
    share = setup.layout.data if setup.zero >= Zero.OPTIMIZER else 1
    return held / share * 30.0 / hardware.chip.bandwidth_bytes_per_s


def _parameters(model: ModelConfig, layout: Layout) -> tuple[float, float]:
    """Parameters on the fullest chip before ZeRO: all but experts, routed experts."""
    shares = [_layer_parameters(layer, model.width, layout) for layer in model.layers]
    per_stage = -(-len(shares) // layout.pipeline)
    tables = model.vocab_size * model.width / layout.tensor
    tables *= 2 if layout.pipeline == 1 and not model.tied_embeddings else 1
    dense = sum(sorted((s.attention + s.dense + s.wide for s in shares), reverse=True)[:per_stage])
    experts = sum(sorted((s.experts for s in shares), reverse=True)[:per_stage])
    return dense + tables, experts


def _layer_parameters(layer: Layer, width: int, layout: Layout) -> Shares:
    """As when serving, but what is left of the stage beside ``expert`` copies whole experts."""
    whole = Layout(tensor=layout.tensor, data=1, expert=1, context=1)
    held = layer_shares(layer, width, whole)
    experts = held.experts * layout.tensor / layout.expert
    return Shares(attention=held.attention, dense=held.dense, experts=experts, wide=held.wide)


# --- memory -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainMemory:
    """Bytes on the fullest chip by kind."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    usable_bytes: float

    @property
    def total_bytes(self) -> float:
        return (
            self.weights_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
        )

    @property
    def shortfall_bytes(self) -> float:
        return max(0.0, self.total_bytes - self.usable_bytes)


def train_memory(model: ModelConfig, setup: TrainSetup, hardware: Hardware) -> TrainMemory:
    """Mixed precision as in Megatron: bf16 weights, fp32 gradients, fp32 master and two moments."""
    layout, zero = setup.layout, setup.zero
    dense, experts = _parameters(model, layout)
    copies = max(1, layout.data * layout.tensor * layout.context // max(layout.expert, 1))

    def bytes_of(per_value: float, stage: Zero) -> float:
        split = zero >= stage
        ranks = layout.data * layout.context
        return per_value * (dense / (ranks if split else 1) + experts / (copies if split else 1))

    return TrainMemory(
        weights_bytes=bytes_of(2.0, Zero.PARAMETERS),
        gradients_bytes=bytes_of(4.0, Zero.GRADIENTS),
        optimizer_bytes=bytes_of(12.0, Zero.OPTIMIZER),
        activations_bytes=_kept_bytes(model, setup),
        usable_bytes=usable_bytes(hardware.chip.capacity_bytes),
    )


def _kept_bytes(model: ModelConfig, setup: TrainSetup) -> float:
    """Activations alive at the worst moment: the first stage of 1F1B holds p micro-batches."""
    layout = setup.layout
    tokens = setup.micro_batch * setup.sequence / layout.context / layout.tensor
    per_layer = [_layer_kept_values(layer, model.width, setup) for layer in model.layers]
    in_flight = min(setup.micro_batches, layout.pipeline)
    kept = sum(per_layer) / layout.pipeline * in_flight
    if setup.recompute is Recompute.FULL:
        widest = max(_block_values(layer, model.width) for layer in model.layers)
        kept += widest  # one layer is alive in full while it runs backward
    logits = 6.0 * tokens * model.vocab_size / (1 if layout.pipeline == 1 else in_flight)
    return tokens * 2.0 * kept + logits


def _layer_kept_values(layer: Layer, width: int, setup: TrainSetup) -> float:
    """16-bit values a token keeps for backward in one layer, summed over tensor ranks."""
    match setup.recompute:
        case Recompute.FULL:
            return float(width)
        case Recompute.SELECTIVE:
            return _block_values(layer, width, activation=False)
        case Recompute.NONE:
            return _block_values(layer, width)


def _block_values(layer: Layer, width: int, *, activation: bool = True) -> float:
    """Inputs of every product and norm of the layer; ``activation`` adds the gated product."""
    values = 4.0 * width  # two norm inputs, two norm outputs
    match layer.attention:
        case GroupedQuery(num_heads=n, num_kv_heads=m, head_dim=h):
            values += (2.0 * n + 2.0 * m) * h
        case Latent(num_heads=n, q_rank=q, kv_rank=c, nope_dim=p, rope_dim=r, value_dim=v):
            values += 2.0 * ((q or 0) + c + r) + n * (2.0 * (p + r) + 2.0 * v)
    inner = 3.0 if activation else 2.0
    match layer.feed_forward:
        case Dense(width=f):
            values += inner * f
        case MoE(experts_per_token=k, expert_width=f, shared_width=s):
            values += inner * (k * f + s) + 2.0 * k * width
    return values
