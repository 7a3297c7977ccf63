"""From a name or a folder to a decoder in memory, if it fits."""

from dataclasses import dataclass
from pathlib import Path

import torch

from penjing.engine.memory import EnginePlan, Limits, plan_engine
from penjing.errors import RequestError, UnknownName
from penjing.hardware.host import read_host
from penjing.models.checkpoint import CheckpointInfo, load_weights, stored_config
from penjing.models.config import ModelConfig
from penjing.models.decoder import Decoder, require_runnable
from penjing.models.format import BF16, FP32, Format
from penjing.models.generation_config import GenerationDefaults
from penjing.models.hub import checkpoint_folder
from penjing.models.kernels.choice import Numerics
from penjing.models.tokenizer import Tokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder in memory: weights, words, and what its publisher advises."""

    folder: Path
    decoder: Decoder
    info: CheckpointInfo
    tokenizer: Tokenizer | None  # None: the folder has no tokenizer.json, so prompts are ids
    defaults: GenerationDefaults
    plan: EnginePlan


def load_checkpoint(
    name_or_path: str, *, device: str, dtype: str | torch.dtype, limits: Limits
) -> Checkpoint:
    """Plans first; raises ``DoesNotFit`` before a weight is read, and what readers raise."""
    where = read_device(device)
    kind = read_dtype(dtype)
    folder = checkpoint_folder(name_or_path)
    config = stored_config(folder)
    require_runnable(config)
    plan = plan_for(config, kind, where, limits)
    tokenizer = read_tokenizer(folder, config)
    decoder = Decoder(config, dtype=kind, device=where)
    info = load_weights(folder, decoder, config)
    return Checkpoint(
        folder=folder,
        decoder=decoder,
        info=info,
        tokenizer=tokenizer,
        defaults=GenerationDefaults.load(
            folder, tokenizer_eos=tokenizer.eos_id if tokenizer else None
        ),
        plan=plan,
    )


def plan_for(
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    limits: Limits,
    *,
    weights_held: bool = False,
) -> EnginePlan:
    """Sizes for the memory that the device has free now."""
    return plan_engine(
        config,
        format_of(dtype),
        limits,
        available_bytes=available_bytes(device),
        base_bytes=held_bytes(device),
        weights_held=weights_held,
    )


def read_dtype(dtype: str | torch.dtype) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise UnknownName("dtype", name, _DTYPES)
    return _DTYPES[name]


def read_numerics(numerics: Numerics | str) -> Numerics:
    if numerics not in list(Numerics):
        raise UnknownName("numerics", str(numerics), list(Numerics))
    return Numerics(numerics)


def read_device(device: str) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UnknownName("device", device, ["cpu", "cuda"]) from None
    if found.type not in ("cpu", "cuda"):
        raise UnknownName("device", device, ["cpu", "cuda"])
    if found.type == "cuda" and not torch.cuda.is_available():
        raise RequestError(f"device {device}: torch finds no CUDA device here; try cpu")
    return found


def read_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer | None:
    if not (folder / "tokenizer.json").exists():
        return None
    return Tokenizer.load(folder, vocab_size=config.vocab_size)


def format_of(dtype: torch.dtype) -> Format:
    return BF16 if dtype is torch.bfloat16 else FP32


def available_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return read_host().available_bytes


def held_bytes(device: torch.device) -> float:
    """Resident memory of this process, or what torch holds on the device."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0  # another system: the plan then leaves the interpreter out
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return float(line.split()[1]) * 1024
