"""Rows of whole serving runs: throughput and latencies under a load."""

from dataclasses import replace
from functools import cache

from penjing.cost.engine import Engine
from penjing.cost.layout import Layout
from penjing.cost.load import (
    Clients,
    Load,
    Saturated,
    StaticBatch,
    sequences_within,
    serve,
    serve_apart,
)
from penjing.cost.serving import Instance, Traffic, room, steady_state
from penjing.cost.work import Numerics
from penjing.models.config import ModelConfig
from penjing.plan.layouts import has_experts, serving_layouts
from penjing.plan.validate import labels
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row
from penjing.plan.validate.setting import Setting, Site, hardware_of, instance_of, metric


def serving(setting: Setting) -> float:
    """A throughput or latency row of an online or offline serving run, in the row's unit."""
    row = setting.row
    depth = labels.draft_depth_of(row)
    placement = labels.placement_of(row.parallelism, mixture=has_experts(setting.model))
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


SLACK = 1.25  # of a limit over the least time a token takes


def kept_limit_s(limit_s: float, alone_s: float) -> float:
    """A limit that a run is known to keep, for a model in which a token takes ``alone_s`` at least.

    Where the model keeps it with no batch, the run shows that the model is too slow there: the
    limit is then taken a quarter above the best that the model reaches.
    """
    return max(limit_s, SLACK * alone_s)


def _within(instance: Instance, traffic: Traffic, limit_s: float | None) -> Instance:
    """The instance with its batch capped so that it keeps a limit the run is known to keep."""
    if limit_s is None:
        return instance
    limit_s = kept_limit_s(limit_s, float(steady_state(instance, traffic, 1.0).tpot_s))
    most = max(1.0, sequences_within(instance, traffic, limit_s) / instance.layout.data)
    return replace(instance, engine=replace(instance.engine, max_sequences=int(most)))


def _load(row: Row, replicas: int) -> Load:
    load = labels.load_of(row, replicas)
    if row.phase == "serving-offline" and isinstance(load, Clients):
        return StaticBatch(batch=load.concurrency)
    return load


def best_layout(setting: Setting, traffic: Traffic, limit_s: float | None = None) -> Layout:
    """The layout with the highest throughput within the limit, where a row states none."""
    return _best_layout(
        setting.model,
        setting.site,
        setting.numerics,
        setting.engine,
        traffic,
        limit_s,
    )


@cache
def _best_layout(
    model: ModelConfig,
    site: Site,
    numerics: Numerics,
    engine: Engine,
    traffic: Traffic,
    limit_s: float | None,
) -> Layout:
    found: list[tuple[bool, float, Layout]] = []
    for layout in filter(_usual, serving_layouts(model, site.chips, site.chip.node_chips)):
        instance = Instance(
            model=model,
            layout=layout,
            hardware=hardware_of(site),
            numerics=numerics,
            engine=engine,
        )
        if room(instance, traffic.context_tokens).max_sequences < 1:
            continue
        capped = _within(instance, traffic, limit_s)
        seen = serve(capped, traffic, Saturated())
        keeps = limit_s is None or seen.tpot_s <= limit_s * 1.01
        found.append((keeps, seen.output_tokens_per_s * (site.chips // layout.chips), layout))
    if not found:
        raise Unmapped("no layout fits the stated chips")
    return max(found, key=lambda triple: triple[:2])[2]


def _usual(layout: Layout) -> bool:
    """What people run without saying so: tensor parallel, or attention-data with expert ranks."""
    if layout.data > 1:
        return layout.tensor == 1 and layout.expert == layout.chips
    return layout.expert == 1
