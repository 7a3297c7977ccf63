"""How a checkpoint stores its weights: ``torch_dtype`` and ``quantization_config``.

Each method becomes a rule from a module's name to a format, and the rule is asked about every
projection of every layer. A class of weights that a file quantises only in part counts as what
most of its modules are: ``WeightFormats`` has one format a class.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from penjing.errors import BadFile
from penjing.models.config import Dense, GroupedQuery, Latent, Layer, MoE, WeightFormats
from penjing.models.config_json import ConfigJson
from penjing.models.format import (
    BF16,
    FP8,
    FP8_BLOCK,
    FP32,
    INT4,
    INT4_G32,
    INT8,
    INT8_WEIGHT,
    MXFP4,
    NVFP4,
    Format,
)

Rule = Callable[[str], Format]

_DTYPES = {"bfloat16": BF16, "float16": BF16, "float32": FP32}
_MODELOPT = {"FP8": FP8, "NVFP4": NVFP4}
_PROJECTIONS = {
    GroupedQuery: ("q_proj", "k_proj", "v_proj", "o_proj"),
    Latent: ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
}
_METHODS = ("awq", "compressed-tensors", "fp8", "gptq", "modelopt", "mxfp4")


def formats_from(config: ConfigJson, layers: Sequence[Layer]) -> WeightFormats:
    """Formats of the four classes of weights; without any dtype, BF16, as all families ship.

    Embedding and head are never quantised by the methods known here.
    """
    dtype = config.choice(config.spelling("dtype", "torch_dtype"), _DTYPES, "bfloat16")
    quantization = config.section("quantization_config")
    if quantization is None:
        return WeightFormats(attention=dtype, dense=dtype, experts=dtype, embedding=dtype)
    rule = _rule(quantization, dtype)
    return WeightFormats(
        attention=_prevailing(rule, _attention_modules(layers), dtype),
        dense=_prevailing(rule, _dense_modules(layers), dtype),
        experts=_prevailing(rule, _expert_modules(layers), dtype),
        embedding=dtype,
    )


def _rule(config: ConfigJson, wide: Format) -> Rule:
    method = config.text("quant_method", "modelopt" if config.has("quant_algo") else None)
    match method:
        case "fp8":
            kept = _exclusions(config, "modules_to_not_convert", "ignored_layers")
            return _except(_fp8(config), wide, kept)
        case "mxfp4":
            kept = _exclusions(config, "modules_to_not_convert")
            quantised = _except(MXFP4, wide, kept)
            return lambda module: quantised(module) if ".experts" in module else wide
        case "awq" | "gptq":
            kept = _exclusions(config, "modules_to_not_convert")
            return _except(_weight_only(config), wide, kept)
        case "modelopt" | "modelopt_fp4":
            algorithm = config.choice("quant_algo", _MODELOPT)
            return _except(algorithm, wide, _exclusions(config, "ignore", "exclude_modules"))
        case "compressed-tensors":
            return _compressed_tensors(config, wide)
        case _:
            raise config.unsupported("quant_method", method, _METHODS)


def _fp8(config: ConfigJson) -> Format:
    block = config.integers("weight_block_size")
    match block:
        case ():
            return FP8
        case (128, 128):
            return FP8_BLOCK
        case _:
            raise config.unsupported("weight_block_size", block, ["(128, 128)"])


def _weight_only(config: ConfigJson) -> Format:
    """GPTQ and AWQ; the bytes are those of groups of 128 (4 bits also of 32)."""
    bits = config.integer(config.spelling("bits", "w_bit"))
    group = config.integer(config.spelling("group_size", "q_group_size"), 128, at_least=-1)
    known = {(4, 128): INT4, (4, 32): INT4_G32, (8, 128): INT8_WEIGHT}
    if (bits, group) not in known:
        given = f"{bits} bits in groups of {group}"
        raise config.unsupported("bits", given, [f"{b} bits in groups of {g}" for b, g in known])
    return known[bits, group]


def _compressed_tensors(config: ConfigJson, wide: Format) -> Rule:
    """The first group whose targets name a module decides; ``ignore`` comes before all groups."""
    groups = [
        (group.strings("targets") or ("Linear",), _group_format(group))
        for group in config.sections("config_groups")
    ]
    if not groups:
        raise BadFile(f"config of {config.where}: config_groups is missing or empty; add a group")
    ignored = _exclusions(config, "ignore")

    def rule(module: str) -> Format:
        if _matches(ignored, module):
            return wide
        named = (f for targets, f in groups if "Linear" in targets or _matches(targets, module))
        return next(named, wide)

    return rule


def _group_format(group: ConfigJson) -> Format:
    weights = group.section("weights")
    if weights is None:
        raise BadFile(f"config of {group.where}: weights is missing; add it to config.json")
    kind, bits = weights.text("type", "int"), weights.integer("num_bits")
    size = weights.integer("group_size", 0, at_least=-1)
    activations = group.section("input_activations") is not None
    blocks = weights.integers("block_structure")
    known = {
        ("float", 8, 0, True): FP8_BLOCK if blocks == (128, 128) else FP8,
        ("float", 4, 16, True): NVFP4,
        ("float", 4, 32, True): MXFP4,
        ("int", 8, 0, True): INT8,
        ("int", 8, 128, False): INT8_WEIGHT,
        ("int", 8, 0, False): INT8_WEIGHT,
        ("int", 4, 128, False): INT4,
        ("int", 4, 32, False): INT4_G32,
    }
    given = (kind, bits, max(size, 0), activations)
    if given not in known:
        raise group.unsupported("weights", _scheme(*given), [_scheme(*k) for k in known])
    return known[given]


def _scheme(kind: str, bits: int, size: int, activations: bool) -> str:
    groups = f" in groups of {size}" if size else ""
    return f"{kind}{bits}{groups}, activations {'narrow' if activations else 'wide'}"


def _exclusions(config: ConfigJson, *keys: str) -> tuple[str, ...]:
    patterns = config.strings(config.spelling(*keys)) or ()
    for pattern in patterns:
        try:
            re.compile(pattern.removeprefix("re:") if pattern.startswith("re:") else "")
        except re.error as error:
            raise BadFile(
                f"config of {config.where}: {pattern!r} in {keys[0]} is no regular expression: "
                f"{error}"
            ) from None
    return patterns


def _except(quantised: Format, wide: Format, exclusions: tuple[str, ...]) -> Rule:
    return lambda module: wide if _matches(exclusions, module) else quantised


def _matches(patterns: Sequence[str], module: str) -> bool:
    return any(_match(p, module) for p in patterns)


def _match(pattern: str, module: str) -> bool:
    """``re:`` patterns are regular expressions, others name a module, its parent, or glob."""
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    name = pattern.removeprefix("language_model.")
    if "*" in name:
        return fnmatchcase(module, name) or fnmatchcase(module, name + ".*")
    return f".{name}." in f".{module}."


def _prevailing(rule: Rule, modules: Sequence[str], wide: Format) -> Format:
    counts = Counter(rule(module) for module in modules)
    return counts.most_common(1)[0][0] if counts else wide


def _attention_modules(layers: Sequence[Layer]) -> list[str]:
    return [
        f"model.layers.{i}.self_attn.{projection}"
        for i, layer in enumerate(layers)
        for projection in _PROJECTIONS[type(layer.attention)]
    ]


def _dense_modules(layers: Sequence[Layer]) -> list[str]:
    modules = []
    for i, layer in enumerate(layers):
        if isinstance(layer.feed_forward, Dense):
            modules.append(f"model.layers.{i}.mlp.down_proj")
        elif layer.feed_forward.shared_width:
            modules.append(f"model.layers.{i}.mlp.shared_experts.down_proj")
    return modules


def _expert_modules(layers: Sequence[Layer]) -> list[str]:
    return [
        f"model.layers.{i}.mlp.experts.0.down_proj"
        for i, layer in enumerate(layers)
        if isinstance(layer.feed_forward, MoE)
    ]
