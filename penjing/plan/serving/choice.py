"""A way to serve: which instances run where, and what users of it see."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from penjing.cost.energy import pass_power_w
from penjing.cost.op import Quantity
from penjing.cost.serving import (
    Instance,
    Traffic,
    decode_pass_s,
    decode_timings,
    pass_s,
    prefill_timings,
)
from penjing.hardware.chip import Chip
from penjing.plan.job import Objective
from penjing.plan.price import Price
from penjing.plan.serving.sweep import Sweep


class Role(StrEnum):
    """What the instances of a group do."""

    SERVE = "serve"  # prefill and decode together
    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """``count`` equal instances; ``sequences`` are in flight on each.

    ``prefill_share`` is the part of the time that goes to prefill, ``idle_share`` to nothing.
    """

    role: Role
    sweep: Sweep
    depth: int
    count: int
    sequences: float
    prefill_share: float
    idle_share: float = 0.0

    @property
    def instance(self) -> Instance:
        return self.sweep.at(self.depth)

    @property
    def chip(self) -> Chip:
        return self.sweep.pool.hardware.chip

    @property
    def chips(self) -> int:
        return self.count * self.sweep.layout.chips

    def power_w(self, traffic: Traffic) -> float | None:
        """Mean watts of all chips of the group; None where no rating is known."""
        prefill = prefill_power_w(self.instance, traffic)
        decode = decode_power_w(self.instance, traffic, self.sequences)
        standing = pass_power_w([], 1.0, self.chip)
        if prefill is None or decode is None or standing is None:
            return None
        busy = self.prefill_share * prefill + (1 - self.prefill_share) * decode
        return self.chips * float(self.idle_share * standing + (1 - self.idle_share) * busy)


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Figures are means; ``tokens_per_s`` are output tokens of the whole deployment."""

    groups: tuple[Group, ...]
    tokens_per_s: float
    tpot_s: float
    ttft_s: float
    transfer_s: float = 0.0  # cache from prefill to decode, part of ttft_s

    @property
    def chips(self) -> int:
        return sum(group.chips for group in self.groups)

    def power_w(self, traffic: Traffic) -> float | None:
        watts = [group.power_w(traffic) for group in self.groups]
        return None if None in watts else sum(w for w in watts if w is not None)

    def usd_per_h(self, prices: dict[Chip, Price]) -> float | None:
        if any(group.chip not in prices for group in self.groups):
            return None
        return sum(group.chips * prices[group.chip].usd_per_h for group in self.groups)


def prefill_power_w(instance: Instance, traffic: Traffic) -> Quantity | None:
    """Watts of one chip while prefilling in full passes; None where no rating is known."""
    prompts = max(1.0, np.floor(instance.engine.prefill_tokens / traffic.input_tokens))
    timings = prefill_timings(instance, prompts, traffic.input_tokens)
    seconds = pass_s(instance, timings, instance.engine.prefill_layer_s)
    return pass_power_w(timings, seconds, instance.hardware.chip)


def decode_power_w(instance: Instance, traffic: Traffic, sequences: Quantity) -> Quantity | None:
    """Watts of one chip while decoding; None where no rating is known."""
    timings = decode_timings(instance, sequences, traffic.context_tokens)
    seconds = decode_pass_s(instance, timings, sequences)
    return pass_power_w(timings, seconds, instance.hardware.chip)


def score(
    choice: Choice, objective: Objective, traffic: Traffic, prices: dict[Chip, Price]
) -> float:
    """More is better; a choice that lacks the figure comes last."""
    match objective:
        case Objective.THROUGHPUT:
            return choice.tokens_per_s
        case Objective.USD:
            cost = choice.usd_per_h(prices)
        case Objective.WATT:
            cost = choice.power_w(traffic)
        case Objective.LATENCY:
            return -(choice.ttft_s + choice.tpot_s * traffic.output_tokens)
    return choice.tokens_per_s / cost if cost else -float("inf")
