"""Training rows: step time, tokens a second, model FLOP/s, utilisation, chip-hours."""

import re
from dataclasses import replace

from penjing.cost.layout import Layout
from penjing.cost.training_memory import recomputations, train_memory
from penjing.cost.training_setup import STACKS, Recompute, TrainSetup, TrainStack, Zero
from penjing.cost.training_step import model_flops_per_token, train_step
from penjing.cost.work import Numerics
from penjing.errors import Contradiction
from penjing.hardware.precision import Precision
from penjing.models.config import ModelConfig
from penjing.plan.layouts import has_experts
from penjing.plan.validate import labels
from penjing.plan.validate.number import (
    MOST_RANKS,
    MOST_REQUESTS,
    MOST_TOKENS,
    Unmapped,
    number,
    whole,
)
from penjing.plan.validate.setting import Setting

SEQUENCE = 4096  # where a row does not state one: Megatron's and SimuMax's default


def training(setting: Setting) -> float:
    """The row's number for a pretraining or fine-tuning run."""
    row = setting.row
    if row.metric_name == "time_to_train_min":
        raise Unmapped("time to train rests on the samples to converge, which are not stated")
    setup = replace(_setup(setting), stack=_stack(row.engine, row.source_key))
    step = train_step(setting.model, setup, setting.hardware)
    tokens = setup.global_batch * setup.sequence / step.step_s
    flops = tokens / setting.chips * model_flops_per_token(setting.model, setup.sequence)
    match row.metric_name:
        case "step_time_s":
            return step.step_s
        case "train_tok_s_per_gpu":
            return tokens / setting.chips
        case "tok_s_total_train":
            return tokens
        case "tflops":
            return flops / 1e12
        case "mfu":
            return flops / setting.chip.flops_per_s(Precision.BF16)
        case "gpu_hours" | "gpu_hours_per_T_tokens":
            trained = _trained_tokens(setting)
            return trained / tokens * setting.chips / 3600
        case name:
            raise Unmapped(f"metric {name} is not predicted for {row.phase}")


def _stack(engine: str, source: str) -> TrainStack:
    """How well tuned the software of a row is."""
    low = engine.lower()
    if source.startswith("mlperf") or "nemo" in low or "bridge" in low or "hai-llm" in low:
        return STACKS["tuned"]
    if "megatron" in low or "flagscale" in low:
        return STACKS["megatron"]
    return STACKS["fsdp"]


def _trained_tokens(setting: Setting) -> float:
    if setting.row.metric_name == "gpu_hours_per_T_tokens":
        return 1e12
    found = re.search(r"([\d.]+)T tokens", setting.row.notes)
    if not found:
        raise Unmapped("number of tokens trained on not stated")
    return number(found[1], "tokens trained on", 1e6) * 1e12


def _setup(setting: Setting) -> TrainSetup:
    row, chips = setting.row, setting.chips
    text = row.parallelism.lower()
    sequence = int(_number(row.input_len) or SEQUENCE)
    numerics = replace(setting.numerics, imbalance=1.0)
    if "not in summary" in text:
        return _chosen(setting, sequence, numerics)
    layout = training_layout(text, chips, setting.model)
    micro, batch = _batches(setting, layout)
    setup = TrainSetup(
        layout=layout,
        sequence=sequence,
        global_batch=batch,
        micro_batch=micro,
        virtual_stages=labels.degree("vp", text) or 1,
        zero=_zero(text),
        numerics=numerics,
        adapters="lora" in row.notes.lower(),
    )
    stated = _recompute(row.notes.lower() + " " + text)
    return replace(setup, recompute=stated) if stated else least_recompute(setting, setup)


def training_layout(text: str, chips: int, model: ModelConfig) -> Layout:
    """Degrees as stated in lower case; what is left of the chips is data parallel."""
    tensor, pipeline = labels.degree("tp", text) or 1, labels.degree("pp", text) or 1
    context, expert = labels.degree("cp", text) or 1, labels.degree("ep", text) or 1
    nested = re.search(r"train \[tp,cp,ep,pp,vpp\]=\[(\d+),(\d+),(\d+),(\d+)", text)
    if nested:
        tensor, context, expert, pipeline = (
            whole(g, "degree of parallelism", MOST_RANKS) for g in nested.groups()
        )
    used = tensor * pipeline * context
    if chips % used:
        raise Unmapped(f"{chips} chips are not a multiple of the stated layout ({text})")
    try:
        return Layout(
            tensor=tensor,
            data=chips // used,
            pipeline=pipeline,
            context=context,
            expert=expert if has_experts(model) else 1,
        )
    except Contradiction as error:
        raise Unmapped(str(error)) from None


