"""A decoder written as a Hugging Face checkpoint, complete or not at all."""

import errno
import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from penjing.errors import BadFile, DoesNotFit
from penjing.models.checkpoint import CheckpointInfo, part_of
from penjing.models.config import ModelConfig
from penjing.models.replaced_folder import replaced_folder
from penjing.models.shard_files import write_shards
from penjing.models.tensor_names import copies, tensor_places
from penjing.units import format_si

_BESIDE = (  # copied from the source: what turns text into tokens, and how to generate
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "additional_chat_templates",
    "*.jinja",
    "configuration_*.py",
    "modeling_*.py",
    "tokenization_*.py",
    "LICENSE*",
)
_WEIGHTS = ("config.json", "hf_quant_config.json", "*.safetensors", "*.safetensors.index.json")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of the disk, the user, one file


def save_checkpoint(
    folder: Path,
    decoder: nn.Module,
    config: ModelConfig,
    source: Path | None,
    *,
    info: CheckpointInfo | None = None,
    shard_bytes: int = 5 * 10**9,
) -> None:
    """Write ``decoder`` in its dtype, as transformers would load it, into ``folder``.

    ``source`` is the checkpoint it came from: config.json, tokenizer and chat template are taken
    from there; without it, config.json is that of ``info``. Without ``info`` a prediction layer
    repeats embedding and head, and a tied head is left out.

    An older checkpoint in ``folder`` is replaced once the new one is on disk. Raises ``BadFile``
    where ``folder`` holds anything else or cannot be written, ``DoesNotFit`` where the disk is
    too small; either leaves it as it was.
    """
    raw = _raw_config(source, info)
    tensors = _named(decoder, config, info)
    _refuse_foreign(folder)
    try:
        _check_space(folder, sum(t.nbytes for t in tensors.values()))
        with replaced_folder(folder) as filling:
            write_shards(filling, tensors, shard_bytes)
            text = json.dumps(_plain(raw, decoder), indent=2, ensure_ascii=False)
            (filling / "config.json").write_text(text + "\n", encoding="utf-8")
            if source is not None:
                _copy_beside(source, filling)
    except OSError as error:
        raise _write_error(folder, error) from None


def _raw_config(source: Path | None, info: CheckpointInfo | None) -> Mapping[str, object]:
    if source is None:
        assert info is not None, "config.json comes from a source or an info"
        return info.config
    try:
        raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{source / 'config.json'} cannot be read: {error}") from None
    assert isinstance(raw, dict)
    return raw


def _plain(raw: Mapping[str, object], decoder: nn.Module) -> dict[str, object]:
    """Of the dtype that is written and no longer quantised, everything else as it was."""
    kept = {key: value for key, value in raw.items() if key != "quantization_config"}
    spelled = [key for key in ("dtype", "torch_dtype") if key in kept] or ["torch_dtype"]
    return kept | dict.fromkeys(spelled, str(_dtype(decoder)).removeprefix("torch."))


def _dtype(decoder: nn.Module) -> torch.dtype:
    return decoder.get_parameter("embedding").dtype


def _named(
    decoder: nn.Module, config: ModelConfig, info: CheckpointInfo | None
) -> dict[str, torch.Tensor]:
    """Views of the parameters under the names of the checkpoint."""
    repeated = copies(config)
    tied = "lm_head.weight" if config.tied_embeddings else None
    present = info.copies if info is not None else [name for name in repeated if name != tied]
    parameters = dict(decoder.named_parameters())
    return {
        name: _as_stored(name, part_of(parameters, place), decoder, info)
        for name, place in tensor_places(config).items()
        if name not in repeated or name in present
    }


def _as_stored(
    name: str, part: torch.Tensor, decoder: nn.Module, info: CheckpointInfo | None
) -> torch.Tensor:
    """What is kept wider than the rest is stored as narrow as it came, while that loses nothing."""
    dtype = info.dtypes.get(name) if info is not None else None
    if dtype is None or part.dtype == _dtype(decoder):
        return part
    narrow = part.to(dtype)
    return narrow if torch.equal(narrow.to(part.dtype), part) else part


def _refuse_foreign(folder: Path) -> None:
    """Only a checkpoint is ever replaced, never what else a mistyped path may name."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadFile(f"{folder} is a file; name a folder to save into")
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if not _is_one(name, (*_BESIDE, *_WEIGHTS))]
    if foreign:
        raise BadFile(
            f"{folder} holds {foreign[0]}, which is no part of a checkpoint and would be lost; "
            "save into a new folder"
        )
    if names and "config.json" not in names:
        raise BadFile(f"{folder} is not empty and no checkpoint; save into a new folder")


def _is_one(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _copy_beside(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if not _is_one(path.name, _BESIDE) or _is_one(path.name, _WEIGHTS):
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)


def _check_space(folder: Path, needed: int) -> None:
    """Before an hour of writing, not after it."""
    existing = next(p for p in folder.resolve().parents if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DoesNotFit(
            f"the checkpoint takes {format_si(needed, 'B')}, but the disk of {folder} has "
            f"{format_si(free, 'B')} free (an older checkpoint there is kept until the new one is "
            "complete); free some, or save to another disk",
            shortfall_bytes=needed - free,
        )


def _write_error(folder: Path, error: OSError) -> BadFile | DoesNotFit:
    what = error.strerror or str(error)
    if error.errno in _FULL:
        return DoesNotFit(
            f"{folder} was not saved: {what} while writing; what was there before is untouched; "
            "free some space, or save to another disk"
        )
    where = error.filename or folder
    return BadFile(
        f"{folder} was not saved: {where}: {what}; what was there before is untouched; save into "
        "another folder"
    )
