"""Reinforcement-learning rows: whole GRPO steps, and rows that time the trainer alone."""

import re
from dataclasses import replace

from penjing.cost.layout import Layout
from penjing.cost.reinforcement import GrpoSetup, grpo_step
from penjing.cost.serving import Traffic
from penjing.cost.training_setup import STACKS, TrainSetup
from penjing.plan.validate.number import (
    MOST_RANKS,
    MOST_REQUESTS,
    MOST_TOKENS,
    Unmapped,
    number,
    whole,
)
from penjing.plan.validate.setting import Setting, instance_of
from penjing.plan.validate.training import least_recompute, training, training_layout

PROMPT_TOKENS = 150.0  # of mathematics problems; the rows give prompt and response together


def reinforcement(setting: Setting) -> float:
    """The row's number for a step of reinforcement learning."""
    row = setting.row
    if "trainer only" in row.notes:
        return training(setting)
    total = re.fullmatch(r"avg total seq ([\d,]+)", row.input_len)
    if not total or "gen [TP,PP]" not in row.parallelism:
        raise Unmapped("response lengths or layout of the reinforcement-learning run not stated")
    length = float(whole(total[1], "sequence length", MOST_TOKENS))
    setup = _setup(setting, length)
    step = grpo_step(setting.model, setup)
    match row.metric_name:
        case "step_time_s":
            return step.step_s
        case "tok_s_per_gpu":
            return setup.responses * length / step.step_s / setting.chips
        case name:
            raise Unmapped(f"metric {name} is not predicted for {row.phase}")


def _setup(setting: Setting, length: float) -> GrpoSetup:
    text = setting.row.parallelism
    generate = re.search(r"gen \[TP,PP\]=\[(\d+),(\d+)\]", text)
    batch = re.search(r"G-GBS ([\d,]+)", setting.row.concurrency_or_batch)
    if not generate or not batch:
        raise Unmapped("generation layout or batch not stated")
    longest = re.search(r"max ([\d,]+)", setting.row.notes)
    apart = "Off" in text
    chips = setting.chips // 2 if apart else setting.chips  # of each side; halves are assumed
    layout = training_layout(text.lower(), chips, setting.model)
    train = TrainSetup(
        layout=layout,
        sequence=round(length),
        global_batch=layout.data,
        numerics=replace(setting.numerics, imbalance=1.0),
        stack=STACKS["megatron"],
    )
    rollout = Layout(
        tensor=whole(generate[1], "tensor parallelism", MOST_RANKS),
        pipeline=whole(generate[2], "pipeline parallelism", MOST_RANKS),
    )
    return GrpoSetup(
        prompts=whole(batch[1], "batch", MOST_REQUESTS),
        group=1,
        traffic=Traffic(
            input_tokens=PROMPT_TOKENS,
            output_tokens=max(1.0, length - PROMPT_TOKENS),
            varied=True,
            longest_output=number(longest[1], "longest output", MOST_TOKENS) if longest else None,
        ),
        rollout=instance_of(setting, rollout),
        replicas=max(1, chips // rollout.chips),
        training=least_recompute(setting, train),
        trainer=setting.hardware,
        apart=apart,
        forwards=2,  # NeMo-RL asks the old policy and the reference
    )
