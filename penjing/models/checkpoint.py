"""A Hugging Face checkpoint read into a decoder: names, shapes and dtypes checked before any value.

Tensors are read piece by piece into their places, so the peak is the decoder and little more. FP8
is widened on the way in.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from penjing.errors import BadFile
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.models.fp8 import SCALE_SUFFIX, dequantised, scale_shape
from penjing.models.safetensors_files import Stored, pieces, stored_tensors, whole
from penjing.models.tensor_names import Place, Places, copies, tensor_places, zero_rows

_WIDE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_FP8 = "F8_E4M3"
_IGNORED = ("rotary_emb.inv_freq",)  # tables that old files carry and everyone computes
_OTHER_FORMATS = ("qweight", "qzeros", "g_idx", "weight_packed", "weight_scale", "_blocks")


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint says that a decoder does not keep, so that it can be written again.

    ``config`` is its config.json, ``copies`` the repeated tensors it holds, ``dtypes`` how it
    stores what the decoder keeps in another dtype than its other weights.
    """

    config: Mapping[str, object]
    copies: tuple[str, ...]
    dtypes: Mapping[str, torch.dtype]


def stored_config(folder: Path) -> ModelConfig:
    """The model of that folder, without prediction layers where the files hold none.

    Transformers drops those layers when it saves, and leaves their number in config.json. Raises
    what ``load_model`` and ``stored_tensors`` raise.
    """
    config = load_model(folder)
    first = f"model.layers.{len(config.layers)}."
    if not config.mtp or any(name.startswith(first) for name in stored_tensors(folder)):
        return config
    return replace(config, mtp=())


@torch.no_grad()
def load_weights(folder: Path, decoder: nn.Module, config: ModelConfig) -> CheckpointInfo:
    """Fill every parameter of ``decoder``, made for ``config``, with what the folder holds.

    Prediction layers that ``config`` leaves out on purpose are not read. Raises ``BadFile`` for a
    tensor that lacks, is one too many or has another shape or dtype, that is not finite, or that
    differs from the one it repeats. After an error the values of ``decoder`` mean nothing.
    """
    places, optional = tensor_places(config), copies(config)
    stored = stored_tensors(folder)
    found = _checked_names(folder, stored, places, config)
    for name in found:
        _check_tensor(name, stored, places[name].shape)
    parameters = dict(decoder.named_parameters())
    assert parameters.keys() == {p.parameter for p in places.values()}, "decoder of another config"
    for parameter, (start, stop) in zero_rows(config).items():
        parameters[parameter][start:stop] = 0
    _fill([n for n in found if n not in optional], stored, places, parameters)
    present = tuple(name for name in optional if name in found)
    for name in present:
        _check_copy(name, optional[name], stored, part_of(parameters, places[name]))
    own = parameters["embedding"].dtype
    return CheckpointInfo(
        config=json.loads((folder / "config.json").read_text(encoding="utf-8")),
        copies=present,
        dtypes={
            name: _WIDE[stored[name].dtype]
            for name in found
            if parameters[places[name].parameter].dtype != own and stored[name].dtype in _WIDE
        },
    )


def part_of(parameters: Mapping[str, torch.Tensor], place: Place) -> torch.Tensor:
    """The view of a parameter that one tensor of a checkpoint fills."""
    part = parameters[place.parameter].detach()
    if place.index is not None:
        part = part[place.index]
    if place.rows is not None:
        part = part[place.rows[0] : place.rows[1]]
    assert tuple(part.shape) == place.shape, f"{place} of {tuple(part.shape)}"
    return part


def _checked_names(
    folder: Path, stored: Mapping[str, Stored], places: Places, config: ModelConfig
) -> list[str]:
    """The tensors to read, in order; raises for one that lacks or is unknown."""
    optional = copies(config)
    missing = [name for name in places if name not in stored and name not in optional]
    known = places.keys() | _left_out(folder, config)
    extra = [name for name in stored if not _is_known(name, stored, known)]
    if missing or extra:
        raise BadFile(_names_message(folder, missing, extra, config))
    return [name for name in places if name in stored]


def _left_out(folder: Path, config: ModelConfig) -> set[str]:
    """Tensors of prediction layers that config.json has and the caller's config has not."""
    whole = load_model(folder)
    if len(whole.mtp) <= len(config.mtp):
        return set()
    rest = replace(config, mtp=whole.mtp)
    return tensor_places(rest).keys() - tensor_places(config).keys()


def _is_known(name: str, stored: Mapping[str, Stored], known: set[str]) -> bool:
    if name.endswith(SCALE_SUFFIX):
        weight = name.removesuffix(SCALE_SUFFIX)
        return weight in known and weight in stored and stored[weight].dtype == _FP8
    return name in known or name.endswith(_IGNORED)


