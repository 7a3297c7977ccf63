"""From a row to the number the cost model puts in its place."""

from dataclasses import dataclass, replace
from functools import cache

from penjing.cost.engine import Engine, engine_named
from penjing.cost.layout import Layout
from penjing.cost.load import (
    Clients,
    Load,
    Saturated,
    Seen,
    StaticBatch,
    sequences_within,
    serve,
    serve_apart,
)
from penjing.cost.roofline import Hardware
from penjing.cost.serving import (
    Instance,
    Traffic,
    decode_step_s,
    prefill_latency_s,
    prefill_request_s,
    room,
)
from penjing.cost.work import Numerics
from penjing.errors import PenjingError, UnknownName
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.models.catalogue import load_model
from penjing.models.config import GroupedQuery, ModelConfig, MoE
from penjing.plan.validate import labels
from penjing.plan.validate.formats import cache_of, weights_of
from penjing.plan.validate.labels import Unmapped
from penjing.plan.validate.row import Row

# The busiest expert rank over the mean when experts are spread and not forced even: SGLang on 96
# H100 runs 59.3k against 50.3k tokens/s a node with perfect and default balancing (LMSYS
# 2025-05-05), 18 % of a step that is about two thirds expert work.
EXPERT_IMBALANCE = 1.25


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every phase needs of a row."""

    row: Row
    chip: Chip
    chips: int
    model: ModelConfig
    engine: Engine
    numerics: Numerics


def setting_of(row: Row) -> Setting:
    """Chip, model, engine and formats; raises ``Unmapped``."""
    chip, model = _chip(row), _model(row.model)
    weights = weights_of(row, model, chip)
    even = "balanced routing" in row.notes or "force-balanced" in row.notes
    numerics = Numerics(
        weights=weights,
        cache=cache_of(row, weights),
        imbalance=1.0 if even else EXPERT_IMBALANCE,
    )
    return Setting(
        row=row,
        chip=chip,
        chips=_chips(row),
        model=model,
        engine=engine_of(row.engine, chip),
        numerics=numerics,
    )


def _chip(row: Row) -> Chip:
    try:
        return load_catalogue().find(row.chip).chip
    except UnknownName:
        raise Unmapped(f"chip {row.chip!r} is not one part of the catalogue") from None


def _chips(row: Row) -> int:
    try:
        return max(1, int(float(row.chips_total)))
    except ValueError:
        raise Unmapped("number of chips not stated") from None


@cache
def _model(label: str) -> ModelConfig:
    name, _, cut = label.partition(" (truncated to ")
    try:
        model = load_model(name)
    except PenjingError:
        raise Unmapped(f"model {label!r} is not bundled") from None
    if not cut:
        return model
    keep = int(cut.split()[0])
    return replace(model, layers=model.layers[:keep], mtp=())


def engine_of(text: str, chip: Chip) -> Engine:
    """The engine a label speaks of; an unknown one is taken as the default."""
    low = text.lower()
    for part, name in (
        ("tensorrt", "tensorrt-llm"),
        ("trtllm", "tensorrt-llm"),
        ("nim", "tensorrt-llm"),
        ("lmdeploy", "tensorrt-llm"),
        ("sglang", "sglang"),
        ("transformers", "transformers"),
        ("mindie", "mindie"),
        ("ascend", "vllm-ascend"),
        ("llama.cpp", "llama.cpp"),
        ("ktransformers", "llama.cpp"),
        ("vllm", "vllm"),
    ):
        if part in low:
            return _batch_limit(engine_named(name), chip)
    return engine_named("sglang")


def _batch_limit(engine: Engine, chip: Chip) -> Engine:
    """vLLM serves 256 sequences at a time on A100s and on devices under 70 GiB, else 1,024."""
    if engine.name != "vllm" or chip.memory.capacity_bytes is None:
        return engine
    small = chip.capacity_bytes < 70 * 2**30 or chip.architecture == "ampere"
    return replace(engine, max_sequences=256) if small else engine


# --- serving ----------------------------------------------------------------------------------


def serving(setting: Setting) -> float:
    """A throughput or latency row of an online or offline serving run, in the row's unit."""
    row = setting.row
    depth = labels.draft_depth_of(row)
    mixture = any(isinstance(layer.feed_forward, MoE) for layer in setting.model.layers)
    placement = labels.placement_of(row.parallelism, mixture=mixture)
    traffic = labels.traffic_of(row)
    if placement.decode_instances:
        assert placement.layout is not None
        instance = instance_of(setting, placement.layout, depth)
        load = labels.load_of(row, 1)
        if not isinstance(load, Clients):
            raise Unmapped("disaggregated run without a stated number of clients")
        ratio = (placement.prefill_instances, placement.decode_instances)
        seen = serve_apart(instance, instance, ratio, traffic, load.concurrency)
        return metric(setting, traffic, seen, 1)
    limit_s = labels.latency_limit_s(row)
    layout = placement.layout or best_layout(setting, traffic, limit_s)
    replicas = max(1, setting.chips // layout.chips)
    load = _load(row, replicas)
    instance = _within(instance_of(setting, layout, depth), traffic, limit_s)
    return metric(setting, traffic, serve(instance, traffic, load), replicas)


def _within(instance: Instance, traffic: Traffic, limit_s: float | None) -> Instance:
    """The instance with its batch capped so that it keeps a limit which the run is known to keep."""
    if limit_s is None:
        return instance
    most = max(1.0, sequences_within(instance, traffic, limit_s) / instance.layout.data)
    return replace(instance, engine=replace(instance.engine, max_sequences=int(most)))


def _load(row: Row, replicas: int) -> Load:
    load = labels.load_of(row, replicas)
    if row.phase == "serving-offline" and isinstance(load, Clients):
        return StaticBatch(batch=load.concurrency)
    return load


def instance_of(setting: Setting, layout: Layout, depth: int = 0) -> Instance:
    return Instance(
        model=setting.model,
        layout=layout,
        hardware=_hardware(setting.chip, setting.chips),
        numerics=setting.numerics,
        engine=setting.engine,
        draft_depth=depth,
    )


@cache
def _hardware(chip: Chip, chips: int) -> Hardware:
    return Hardware.of(chip, chips)


def metric(setting: Setting, traffic: Traffic, seen: Seen, replicas: int) -> float:
    """What was seen, in the unit of the row."""
    rate = seen.output_tokens_per_s * replicas
    both = 1 + traffic.input_tokens / traffic.output_tokens
    match setting.row.metric_name:
        case "output_tok_s_total":
            return rate
        case "output_tok_s_per_gpu":
            return rate / setting.chips
        case "output_tok_s_per_node":
            return rate / setting.chips * 8
        case "output_tok_s_per_user":
            return 1.0 / seen.tpot_s
        case "total_tok_s_total":
            return rate * both
        case "total_tok_s_per_gpu":
            return rate * both / setting.chips
        case "req_s":
            return rate / traffic.output_tokens
        case "tpot_ms":
            return seen.tpot_s * 1e3
        case "ttft_ms":
            return seen.ttft_s * 1e3
        case name:
            raise Unmapped(f"metric {name} is not predicted for {setting.row.phase}")


def best_layout(setting: Setting, traffic: Traffic, limit_s: float | None = None) -> Layout:
    """The layout with the highest throughput within the limit, where a row states none."""
    return _best_layout(
        setting.model,
        setting.chip,
        setting.chips,
        setting.numerics,
        setting.engine,
        traffic,
        limit_s,
    )


@cache
def _best_layout(
    model: ModelConfig,
    chip: Chip,
    chips: int,
    numerics: Numerics,
    engine: Engine,
    traffic: Traffic,
    limit_s: float | None,
) -> Layout:
    found: list[tuple[bool, float, Layout]] = []
    for layout in _candidates(model, chips, chip.node_chips):
        instance = Instance(
            model=model,
            layout=layout,
            hardware=_hardware(chip, chips),
            numerics=numerics,
            engine=engine,
        )
        if room(instance, traffic.context_tokens).max_sequences < 1:
            continue
        capped = _within(instance, traffic, limit_s)
        seen = serve(capped, traffic, Saturated())
        keeps = limit_s is None or seen.tpot_s <= limit_s * 1.01
        found.append((keeps, seen.output_tokens_per_s * (chips // layout.chips), layout))
    if not found:
        raise Unmapped("no layout fits the stated chips")
    return max(found, key=lambda triple: triple[:2])[2]


def _candidates(model: ModelConfig, chips: int, node: int) -> list[Layout]:
    attention = model.layers[0].attention
    mixture = any(isinstance(layer.feed_forward, MoE) for layer in model.layers)
    heads = attention.num_heads
    kv = attention.num_kv_heads if isinstance(attention, GroupedQuery) else heads
    degrees = [d for d in (1, 2, 3, 4, 5, 6, 8, 16, 32, 64) if d <= min(chips, node)]
    layouts = [Layout(tensor=d) for d in degrees if heads % d == 0 and (d <= kv or d % kv == 0)]
    if mixture:
        layouts += [Layout(data=d, expert=d) for d in degrees if d > 1]
    if chips > node:
        layouts += [
            Layout(tensor=t, pipeline=p)
            for t in degrees
            for p in (2, 4, 8)
            if t * p <= chips and heads % t == 0
        ]
    return layouts


# --- decode and prefill alone -----------------------------------------------------------------


def decoding(setting: Setting) -> float:
    """A decode-only row: step time or tokens a second at a batch."""
    row = setting.row
    depth = labels.draft_depth_of(row)
    layout = _stated_layout(setting)
    replicas = max(1, setting.chips // layout.chips)
    if row.metric_name.startswith(("input", "total")):
        return prefilling(setting)
    traffic = _decode_traffic(row)
    instance = instance_of(setting, layout, depth)
    batch = labels.batch_of(row, layout.chips if "per GPU" in row.concurrency_or_batch else 1)
    if batch is None:
        batch = _batch_within(instance, traffic, labels.latency_limit_s(row))
    elif "per GPU" not in row.concurrency_or_batch:
        batch = batch / replicas
    step = float(decode_step_s(instance, max(1.0, batch), traffic.context_tokens))
    seen = Seen(
        output_tokens_per_s=batch * instance.accepted / step,
        tpot_s=step / instance.accepted,
        ttft_s=0.0,
        sequences=batch,
    )
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
    low, high = 1.0, max(1.0, room(instance, traffic.context_tokens).max_sequences)
    for _ in range(40):
        middle = (low * high) ** 0.5
        step = float(decode_step_s(instance, middle, traffic.context_tokens))
        low, high = (middle, high) if step / instance.accepted <= limit_s else (low, middle)
    return low


def _stated_layout(setting: Setting) -> Layout:
    mixture = any(isinstance(layer.feed_forward, MoE) for layer in setting.model.layers)
    placement = labels.placement_of(setting.row.parallelism, mixture=mixture)
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
    batch = labels.batch_of(row, 1)
    if batch is not None and batch / layout.data * tokens < instance.engine.prefill_tokens:
        rank = max(1.0, batch / layout.data)
        each = _batch_prefill_s(instance, rank, tokens) / (rank * layout.data)
    else:
        each = prefill_request_s(instance, tokens)
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


def _batch_prefill_s(instance: Instance, prompts: float, tokens: float) -> float:
    """Mean seconds to the first token of ``prompts`` that arrive together, in full passes."""
    chunk = max(1.0, min(prompts, instance.engine.prefill_tokens // tokens))
    passes = max(1.0, prompts / chunk)
    return float(prefill_latency_s(instance, chunk, tokens)) * (passes + 1) / 2
