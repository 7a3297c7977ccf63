"""How a training step is laid out and what its software adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType

from penjing.cost.layout import Layout
from penjing.cost.work import Numerics
from penjing.errors import Contradiction, UnknownName


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
    exchange that its schedule hides behind compute. However short its kernels, a layer with
    experts takes ``moe_layer_s`` forward and backward: routing waits for the host.
    """

    name: str
    kernel_factor: float
    exchange_overlap: float
    # Megatron-Bridge, Qwen3-30B-A3B and 235B with one or four sequences a micro-batch take the
    # same 8 to 16 ms a layer on H100, B200 and B300.
    moe_layer_s: float = 10e-3


STACKS: Mapping[str, TrainStack] = MappingProxyType(
    {
        s.name: s
        for s in (
            # NeMo, Megatron-Bridge and MLPerf submissions; DualPipe at DeepSeek.
            TrainStack(name="tuned", kernel_factor=1.2, exchange_overlap=0.8),
            TrainStack(name="megatron", kernel_factor=1.45, exchange_overlap=0.0),
            TrainStack(name="fsdp", kernel_factor=1.7, exchange_overlap=0.0),
        )
    }
)


def stack_named(name: str) -> TrainStack:
    """The training software of that name; raises ``UnknownName``."""
    try:
        return STACKS[name.lower()]
    except KeyError:
        raise UnknownName("training stack", name, STACKS) from None


@dataclass(frozen=True, kw_only=True)
class TrainSetup:
    """One optimizer step; batches are counted in sequences of ``sequence`` tokens.

    ``layout.data`` is all data parallelism; experts are spread over ``layout.expert`` ranks taken
    from it, the rest of the data ranks hold copies of them. ``offload`` keeps master weights and
    moments in host memory and updates them there. ``recompute_share`` is the part of the layers
    that full recomputation is for. With ``adapters`` only low-rank ones are trained (LoRA, arXiv
    2106.09685): the model has no gradients of its own.
    """

    layout: Layout
    sequence: int
    global_batch: int
    micro_batch: int = 1
    virtual_stages: int = 1
    zero: Zero = Zero.OPTIMIZER
    recompute: Recompute = Recompute.NONE
    recompute_share: float = 1.0
    adapters: bool = False
    offload: bool = False
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

    @property
    def expert_copies(self) -> int:
        """Data-parallel ranks that hold the same experts."""
        layout = self.layout
        return max(1, layout.data * layout.tensor * layout.context // layout.expert)
