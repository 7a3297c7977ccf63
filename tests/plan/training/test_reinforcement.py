from collections.abc import Callable
from dataclasses import replace

import pytest

from penjing.cost.load import capacity
from penjing.cost.reinforcement import grpo_step, handover_s, rollout_s
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Instance, room
from penjing.cost.training_setup import STACKS
from penjing.hardware.budget import Budget
from penjing.hardware.cluster import Cluster
from penjing.models.catalogue import load_model
from penjing.plan.job import RlJob
from penjing.plan.layouts import serving_layouts
from penjing.plan.numerics import storages
from penjing.plan.serving.search import Limits, engine_for
from penjing.plan.training.reinforcement import (
    DOES_NOT_ROLL_OUT,
    DOES_NOT_TRAIN,
    FORWARDS,
    RlFound,
    running,
    search_rl,
    step_of,
    traffic_of,
)
from penjing.plan.training.search import search_training

FindBudget = Callable[[str], Budget]
MODEL = load_model("R1-Distill-Qwen-1.5B")
STACK = STACKS["megatron"]
JOB = RlJob(
    model=MODEL.name,
    prompts=8,
    group=16,
    input_tokens=512,
    output_tokens=1024,
    longest_output=4096,
)


@pytest.fixture(scope="module")
def found(budget: FindBudget) -> dict[str, RlFound]:
    chips = ("1xH20", "4xH20", "2xH20+2xA800")
    return {c: search_rl(MODEL, JOB, budget(c), STACK, Limits()) for c in chips}


def test_the_update_takes_every_response_at_its_mean_and_must_hold_the_longest() -> None:
    step = step_of(JOB, STACK)
    assert (step.sequence, step.batch, step.longest) == (512 + 1024, 8 * 16, 512 + 4096)
    assert step.stack is STACK


def test_lengths_are_spread_unless_the_longest_is_the_mean() -> None:
    spread = traffic_of(JOB)
    assert (spread.input_tokens, spread.output_tokens) == (512.0, 1024.0)
    assert (spread.varied, spread.longest_output) == (True, 4096.0)
    assert not traffic_of(replace(JOB, longest_output=1024)).varied


def ways(found: RlFound) -> set[tuple[str, int, str, int, bool]]:
    return {
        (
            c.rollout.cluster.chip.name,
            c.rollout.cluster.count,
            c.training.hardware.chip.name,
            c.training.setup.layout.chips,
            c.step.apart,
        )
        for c in found.choices
    }


def test_every_way_to_divide_the_chips_is_considered(found: dict[str, RlFound]) -> None:
    assert ways(found["1xH20"]) == {("H20", 1, "H20", 1, False)}
    assert ways(found["4xH20"]) == {
        ("H20", 4, "H20", 4, False),
        ("H20", 1, "H20", 3, True),
        ("H20", 2, "H20", 2, True),
        ("H20", 3, "H20", 1, True),
    }
    a800 = "A800 80GB SXM"
    assert ways(found["2xH20+2xA800"]) == {
        ("H20", 2, "H20", 2, False),
        ("H20", 1, "H20", 1, True),
        (a800, 2, a800, 2, False),
        (a800, 1, a800, 1, True),
        ("H20", 2, a800, 2, True),
        (a800, 2, "H20", 2, True),
    }
    for search in found.values():
        assert search.tried == len(search.choices) == len(search.trainings)
        assert not search.infeasible


def test_the_fastest_step_comes_first(found: dict[str, RlFound]) -> None:
    for search in found.values():
        seconds = [choice.step.step_s for choice in search.choices]
        assert seconds == sorted(seconds)


def test_parts_add_up_in_turn_and_overlap_apart(found: dict[str, RlFound]) -> None:
    seen = set()
    for search in found.values():
        for choice in search.choices:
            step = choice.step
            engines = step.rollout_s + step.reward_s
            trainer = step.logprob_s + step.update_s
            both = max(engines, trainer) if step.apart else engines + trainer
            assert step.step_s == pytest.approx(both + step.handover_s)
            assert min(step.rollout_s, step.reward_s, step.logprob_s, step.update_s) > 0
            seen.add(step.apart)
    assert seen == {True, False}


def test_new_weights_are_handed_over_in_every_way(found: dict[str, RlFound]) -> None:
    for search in found.values():
        for choice in search.choices:
            assert choice.step.handover_s == handover_s(MODEL, choice.rollout.instance) > 0