def _names_message(folder: Path, missing: list[str], extra: list[str], config: ModelConfig) -> str:
    both = {"missing": missing, "unknown": extra}
    parts = [f"{what} {len(names)} ({_some(names)})" for what, names in both.items() if names]
    advice = f"give the config.json that belongs to these weights ({config.name} was assumed)"
    if any(name.endswith(_OTHER_FORMATS) for name in extra):
        advice = (
            "these weights are quantised in a way that is not read; take BF16, F16, F32, or FP8 "
            f"in blocks of 128 x 128 with weight{SCALE_SUFFIX}"
        )
    elif missing and all(name.startswith(_prediction_layers(config)) for name in missing):
        advice = "the prediction layers are not in these files: load without them (mtp=())"
    elif missing and not extra:
        advice = "the download may be incomplete"
    return f"the weights of {folder} do not fit its config: {' and '.join(parts)}; {advice}"


def _prediction_layers(config: ModelConfig) -> tuple[str, ...]:
    first = len(config.layers)
    return tuple(f"model.layers.{first + j}." for j in range(len(config.mtp)))


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _check_tensor(name: str, stored: Mapping[str, Stored], shape: tuple[int, ...]) -> None:
    """Shape and dtype of a tensor, and of its scales where it is FP8."""
    found = stored[name]
    _check_shape(name, found, shape)
    if found.dtype in _WIDE:
        return
    scale = name + SCALE_SUFFIX
    if found.dtype != _FP8 or len(shape) != 2:
        raise BadFile(
            f"{name} in {found.file} is {found.dtype}; weights must be {', '.join(_WIDE)}, or "
            f"matrices of {_FP8} with weight{SCALE_SUFFIX}"
        )
    if scale not in stored:
        raise BadFile(
            f"{name} in {found.file} is {_FP8} without {scale}; take weights with scales of "
            "blocks of 128 x 128, or BF16"
        )
    _check_shape(scale, stored[scale], scale_shape(shape))
    if stored[scale].dtype not in _WIDE:
        raise BadFile(f"{scale} in {found.file} is {stored[scale].dtype}; it must be F32")


def _check_shape(name: str, found: Stored, shape: tuple[int, ...]) -> None:
    if found.shape != shape:
        raise BadFile(
            f"{name} in {found.file} has shape {list(found.shape)}, but the config asks for "
            f"{list(shape)}; give the config.json that belongs to these weights"
        )


def _fill(
    names: list[str],
    stored: Mapping[str, Stored],
    places: Places,
    parameters: Mapping[str, torch.Tensor],
) -> None:
    for name in sorted(names, key=lambda name: (stored[name].file, stored[name].offset)):
        part = part_of(parameters, places[name])
        if stored[name].dtype == _FP8:
            part.copy_(_dequantised(name, stored, part.device))
        else:
            for start, values in pieces(stored[name]):
                part.view(-1)[start : start + len(values)].copy_(values)
        _check_finite(name, stored[name], part)


def _dequantised(name: str, stored: Mapping[str, Stored], device: torch.device) -> torch.Tensor:
    """Scales may lie in another shard than their weights."""
    scale = whole(stored[name + SCALE_SUFFIX])
    return dequantised(whole(stored[name]).to(device), scale.to(device))


def _check_finite(name: str, stored: Stored, part: torch.Tensor) -> None:
    """Of what was written, so that an overflow of a narrow dtype shows too.

    The extremes carry a NaN along and need no temporaries, unlike ``isfinite``.
    """
    low, high = part.aminmax()
    if not (math.isfinite(low) and math.isfinite(high)):
        narrowed = part.dtype == torch.float16 and stored.dtype != "F16"
        advice = "load as bfloat16 or float32" if narrowed else "download it again"
        where = f"{name} in {stored.file}"
        raise BadFile(f"{where} is not finite as {str(part.dtype)[6:]}: {_culprit(part)}; {advice}")


def _culprit(part: torch.Tensor) -> str:
    bad = (~part.isfinite()).nonzero()
    return f"{part[tuple(bad[0])].item()} at {bad[0].tolist()}, {len(bad)} in all"


def _check_copy(name: str, main: str, stored: Mapping[str, Stored], part: torch.Tensor) -> None:
    if not _repeats(name, stored, part):
        raise BadFile(
            f"{name} in {stored[name].file} differs from {main}, which it has to repeat; one of "
            "the two belongs to another model, so take a matching pair or remove the copy"
        )


def _repeats(name: str, stored: Mapping[str, Stored], part: torch.Tensor) -> bool:
    if stored[name].dtype == _FP8:
        return torch.equal(_dequantised(name, stored, part.device).to(part.dtype), part)
    flat = part.view(-1)
    return all(
        torch.equal(values.to(part.device, part.dtype), flat[start : start + len(values)])
        for start, values in pieces(stored[name])
    )
