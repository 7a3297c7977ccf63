"""Serving in the steady state: step times, latencies and throughput of one instance.

Every request brings ``input`` tokens and takes ``output`` ones. With B requests in flight, an
instance gives each of them a token every

    TPOT = step(B) / accepted + B * prefill / output

seconds: the second term is the prefill of the requests that replace those which finish, which
the others wait for. Throughput is B / TPOT. Disaggregated decoding drops the second term.
"""

from dataclasses import dataclass

import numpy as np

from penjing.cost.engine import IN_A_MODEL, Engine
from penjing.cost.forward import draft_ops, forward_ops
from penjing.cost.layout import Layout
from penjing.cost.memory import (
    activation_bytes,
    cache_bytes,
    usable_bytes,
    weight_bytes,
)
from penjing.cost.op import Quantity
from penjing.cost.roofline import Hardware, Timing, time_ops, total_seconds
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import ModelConfig

# Tokens a step yields with 0..3 drafted ones: DeepSeek-R1 on H20, "Together with SGLang: best
# practices for serving DeepSeek-R1 on H20-96G", Ant Group / LMSYS, 2025-09-26: accept lengths
# 1.8-1.9, 2.4-2.7, 2.9-3.3; the middle of each range.
ACCEPTED_TOKENS = (1.0, 1.85, 2.55, 3.1)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Mean lengths of one request, in tokens.

    ``varied``: lengths spread about the mean as in conversations, else all are equal; no output
    is longer than ``longest_output``.
    """

    input_tokens: float
    output_tokens: float
    varied: bool = False
    longest_output: float | None = None

    @property
    def context_tokens(self) -> float:
        """Mean context while decoding."""
        return self.input_tokens + self.output_tokens / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One running copy of a model: the unit that has a batch.

    ``draft_depth`` tokens are drafted a step by the model's own MTP head; an array tries several.
    """

    model: ModelConfig
    layout: Layout
    hardware: Hardware
    numerics: Numerics
    engine: Engine
    draft_depth: Quantity = 0.0

    @property
    def accepted(self) -> Quantity:
        """Tokens a decode step yields for each sequence."""
        accepted: Quantity = np.asarray(ACCEPTED_TOKENS)[np.asarray(self.draft_depth, dtype=int)]
        return accepted


def decode_timings(instance: Instance, sequences: Quantity, context: Quantity) -> list[Timing]:
    """Operators of one decode step with ``sequences`` running on the instance."""
    layout = instance.layout
    rank = np.maximum(1.0, sequences / (layout.data * layout.pipeline))
    depth = instance.draft_depth
    new = 1.0 + depth
    work = Pass(phase=Phase.DECODE, sequences=rank, new=new, cached=context, logits=new)
    timings = time_ops(
        forward_ops(instance.model, layout, work, instance.numerics), instance.hardware
    )
    if np.any(depth):
        draft = Pass(phase=Phase.DECODE, sequences=rank, new=1.0, cached=context)
        drafts = draft_ops(instance.model, layout, draft, instance.numerics)
        timings += [timing.times(depth) for timing in time_ops(drafts, instance.hardware)]
    return timings


def decode_step_s(instance: Instance, sequences: Quantity, context: Quantity) -> Quantity:
    """Seconds from one step of a sequence to the next, host included."""
    return decode_pass_s(instance, decode_timings(instance, sequences, context), sequences)


def decode_pass_s(instance: Instance, timings: list[Timing], sequences: Quantity) -> Quantity:
    """The same from the timings of the step."""
    per_rank = instance.engine.sequence_s * sequences / instance.layout.data
    return pass_s(instance, timings, instance.engine.layer_s) + per_rank


def token_s(instance: Instance, sequences: Quantity, context: Quantity) -> Quantity:
    """Seconds a sequence takes for one token of output, drafts counted in."""
    return decode_step_s(instance, sequences, context) / instance.accepted


