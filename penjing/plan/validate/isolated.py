"""Rows that time one phase alone: decoding at a batch, or prefilling prompts."""

from penjing.cost.layout import Layout
from penjing.cost.load import Seen
from penjing.cost.serving import (
    Instance,
    Traffic,
    prefill_latency_s,
    prefill_request_s,
    room,
    token_s,
)
from penjing.plan.layouts import has_experts
from penjing.plan.validate import labels
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row
from penjing.plan.validate.serving import best_layout, kept_limit_s
from penjing.plan.validate.setting import Setting, instance_of, metric


def decoding(setting: Setting) -> float:
    """A decode-only row: step time or tokens a second at a batch."""
    row = setting.row
    depth = labels.draft_depth_of(row)
    layout = _stated_layout(setting)
    replicas = max(1, setting.chips // layout.chips)
    if row.metric_name.startswith(("input", "total")):
        return prefilling(setting)
    if row.metric_name == "ttft_ms":
        raise Unmapped("time to first token of a run that only decodes")
    traffic = _decode_traffic(row)
    instance = instance_of(setting, layout, depth)
    stated = labels.batch_of(row, layout.chips * replicas)
    if stated is None:
        batch = _batch_within(instance, traffic, labels.latency_limit_s(row))
    else:
        batch = stated / replicas
    tpot = float(token_s(instance, max(1.0, batch), traffic.context_tokens))
    seen = Seen(output_tokens_per_s=batch / tpot, tpot_s=tpot, ttft_s=0.0, sequences=batch)
    return metric(setting, traffic, seen, replicas)


def _decode_traffic(row: Row) -> Traffic:
    try:
        return labels.traffic_of(row)
    except Unmapped:
        return Traffic(input_tokens=labels.input_tokens(row), output_tokens=1.0)


def _batch_within(instance: Instance, traffic: Traffic, limit_s: float | None) -> float:
    """The largest batch whose token time stays within a stated limit."""
    if limit_s is None:
        raise Unmapped("batch size not stated")
    limit_s = kept_limit_s(limit_s, float(token_s(instance, 1.0, traffic.context_tokens)))
    low, high = 1.0, max(1.0, room(instance, traffic.context_tokens).max_sequences)
    for _ in range(40):
        middle = (low * high) ** 0.5
        tpot = float(token_s(instance, middle, traffic.context_tokens))
        low, high = (middle, high) if tpot <= limit_s else (low, middle)
    return low


def _stated_layout(setting: Setting) -> Layout:
    placement = labels.placement_of(setting.row.parallelism, mixture=has_experts(setting.model))
    if placement.layout is not None:
        return placement.layout
    return best_layout(setting, Traffic(input_tokens=1024.0, output_tokens=1024.0))


def prefilling(setting: Setting) -> float:
    """A prefill-only row: time to first token, or prompt tokens a second."""
    row = setting.row
    layout = _stated_layout(setting)
    instance = instance_of(setting, layout)
    tokens = labels.input_tokens(row)
    replicas = max(1, setting.chips // layout.chips)
    if row.metric_name == "ttft_ms":
        batch = labels.batch_of(row, 1) or 1.0
        return _batch_prefill_s(instance, batch / layout.data, tokens) * 1e3
    stated = labels.batch_of(row, 1)
    if stated is None:
        each = prefill_request_s(instance, tokens)
    else:
        rank = max(1.0, stated / layout.data)
        each = _all_prefilled_s(instance, rank, tokens) / (rank * layout.data)
    rate = tokens / each * replicas
    match row.metric_name:
        case "input_tok_s_total":
            return rate
        case "input_tok_s_per_gpu" | "total_tok_s_per_gpu":
            return rate / setting.chips
        case "input_tok_s_per_node":
            return rate / setting.chips * 8
        case name:
            raise Unmapped(f"metric {name} is not predicted for {row.phase}")


def _all_prefilled_s(instance: Instance, prompts: float, tokens: float) -> float:
    """Seconds until ``prompts`` on every attention rank have passed; later passes overlap."""
    latency, passes = _passes(instance, prompts, tokens)
    return latency * (1 + (passes - 1) / instance.layout.pipeline)


def _batch_prefill_s(instance: Instance, prompts: float, tokens: float) -> float:
    """Mean seconds to the first token of ``prompts`` that arrive together, in full passes."""
    latency, passes = _passes(instance, prompts, tokens)
    return latency * (passes + 1) / 2


def _passes(instance: Instance, prompts: float, tokens: float) -> tuple[float, float]:
    """Seconds of a full pass, and how many of them the prompts take."""
    chunk = max(1.0, min(prompts, instance.engine.prefill_tokens // tokens))
    return float(prefill_latency_s(instance, chunk, tokens)), max(1.0, prompts / chunk)