def test_each_step_is_that_of_its_setup(found: dict[str, RlFound]) -> None:
    for choice in found["4xH20"].choices:
        setup = choice.setup
        assert choice.step == grpo_step(MODEL, setup)
        assert (setup.prompts, setup.group, setup.forwards) == (8, 16, FORWARDS)
        assert setup.apart is choice.step.apart
        assert setup.training == choice.training.setup
        assert setup.replicas * setup.rollout.layout.chips <= choice.rollout.cluster.count


def every_rollout(cluster: Cluster) -> list[float]:
    """Seconds of all responses on every layout, one at a time."""
    traffic, chip = traffic_of(JOB), cluster.chip
    seconds = []
    for storage in storages(MODEL, chip, "auto", "auto"):
        for layout in serving_layouts(MODEL, cluster.count, chip.node_chips):
            instance = Instance(
                model=MODEL,
                layout=layout,
                hardware=Hardware.of(chip, cluster.count),
                numerics=storage.numerics,
                engine=engine_for(chip, "auto"),
            )
            if not room(instance, traffic.context_tokens).shortfall_bytes:
                replicas = cluster.count // layout.chips
                seconds.append(rollout_s(instance, traffic, 8 * 16, replicas))
    return seconds


def test_each_way_takes_its_quickest_rollout_and_update(found: dict[str, RlFound]) -> None:
    shared = step_of(JOB, STACK)
    for search in found.values():
        for choice in search.choices:
            cluster = choice.rollout.cluster
            assert choice.rollout.seconds == choice.step.rollout_s
            assert choice.rollout.seconds == pytest.approx(min(every_rollout(cluster)))
            hardware, chips = choice.training.hardware, choice.training.setup.layout.chips
            best = search_training(MODEL, hardware.chip, chips, shared).choices[0]
            assert choice.training.step.step_s == best.step.step_s


def test_what_runs_at_a_time_is_what_comes_or_what_fits(found: dict[str, RlFound]) -> None:
    for choice in found["4xH20"].choices:
        each = 8 * 16 / choice.setup.replicas
        fits = capacity(choice.rollout.instance, choice.setup.traffic)
        assert running(choice) == min(each, fits)
    one = found["1xH20"].choices[0]
    many = replace(one, setup=replace(one.setup, prompts=10_000))
    assert running(many) == capacity(one.rollout.instance, one.setup.traffic)
    alone = replace(one, setup=replace(one.setup, prompts=1, group=1, replicas=4))
    assert running(alone) == 1.0


def test_what_lacks_on_either_side_is_counted(budget: FindBudget) -> None:
    """Two 4090s roll out a 7B model together, one of them cannot; two train it offloaded."""
    model = load_model("R1-Distill-Llama-70B")
    job = replace(JOB, model=model.name)
    nothing = search_rl(model, job, budget("1xH20"), STACK, Limits())
    assert nothing.choices == ()
    assert nothing.infeasible == {DOES_NOT_ROLL_OUT: 1}
    only_rollout = search_rl(model, job, budget("2xH20"), STACK, Limits())
    assert only_rollout.choices == ()
    assert only_rollout.infeasible == {DOES_NOT_TRAIN: 1, DOES_NOT_ROLL_OUT: 1}
    assert only_rollout.trainings[0].shortfall_bytes > 0


def test_given_formats_and_engine_reach_both_sides(budget: FindBudget) -> None:
    limits = Limits(weights="bf16", cache="bf16", engine="vllm")
    best = search_rl(MODEL, JOB, budget("2xL20"), STACKS["tuned"], limits).choices[0]
    assert (best.rollout.storage.weights, best.rollout.storage.cache) == ("bf16", "bf16")
    assert best.rollout.instance.engine.name == "vllm"
    assert best.training.weights == "bf16"
    assert best.training.setup.stack is STACKS["tuned"]


def test_more_chips_make_shorter_steps(budget: FindBudget, found: dict[str, RlFound]) -> None:
    two = search_rl(MODEL, JOB, budget("2xH20"), STACK, Limits())
    seconds = [s.choices[0].step.step_s for s in (found["1xH20"], two, found["4xH20"])]
    assert seconds == sorted(seconds, reverse=True)
