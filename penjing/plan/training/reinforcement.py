"""Every way to lay out a GRPO step: engines and trainer on the same chips in turn, or apart."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from penjing.cost.load import capacity
from penjing.cost.reinforcement import GrpoSetup, GrpoStep, grpo_step, rollout_s
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Instance, Traffic, room
from penjing.cost.training_setup import TrainStack
from penjing.hardware.budget import Budget
from penjing.hardware.cluster import Cluster
from penjing.models.config import ModelConfig
from penjing.plan.job import RlJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import Storage, storages
from penjing.plan.serving.search import Limits, engine_for
from penjing.plan.training.search import Step, TrainChoice, TrainFound, search_training

# Log-probabilities of the old policy and of the reference: GRPO as in DeepSeek-R1, eq. 1-2.
FORWARDS = 2
ROLLOUT_SHARES = (0.25, 0.5, 0.75)  # of one pool's chips, where the two sides are apart
DOES_NOT_ROLL_OUT = "no engine fits on the chips for rollout"
DOES_NOT_TRAIN = "training state does not fit on the chips for the update"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """Equal engines, and the seconds they take for all responses."""

    cluster: Cluster
    instance: Instance
    storage: Storage
    replicas: int
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RlChoice:
    """Both sides of a step and its time."""

    rollout: Rollout
    training: TrainChoice
    setup: GrpoSetup
    step: GrpoStep


@dataclass(frozen=True, kw_only=True, eq=False)
class RlFound:
    """Choices fastest first; the training searches, for what they lack where nothing fits."""

    choices: tuple[RlChoice, ...]
    tried: int
    infeasible: Counter[str]
    trainings: tuple[TrainFound, ...]


def search_rl(
    model: ModelConfig, job: RlJob, budget: Budget, stack: TrainStack, limits: Limits
) -> RlFound:
    """Each way to divide the chips, with the quickest rollout and the quickest update on it."""
    shared = step_of(job, stack)

    @cache
    def rollouts(cluster: Cluster) -> Rollout | None:
        return min(_rollouts(model, job, cluster, limits), key=lambda r: r.seconds, default=None)

    @cache
    def trainings(cluster: Cluster) -> TrainFound:
        return search_training(model, cluster.chip, cluster.count, shared, limits.weights)

    choices, fallen, tried = [], Counter[str](), 0
    for engines, trainer, apart in _ways(budget):
        tried += 1
        rollout, training = rollouts(engines), trainings(trainer)
        if rollout is None:
            fallen[DOES_NOT_ROLL_OUT] += 1
        elif not training.choices:
            fallen[DOES_NOT_TRAIN] += 1
        else:
            choices.append(_choice(model, job, rollout, training.choices[0], apart))
    return RlFound(
        choices=tuple(sorted(choices, key=lambda choice: choice.step.step_s)),
        tried=tried,
        infeasible=fallen,
        trainings=tuple(trainings(trainer) for _, trainer, _ in _ways(budget)),
    )


def step_of(job: RlJob, stack: TrainStack) -> Step:
    """The update: every response one sequence of mean length."""
    return Step(
        sequence=job.input_tokens + job.output_tokens,
        batch=job.prompts * job.group,
        longest=job.input_tokens + job.longest_output,
        stack=stack,
    )


def traffic_of(job: RlJob) -> Traffic:
    return Traffic(
        input_tokens=float(job.input_tokens),
        output_tokens=float(job.output_tokens),
        varied=job.longest_output > job.output_tokens,
        longest_output=float(job.longest_output),
    )


def running(choice: RlChoice) -> float:
    """Responses in flight on one engine while the rollout is full."""
    each = choice.setup.responses / choice.setup.replicas
    return max(1.0, min(each, capacity(choice.rollout.instance, choice.setup.traffic)))


def _ways(budget: Budget) -> Iterator[tuple[Cluster, Cluster, bool]]:
    """Chips of the engines, chips of the trainer, and whether these are apart."""
    for cluster in budget.clusters:
        yield cluster, cluster, False
        counts = {round(cluster.count * share) for share in ROLLOUT_SHARES}
        for count in sorted(counts - {0, cluster.count}):
            rest = cluster.count - count
            yield (
                Cluster(chip=cluster.chip, count=count),
                Cluster(chip=cluster.chip, count=rest),
                True,
            )
    for fore in budget.clusters:
        for aft in budget.clusters:
            if fore is not aft:
                yield fore, aft, True


def _rollouts(
    model: ModelConfig, job: RlJob, cluster: Cluster, limits: Limits
) -> Iterator[Rollout]:
    traffic = traffic_of(job)
    hardware = Hardware.of(cluster.chip, cluster.count)
    engine = engine_for(cluster.chip, limits.engine)
    for storage in storages(model, cluster.chip, limits.weights, limits.cache):
        for layout in serving_layouts(model, cluster.count, cluster.chip.node_chips):
            instance = Instance(
                model=model,
                layout=layout,
                hardware=hardware,
                numerics=storage.numerics,
                engine=engine,
            )
            if room(instance, traffic.context_tokens).shortfall_bytes:
                continue
            replicas = cluster.count // layout.chips
            yield Rollout(
                cluster=cluster,
                instance=instance,
                storage=storage,
                replicas=replicas,
                seconds=rollout_s(instance, traffic, job.prompts * job.group, replicas),
            )


def _choice(
    model: ModelConfig, job: RlJob, rollout: Rollout, training: TrainChoice, apart: bool
) -> RlChoice:
    setup = GrpoSetup(
        prompts=job.prompts,
        group=job.group,
        traffic=traffic_of(job),
        rollout=rollout.instance,
        replicas=rollout.replicas,
        training=training.setup,
        trainer=training.hardware,
        apart=apart,
        forwards=FORWARDS,
    )
    return RlChoice(rollout=rollout, training=training, setup=setup, step=grpo_step(model, setup))
