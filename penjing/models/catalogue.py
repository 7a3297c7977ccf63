"""Finding a model: one of the bundled configs by name, or a config.json on disk."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from penjing.errors import BadFile, UnknownName, nearest_names
from penjing.models.config import ModelConfig
from penjing.models.huggingface import model_from_hf
from penjing.models.provenance import Provenance, configs_folder, read_index


def bundled_models() -> tuple[str, ...]:
    """Names of the configs that ship with the package, in the order of their index."""
    return tuple(read_index())


def load_model(name_or_path: str | Path) -> ModelConfig:
    """A bundled model, a config.json, or the folder of one.

    A bare name is first sought among the bundled models, whatever lies in the working folder. With
    a slash or ``.json`` it is first a path; ``deepseek-ai/DeepSeek-R1``, where no such folder is,
    goes by its last part. Names compare without case, spaces and punctuation. Raises
    ``UnknownName`` or ``BadFile``, and what ``model_from_hf`` raises.
    """
    text = str(name_or_path)
    bundled = find_bundled(text)
    path = os.path.expanduser(text)
    means_path = isinstance(name_or_path, Path) or _looks_like_path(text)
    if os.path.exists(path) if means_path or bundled is None else False:
        return _load_path(Path(path))
    if bundled is not None:
        raw = _parse((configs_folder() / f"{bundled.name}.json").read_text("utf-8"), bundled.name)
        return model_from_hf(raw, bundled.name)
    if means_path:
        raise _missing(text)
    raise _unknown(text)


def find_bundled(text: str) -> Provenance | None:
    """The bundled model of that name, alias or repository, if there is one."""
    wanted = _fold(text.rstrip("/").rsplit("/", 1)[-1])
    for entry in read_index().values():
        if wanted in map(_fold, (entry.name, *entry.aliases)):
            return entry
    return None


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith(".json") or text in (".", "..")


def _load_path(path: Path) -> ModelConfig:
    file = path / "config.json" if path.is_dir() else path
    if not file.exists():
        raise BadFile(f"folder {path} has no config.json; give the folder of a model")
    raw = _read(file)
    if file.name != "config.json":
        return model_from_hf(raw, file.stem)
    return model_from_hf(_with_modelopt(raw, file), file.resolve().parent.name)


def _read(file: Path) -> Mapping[str, object]:
    try:
        return _parse(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError:
        raise BadFile(f"{file} is not text in UTF-8; give a config.json") from None
    except OSError as error:
        raise BadFile(f"{file} cannot be read: {error.strerror}") from None


def _with_modelopt(raw: Mapping[str, object], file: Path) -> Mapping[str, object]:
    """TensorRT Model Optimizer may state the formats beside the config instead of inside it."""
    beside = file.with_name("hf_quant_config.json")
    if raw.get("quantization_config") is not None or not beside.exists():
        return raw
    quantization = _read(beside).get("quantization")
    if not isinstance(quantization, Mapping):
        raise BadFile(f"{beside} has no object under quantization; repair or remove it")
    return {**raw, "quantization_config": {"quant_method": "modelopt", **quantization}}


def _unknown(text: str) -> UnknownName:
    """Aliases are offered where they are near; a list of everything is of names alone."""
    index = read_index()
    every = _names(index)
    known = every if nearest_names(text, every) else list(index)
    return UnknownName("model", text, known, "or give a path to a config.json")


def _missing(text: str) -> BadFile:
    last = text.rstrip("/").rsplit("/", 1)[-1].removesuffix(".json")
    near = nearest_names(last, _names(read_index()), limit=1)
    guess = f", such as {near[0]}" if near else ""
    return BadFile(
        f"{text} does not exist; give the path of a config.json, or a bundled name{guess}"
    )


def _parse(text: str, where: str) -> Mapping[str, object]:
    try:
        raw = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise BadFile(
            f"{where} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{where} is not usable JSON: {error}") from None
    if not isinstance(raw, dict):
        raise BadFile(f"{where} holds a {type(raw).__name__}; a config.json holds one object")
    return raw


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    repeated = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
    if repeated is not None:
        raise ValueError(f"key {repeated!r} occurs twice; keep one")
    return dict(pairs)


def _names(index: Mapping[str, Provenance]) -> list[str]:
    return [n for entry in index.values() for n in (entry.name, *entry.aliases)]


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
