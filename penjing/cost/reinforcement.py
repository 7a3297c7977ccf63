"""One step of GRPO: rollout, reward, log-probabilities, update, weight hand-over.

Rollout is a burst on the serving side: its length is set by the longest responses, so the spread
of lengths is part of the input. The update is a training step over the same tokens.
"""

from dataclasses import dataclass, replace

from penjing.cost.load import Burst, serve
from penjing.cost.memory import weight_bytes
from penjing.cost.network import NETWORK_EFFICIENCY
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Instance, Traffic
from penjing.cost.training_setup import TrainSetup
from penjing.cost.training_step import train_step
from penjing.models.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class GrpoSetup:
    """A step over ``prompts`` x ``group`` responses.

    ``replicas`` engines roll out. ``forwards`` counts extra log-probability passes over all
    tokens: 1 for the old policy where the engine's own are not used, 1 for a reference model.
    Rewards run on ``reward_workers`` and hide behind the rollout but for the last response.
    ``apart``: the engines have chips of their own, and roll out while the update runs.
    """

    prompts: int
    group: int
    traffic: Traffic
    rollout: Instance
    replicas: int
    training: TrainSetup
    trainer: Hardware
    apart: bool = False
    forwards: int = 1
    reward_s: float = 0.05  # of one response on one worker; assumed
    reward_workers: int = 64

    @property
    def responses(self) -> int:
        return self.prompts * self.group


@dataclass(frozen=True, kw_only=True)
class GrpoStep:
    """Seconds of one step by part."""

    rollout_s: float
    reward_s: float
    logprob_s: float
    update_s: float
    handover_s: float
    apart: bool = False

    @property
    def step_s(self) -> float:
        train = self.logprob_s + self.update_s
        if self.apart:
            return max(self.rollout_s + self.reward_s, train) + self.handover_s
        return self.rollout_s + self.reward_s + train + self.handover_s


def grpo_step(model: ModelConfig, setup: GrpoSetup) -> GrpoStep:
    """Time of one step by part."""
    rollout = rollout_s(setup.rollout, setup.traffic, setup.responses, setup.replicas)
    step = train_step(model, whole_batch(setup), setup.trainer)
    serial = setup.responses * setup.reward_s / setup.reward_workers
    return GrpoStep(
        rollout_s=rollout,
        reward_s=setup.reward_s + max(0.0, serial - rollout),
        logprob_s=step.forward_s * setup.forwards,
        update_s=step.step_s,
        handover_s=handover_s(model, setup.rollout),
        apart=setup.apart,
    )


def rollout_s(instance: Instance, traffic: Traffic, responses: int, replicas: int) -> float:
    """All responses at once, spread over ``replicas`` engines, to the end of the longest."""
    busy = min(replicas, responses)
    seen = serve(instance, traffic, Burst(requests=responses / busy))
    return responses * traffic.output_tokens / (seen.output_tokens_per_s * busy)


def whole_batch(setup: GrpoSetup) -> TrainSetup:
    """The step's responses, packed: as many full sequences as their tokens fill."""
    length = setup.traffic.input_tokens + setup.traffic.output_tokens
    training = setup.training
    each = training.layout.data * training.micro_batch
    sequences = setup.responses * length / training.sequence
    return replace(training, global_batch=max(each, round(sequences / each) * each))


def handover_s(model: ModelConfig, instance: Instance) -> float:
    """Every chip receives its shard of the new weights: over the network where nodes differ."""
    shard = weight_bytes(model, instance.layout, instance.numerics.weights)
    hardware = instance.hardware
    link = hardware.chip.network or hardware.chip.fabric
    if link is None or link.bytes_per_s is None:
        return shard / hardware.chip.bandwidth_bytes_per_s
    return shard / (link.bytes_per_s.value * hardware.link_scale * NETWORK_EFFICIENCY)
