"""Low-rank adapters on disk, in the format of PEFT: adapter_config.json beside the factors.

Each is named for its matrix in a checkpoint, those of routed experts one by one, as servers want
them and as PEFT takes them for a model that has its experts in one tensor.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from penjing.errors import BadFile
from penjing.models.config import ModelConfig, MoE
from penjing.models.replaced_folder import replaced_folder
from penjing.train.lora import Factors, LoraConfig, LoraOptimizer

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_SUFFIXES = {"A": ".lora_A.weight", "B": ".lora_B.weight"}
_BLOCK = ("gate_proj", "up_proj", "down_proj")
_MORE = (  # what PEFT can do beside B A, and is not read
    "alora_invocation_tokens",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "use_dora",
    "use_qalora",
)


def save_adapter(folder: Path, lora: LoraOptimizer, base: str) -> None:
    """In fp32, for the model ``base``: a folder or a name. Replaces an older adapter whole.

    Raises ``BadFile`` where ``folder`` holds anything else or cannot be written.
    """
    _refuse_foreign(folder)
    tensors = {}
    for module, factors in lora.factors().items():
        for what, factor in (("A", factors.a_RI), ("B", factors.b_OR)):
            tensors[f"{_PREFIX}{module}{_SUFFIXES[what]}"] = factor.cpu().clone()
    said = json.dumps(_said(lora, base), indent=2, ensure_ascii=False) + "\n"
    try:
        with replaced_folder(folder) as filling:
            save_file(tensors, filling / _TENSORS, metadata={"format": "pt"})
            (filling / _CONFIG).write_text(said, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise BadFile(
            f"{folder} was not saved: {' '.join(str(error).split())}; what was there before is "
            "untouched; free some space, or save into another folder"
        ) from None


def load_adapter(folder: Path) -> tuple[LoraConfig, dict[str, Factors]]:
    """As ``LoraOptimizer`` takes them. Raises ``BadFile``, also for what PEFT has beyond LoRA."""
    said = _read_config(folder / _CONFIG)
    try:
        tensors = load_file(folder / _TENSORS)
    except (OSError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise BadFile(f"{folder / _TENSORS} cannot be read: {why}") from None
    factors = _factors(folder / _TENSORS, tensors)
    names = {name.rpartition(".")[2] for name in factors}
    config = LoraConfig(
        rank=said["r"],
        alpha=float(said["lora_alpha"]),
        targets=tuple(sorted(names)),
        experts=any(".experts." in name for name in factors),
        rslora=bool(said.get("use_rslora")),
    )
    return config, factors


def _said(lora: LoraOptimizer, base: str) -> dict[str, Any]:
    config = lora.config
    modules, parameters = _targets(lora)
    # PEFT doubles rank and alpha of gate and up where it holds them as one tensor, which leaves
    # their ratio as it was, but not alpha / sqrt(rank): so experts get the plain equivalent.
    rslora = config.rslora and not config.experts
    alpha = config.alpha if rslora == config.rslora else config.scale * config.rank
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "use_rslora": rslora,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": modules,
        **({"target_parameters": parameters} if parameters else {}),
        "inference_mode": True,
    }  # keys of today would be unknown to an older PEFT


def _targets(lora: LoraOptimizer) -> tuple[list[str], list[str]]:
    """Modules and parameters, by the ends of their names.

    In a model with experts PEFT takes the modules of a feed-forward block to mean the experts', so
    other blocks are named by their parameters.
    """
    found = [(one.target, _is_moe(lora.model)) for one in lora.adapters.values()]
    as_parameters = {
        ".".join((*module.split(".")[-2:], "weight"))
        for target, is_moe in found
        for module in target.modules
        if is_moe and not target.is_routed and target.kind in _BLOCK
    }
    modules = {
        target.kind
        for target, is_moe in found
        if target.is_routed or not is_moe or target.kind not in _BLOCK
    }
    return sorted(modules), sorted(as_parameters)


def _is_moe(model: ModelConfig) -> bool:
    return any(isinstance(layer.feed_forward, MoE) for layer in model.layers)


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadFile(f"{folder} is a file; name a folder to save into")
    foreign = sorted({path.name for path in folder.iterdir()} - {_CONFIG, _TENSORS})
    if foreign:
        raise BadFile(
            f"{folder} holds {foreign[0]}, which is no part of an adapter and would be lost; save "
            "into a new folder"
        )


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict) or said.get("peft_type") != "LORA":
        raise BadFile(f"{path} is not of a LoRA adapter; its peft_type must be LORA")
    rank, alpha = said.get("r"), said.get("lora_alpha")
    is_rank = isinstance(rank, int) and rank > 0
    if not (is_rank and isinstance(alpha, int | float) and 0 < alpha < math.inf):
        raise BadFile(f"{path}: r is {rank!r} and lora_alpha {alpha!r}; both must be above 0")
    set_keys = [key for key in _MORE if said.get(key)]
    if said.get("bias", "none") != "none":
        set_keys.append("bias")
    if set_keys:
        raise BadFile(
            f"{path} sets {', '.join(set_keys)}; only plain factors of linear layers are read"
        )
    return said


def _factors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Factors]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        what = next((w for w, suffix in _SUFFIXES.items() if name.endswith(suffix)), None)
        if what is None or not name.startswith(_PREFIX):
            raise BadFile(f"{path} holds {name}, which is no factor of a linear layer")
        module = name.removeprefix(_PREFIX).removesuffix(_SUFFIXES[what])
        found.setdefault(module, {})[what] = tensor
    for module, both in found.items():
        if both.keys() != _SUFFIXES.keys():
            raise BadFile(f"{path} holds only {min(both)} of {module}; both factors are needed")
    return {module: Factors(a_RI=both["A"], b_OR=both["B"]) for module, both in found.items()}
