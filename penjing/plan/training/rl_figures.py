"""From the fastest layout of a GRPO step to a plan."""

from dataclasses import replace

from penjing.cost.interval import Metric
from penjing.cost.memory import usable_bytes
from penjing.cost.reinforcement import grpo_step
from penjing.cost.roofline import Bound, Hardware, Timing
from penjing.cost.serving import decode_step_s, decode_timings, room
from penjing.cost.training_setup import TrainStack
from penjing.errors import PenjingError
from penjing.hardware.budget import Budget
from penjing.hardware.chip import Chip
from penjing.models.config import ModelConfig
from penjing.plan.bottleneck import MORE, RATES, operator_classes
from penjing.plan.job import RlJob, ServeJob
from penjing.plan.plan import (
    Alternative,
    Basis,
    MemoryUse,
    OperatorClass,
    Plan,
    RlFigures,
    ServingGroup,
)
from penjing.plan.predicted import basis_of, inverse, predicted, provenance, times
from penjing.plan.price import Price, price_line
from penjing.plan.serving.nearest import does_not_serve
from penjing.plan.serving.search import Limits, search_serving
from penjing.plan.training.figures import (
    ALTERNATIVES,
    describe,
    does_not_train,
    training_group,
    training_operators,
)
from penjing.plan.training.reinforcement import RlChoice, RlFound, running, search_rl, step_of


def rl_plan(
    model: ModelConfig,
    job: RlJob,
    budget: Budget,
    stack: TrainStack,
    limits: Limits,
    prices: dict[Chip, Price],
    notes: tuple[str, ...],
) -> Plan:
    """The plan of the fastest step. Raises ``DoesNotFit``."""
    found = search_rl(model, job, budget, stack, limits)
    if not found.choices:
        raise _does_not_fit(model, job, budget, stack, limits, found)
    best = found.choices[0]
    hardware = [best.rollout.instance.hardware, best.training.hardware]
    return Plan(
        job=job,
        budget=str(budget),
        chips=budget.chips,
        groups=(_rollout_group(best), training_group(best.training)),
        figures=_figures(best, job, budget, prices),
        gains={str(rate): _gain(model, best, rate) for rate in RATES},
        operators=_operators(model, best),
        alternatives=_alternatives(found, job),
        layouts_tried=found.tried,
        points_tried=found.tried + sum(f.tried for f in found.trainings),
        infeasible=dict(found.infeasible),
        reasons=notes + _reasons(best, budget, prices),
        provenance=provenance(hardware),
    ).sealed()


def _does_not_fit(
    model: ModelConfig,
    job: RlJob,
    budget: Budget,
    stack: TrainStack,
    limits: Limits,
    found: RlFound,
) -> PenjingError:
    """Training needs more than an engine does, so it is what lacks unless the engine lacks too."""
    served = ServeJob(
        model=job.model, input_tokens=job.input_tokens, output_tokens=job.longest_output
    )
    search = search_serving(model, served, budget, limits, {})
    if not search.choices:
        return does_not_serve(model, served, budget, search, limits)
    trainings = list(found.trainings)
    return does_not_train(model, job.model, budget, trainings, step_of(job, stack), limits.weights)


def _gain(model: ModelConfig, choice: RlChoice, rate: Bound) -> float:
    setup = choice.setup
    rollout = replace(setup.rollout, hardware=setup.rollout.hardware.scaled(rate, MORE))
    faster = replace(setup, rollout=rollout, trainer=setup.trainer.scaled(rate, MORE))
    return choice.step.step_s / grpo_step(model, faster).step_s - 1.0


def _rollout_group(choice: RlChoice) -> ServingGroup:
    rollout, sequences = choice.rollout, running(choice)
    space = room(rollout.instance, choice.setup.traffic.context_tokens)
    capacity = rollout.cluster.chip.capacity_bytes
    return ServingGroup(
        role="rollout",
        chip=rollout.cluster.chip.name,
        instances=rollout.replicas,
        layout=rollout.instance.layout,
        engine=rollout.instance.engine.name,
        weights=rollout.storage.weights,
        cache=rollout.storage.cache,
        draft_depth=0,
        sequences=int(sequences),
        prefill_tokens=rollout.instance.engine.prefill_tokens,
        memory=MemoryUse(
            capacity_bytes=capacity,
            weights_bytes=space.weights_bytes,
            cache_bytes=space.sequence_bytes * sequences / rollout.instance.layout.data,
            activations_bytes=space.activations_bytes,
            reserved_bytes=capacity - usable_bytes(capacity),
        ),
    )