def pass_s(instance: Instance, timings: list[Timing], layer_s: float) -> Quantity:
    """Seconds of a pass: the slower of device and launches, and the host's part around it."""
    launches = layer_s * len(instance.model.layers)
    device = total_seconds(timings) * IN_A_MODEL
    return np.maximum(device, launches) + instance.engine.step_s


def prefill_timings(instance: Instance, prompts: Quantity, tokens: Quantity) -> list[Timing]:
    """Operators of a pass that prefills ``prompts`` of ``tokens`` on every attention rank."""
    work = Pass(phase=Phase.PREFILL, sequences=prompts, new=tokens)
    ops = forward_ops(instance.model, instance.layout, work, instance.numerics)
    return time_ops(ops, instance.hardware)


def prefill_latency_s(instance: Instance, prompts: Quantity, tokens: Quantity) -> Quantity:
    """Seconds until such a pass has left the last stage."""
    timings = prefill_timings(instance, prompts, tokens)
    return pass_s(instance, timings, instance.engine.prefill_layer_s)


def prefill_request_s(instance: Instance, tokens: float) -> float:
    """Instance-seconds that one prompt costs when prefill runs in full passes."""
    prompts = max(1.0, np.floor(instance.engine.prefill_tokens / tokens))
    latency = prefill_latency_s(instance, prompts, tokens)
    return float(latency / (prompts * instance.layout.data * instance.layout.pipeline))


@dataclass(frozen=True, kw_only=True, eq=False)
class Steady:
    """Steady state of an instance; arrays run over the batch sizes asked for."""

    sequences: Quantity
    step_s: Quantity
    prefill_s: float  # instance-seconds a request
    prefill_latency_s: float  # until one prompt alone has passed
    tpot_s: Quantity
    ttft_s: Quantity
    output_tokens_per_s: Quantity


def steady_state(
    instance: Instance, traffic: Traffic, sequences: Quantity, *, disaggregated: bool = False
) -> Steady:
    """Latencies and throughput with ``sequences`` always in flight."""
    step = decode_step_s(instance, sequences, traffic.context_tokens)
    prefill = 0.0 if disaggregated else prefill_request_s(instance, traffic.input_tokens)
    stolen = sequences * prefill / traffic.output_tokens
    tpot = step / instance.accepted + stolen
    latency = float(prefill_latency_s(instance, 1.0, traffic.input_tokens))
    busy = np.minimum(stolen / tpot, 0.95)
    ttft = latency * (1 + busy / (2 * (1 - busy))) + step / 2
    return Steady(
        sequences=sequences,
        step_s=step,
        prefill_s=prefill,
        prefill_latency_s=latency,
        tpot_s=tpot,
        ttft_s=ttft,
        output_tokens_per_s=sequences / tpot,
    )


@dataclass(frozen=True, kw_only=True)
class Room:
    """Device memory of one chip by kind, in bytes, and the sequences that fit."""

    weights_bytes: float
    activations_bytes: float
    usable_bytes: float
    sequence_bytes: float  # cache of one sequence at its longest, on one chip
    max_sequences: float  # on the whole instance; below 1: nothing fits

    @property
    def shortfall_bytes(self) -> float:
        """What is missing for a single sequence; 0 where it fits."""
        need = self.weights_bytes + self.activations_bytes + self.sequence_bytes
        return max(0.0, need - self.usable_bytes)


def room(instance: Instance, tokens: float, prefill_tokens: float | None = None) -> Room:
    """How many sequences of ``tokens`` fit beside weights and activations."""
    model, layout, numerics = instance.model, instance.layout, instance.numerics
    weights = weight_bytes(model, layout, numerics.weights)
    chunk = instance.engine.prefill_tokens if prefill_tokens is None else prefill_tokens
    activations = activation_bytes(model, layout, chunk)
    usable = usable_bytes(instance.hardware.chip.capacity_bytes)
    each = float(cache_bytes(model, layout, numerics.cache, 1.0, tokens))
    free = usable - weights - activations
    return Room(
        weights_bytes=weights,
        activations_bytes=activations,
        usable_bytes=usable,
        sequence_bytes=each,
        max_sequences=max(0.0, free / each) * layout.data,
    )
