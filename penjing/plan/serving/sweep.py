"""One instance of a model over every draft depth and batch size, as arrays."""

from dataclasses import dataclass, replace

import numpy as np

from penjing.cost.engine import Engine
from penjing.cost.layout import Layout
from penjing.cost.op import Quantity
from penjing.cost.roofline import Hardware
from penjing.cost.serving import (
    ACCEPTED_TOKENS,
    Instance,
    Room,
    Steady,
    Traffic,
    room,
    steady_state,
)
from penjing.errors import Unpublished
from penjing.models.config import ModelConfig
from penjing.plan.numerics import Storage

BATCHES = 48  # sizes tried, spread geometrically from one sequence to what fits


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Equal chips that an instance may be laid over."""

    hardware: Hardware
    chips: int
    engine: Engine


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Steady states of one layout and storage; arrays are depths x batches."""

    pool: Pool
    storage: Storage
    instance: Instance  # with every draft depth
    room: Room
    steady: Steady

    @property
    def layout(self) -> Layout:
        return self.instance.layout

    def at(self, depth: int) -> Instance:
        """The instance with one draft depth."""
        return replace(self.instance, draft_depth=float(depth))

    @property
    def decode_token_s(self) -> Quantity:
        """Seconds for a token where prefill happens elsewhere."""
        return self.steady.step_s / self.instance.accepted


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why a layout is out: bytes that lack on the fullest chip, the best latency it reached, or
    the figure that nobody published.
    """

    layout: Layout
    storage: Storage
    reason: str
    shortfall_bytes: float = 0.0
    reached_s: float | None = None
    unpublished: str = ""


NO_LINK = "bandwidth of a link that it needs is not published"
WEIGHTS_DO_NOT_FIT = "weights do not fit in memory"
NO_SEQUENCE_FITS = "no sequence fits beside the weights"


def sweep(
    model: ModelConfig, pool: Pool, layout: Layout, storage: Storage, traffic: Traffic
) -> Sweep | Misfit:
    """Every draft depth the model has a head for, and every batch from 1 to what fits."""
    instance = placed(model, pool, layout, storage)
    space = room(instance, traffic.context_tokens)
    if space.shortfall_bytes:
        return _misfit(layout, storage, space)
    try:
        return _swept(pool, storage, instance, space, traffic)
    except Unpublished as error:
        return Misfit(layout=layout, storage=storage, reason=NO_LINK, unpublished=str(error))


def _swept(
    pool: Pool, storage: Storage, instance: Instance, space: Room, traffic: Traffic
) -> Sweep:
    layout = instance.layout
    most = min(space.max_sequences, pool.engine.max_sequences * layout.data)
    batches = np.unique(np.floor(np.geomspace(1.0, most, BATCHES)))
    return Sweep(
        pool=pool,
        storage=storage,
        instance=instance,
        room=space,
        steady=steady_state(instance, traffic, batches[None, :]),
    )


def placed(model: ModelConfig, pool: Pool, layout: Layout, storage: Storage) -> Instance:
    """An instance with every draft depth the model has a head for."""
    depths = np.arange(len(ACCEPTED_TOKENS) if model.mtp else 1, dtype=np.float64)
    return Instance(
        model=model,
        layout=layout,
        hardware=pool.hardware,
        numerics=storage.numerics,
        engine=pool.engine,
        draft_depth=depths[:, None],
    )


def _misfit(layout: Layout, storage: Storage, space: Room) -> Misfit:
    bare = space.weights_bytes + space.activations_bytes > space.usable_bytes
    return Misfit(
        layout=layout,
        storage=storage,
        reason=WEIGHTS_DO_NOT_FIT if bare else NO_SEQUENCE_FITS,
        shortfall_bytes=space.shortfall_bytes,
    )
