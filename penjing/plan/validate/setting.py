"""What every phase reads from a row: chip, model, engine, number formats, units."""

import re
from dataclasses import dataclass, replace
from functools import cache

from penjing.cost.efficiency import borrowed_efficiency
from penjing.cost.engine import Engine, engine_named
from penjing.cost.layout import Layout
from penjing.cost.load import Seen
from penjing.cost.roofline import Hardware
from penjing.cost.serving import Instance, Traffic
from penjing.cost.work import EXPERT_IMBALANCE, Numerics
from penjing.errors import UnknownName
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.models.catalogue import find_bundled, load_model
from penjing.models.config import ModelConfig
from penjing.plan.validate.formats import cache_of, weights_of
from penjing.plan.validate.number import MOST_CHIPS, Unmapped, whole
from penjing.plan.validate.row import Row


@dataclass(frozen=True, kw_only=True)
class Site:
    """The chips of a run; with ``hide_own_curves`` as if their kernels were never measured."""

    chip: Chip
    chips: int
    node_chips: int
    hide_own_curves: bool = False


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every phase needs of a row."""

    row: Row
    site: Site
    model: ModelConfig
    engine: Engine
    numerics: Numerics

    @property
    def chip(self) -> Chip:
        return self.site.chip

    @property
    def chips(self) -> int:
        return self.site.chips

    @property
    def hardware(self) -> Hardware:
        return hardware_of(self.site)


def setting_of(row: Row, *, hide_own_curves: bool = False) -> Setting:
    """Chips, model, engine and formats; raises ``Unmapped``."""
    chip, model = chip_of(row), _model(row.model)
    chips = _chips(row)
    weights = weights_of(row, model, chip)
    even = "balanced routing" in row.notes or "force-balanced" in row.notes
    numerics = Numerics(
        weights=weights,
        cache=cache_of(row, weights),
        imbalance=1.0 if even else EXPERT_IMBALANCE,
    )
    return Setting(
        row=row,
        site=Site(
            chip=chip,
            chips=chips,
            node_chips=_node_chips(row, chip, chips),
            hide_own_curves=hide_own_curves,
        ),
        model=model,
        engine=engine_of(row.engine, chip),
        numerics=numerics,
    )


def chip_of(row: Row) -> Chip:
    """The part of the catalogue that the row names; raises ``Unmapped``."""
    unknown = Unmapped(f"chip {row.chip!r} is not one part of the catalogue")
    if row.chip.strip().endswith(".toml"):
        raise unknown  # the catalogue would read that file; a row names parts only
    try:
        return load_catalogue().find(row.chip).chip
    except UnknownName:
        raise unknown from None


def _chips(row: Row) -> int:
    if not row.chips_total.strip():
        raise Unmapped("number of chips not stated")
    return whole(row.chips_total, "number of chips", MOST_CHIPS)


def _node_chips(row: Row, chip: Chip, chips: int) -> int:
    """The vendor's usual node, or a larger one where the row says that so many share one."""
    if not re.fullmatch(r"[1-9]\d{0,5}", row.nodes):
        return chip.node_chips
    return max(chip.node_chips, -(-chips // int(row.nodes)))


@cache
def _model(label: str) -> ModelConfig:
    """Only bundled models: a row cannot name a file of this machine."""
    name, _, cut = label.partition(" (truncated to ")
    found = find_bundled(name)
    if found is None:
        raise Unmapped(f"model {label!r} is not bundled")
    model = load_model(found.name)
    if not cut:
        return model
    keep = whole(cut.partition(" ")[0], "number of layers", len(model.layers))
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


def instance_of(setting: Setting, layout: Layout, depth: int = 0) -> Instance:
    return Instance(
        model=setting.model,
        layout=layout,
        hardware=setting.hardware,
        numerics=setting.numerics,
        engine=setting.engine,
        draft_depth=depth,
    )


@cache
def hardware_of(site: Site) -> Hardware:
    """Kept for every row of a site: looking for a relative takes a while."""
    chip = site.chip
    borrowed = borrowed_efficiency(chip) if site.hide_own_curves else None
    known = Hardware.of(chip, efficiency=borrowed)
    return replace(known, node_chips=min(site.chips, site.node_chips))


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