def _zero(text: str) -> Zero:
    sharded = re.search(r"fsdp(\d*)", text)
    return Zero.PARAMETERS if sharded and sharded[1] != "0" else Zero.OPTIMIZER


def _recompute(text: str) -> Recompute | None:
    if "full ac" in text or "ac=recompute" in text:
        return Recompute.FULL
    if "selective ac" in text:
        return Recompute.SELECTIVE
    return None


def _batches(setting: Setting, layout: Layout) -> tuple[int, int]:
    """Micro-batch and global batch in sequences; a batch that is not stated is a large one."""
    text, notes = setting.row.concurrency_or_batch, setting.row.notes
    micro = int(_number_after("MBS", text) or 1)
    stated = _number_after("GBS", text) or _number_after("GBS=", notes)
    if not stated:
        stated = _number_after("global batch", notes)
    local, rounds = _number_after("local bs", text), re.match(r"(\d+) micro-batch", text)
    if stated:
        each = layout.data * micro
        return micro, max(each, round(stated / each) * each)
    if local:
        micro = 1 if layout.pipeline > 1 else int(local)
        return micro, layout.data * int(local)
    if rounds:
        return micro, layout.data * whole(rounds[1], "micro-batches", MOST_REQUESTS)
    if "1 sequence per GPU" in text:
        return 1, layout.data
    return 1, layout.data * 8 * layout.pipeline


def _number_after(word: str, text: str) -> float | None:
    found = re.search(rf"{word} ?([\d,]+)", text)
    return number(found[1], word, MOST_REQUESTS) if found else None


def _number(text: str) -> float | None:
    found = re.fullmatch(r"(?:avg total seq )?([\d,]+)", text)
    return number(found[1], "sequence length", MOST_TOKENS) if found else None


def least_recompute(setting: Setting, setup: TrainSetup) -> TrainSetup:
    """Tuned runs recompute no more than they must to fit, in the way that costs least."""
    able = recomputations(setting.model, setup, setting.chip, setup.sequence)
    if not able:
        return replace(setup, recompute=Recompute.FULL)
    if len(able) == 1:
        return able[0]
    return min(able, key=lambda tried: train_step(setting.model, tried, setting.hardware).step_s)


def _chosen(setting: Setting, sequence: int, numerics: Numerics) -> TrainSetup:
    """The fastest layout that fits, for rows that do not state theirs (MLPerf)."""
    stated = _number_after("GBS", setting.row.concurrency_or_batch)
    if not stated:
        raise Unmapped("global batch not stated")
    batch = int(stated)
    found: list[tuple[float, TrainSetup]] = []
    for setup in _candidates(setting, sequence, batch, numerics):
        setup = least_recompute(setting, setup)
        if train_memory(setting.model, setup, setting.chip).shortfall_bytes == 0:
            found.append((train_step(setting.model, setup, setting.hardware).step_s, setup))
    if not found:
        raise Unmapped("no training layout fits the stated chips")
    return min(found, key=lambda pair: pair[0])[1]


def _candidates(
    setting: Setting, sequence: int, batch: int, numerics: Numerics
) -> list[TrainSetup]:
    setups = []
    layers = len(setting.model.layers)
    for tensor in (1, 2, 4, 8):
        for pipeline in (1, 2, 4, 8, 9, 16):
            for context in (1, 2, 4):
                used = tensor * pipeline * context
                if setting.chips % used or batch % (setting.chips // used):
                    continue
                virtual = max(1, layers // pipeline // 2) if pipeline > 1 else 1
                setups.append(
                    TrainSetup(
                        layout=Layout(
                            tensor=tensor,
                            data=setting.chips // used,
                            pipeline=pipeline,
                            context=context,
                        ),
                        sequence=sequence,
                        global_batch=batch,
                        virtual_stages=virtual,
                        numerics=numerics,
                    )
                )
    return setups