def _parts_s(choice: RlChoice) -> dict[str, float]:
    step = choice.step
    return {
        "rollout": step.rollout_s,
        "reward": step.reward_s,
        "log-probabilities": step.logprob_s,
        "update": step.update_s,
        "weight hand-over": step.handover_s,
    }


def _figures(choice: RlChoice, job: RlJob, budget: Budget, prices: dict[Chip, Price]) -> RlFigures:
    basis = basis_of([choice.rollout.instance.hardware, choice.training.hardware])
    generated = job.prompts * job.group * job.output_tokens
    rate = predicted(generated / choice.step.step_s, Metric.RL, basis)
    step = inverse(rate, generated)
    chips = {choice.rollout.cluster.chip: choice.rollout.cluster.count}
    if choice.step.apart:
        trainer = choice.training.hardware.chip
        chips[trainer] = chips.get(trainer, 0) + choice.training.setup.layout.chips
    usd = None
    if all(chip in prices for chip in chips):
        usd_per_h = sum(prices[chip].usd_per_h * count for chip, count in chips.items())
        usd = times(step, usd_per_h / 3600)
        if any(prices[chip].is_assumed for chip in chips):
            usd = replace(usd, basis=Basis.ASSUMED)
    return RlFigures(
        step_s=step,
        parts_s=_parts_s(choice),
        tokens_per_s=rate,
        tokens_per_s_per_chip=times(rate, 1.0 / budget.chips),
        usd_per_step=usd,
    )


def _operators(model: ModelConfig, choice: RlChoice) -> tuple[OperatorClass, ...]:
    instance, sequences = choice.rollout.instance, running(choice)
    context = choice.setup.traffic.context_tokens

    def decode(on: Hardware) -> list[Timing]:
        return decode_timings(replace(instance, hardware=on), sequences, context)

    step = float(decode_step_s(instance, sequences, context))
    rollout = operator_classes("rollout", decode, instance.hardware, step)
    return rollout + training_operators(model, choice.training)


def _alternatives(found: RlFound, job: RlJob) -> tuple[Alternative, ...]:
    best = found.choices[0].step.step_s
    generated = job.prompts * job.group * job.output_tokens
    return tuple(
        Alternative(
            layout=_describe(choice),
            tokens_per_s=generated / choice.step.step_s,
            step_s=choice.step.step_s,
            behind=1.0 - best / choice.step.step_s,
        )
        for choice in found.choices[1 : 1 + ALTERNATIVES]
    )


def _describe(choice: RlChoice) -> str:
    rollout = choice.rollout
    how = "apart" if choice.step.apart else "in turn"
    return (
        f"{how}: rollout {rollout.replicas} x [{rollout.instance.layout}] on "
        f"{rollout.replicas * rollout.instance.layout.chips} {rollout.cluster.chip.name}, "
        f"update {describe(choice.training)}"
    )


def _reasons(choice: RlChoice, budget: Budget, prices: dict[Chip, Price]) -> tuple[str, ...]:
    said = []
    if choice.step.apart:
        said.append(
            "engines and trainer have chips of their own: the update runs one step behind the "
            "rollout, so the policy that is trained is one version newer than the one that spoke"
        )
    else:
        said.append(
            "engines and trainer take the same chips in turn: what the other needs is moved to "
            "host memory meanwhile, and that move is not counted"
        )
    used = choice.rollout.cluster.count
    if choice.step.apart:
        used += choice.training.setup.layout.chips
    if used < budget.chips:
        said.append(f"{budget.chips - used} of {budget.chips} chips stay idle")
    chips = (choice.rollout.cluster.chip, choice.training.hardware.chip)
    return tuple(said) + tuple(dict.fromkeys(price_line(chip, prices) for chip in chips))
