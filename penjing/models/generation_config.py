"""What a checkpoint says about sampling from it: ``generation_config.json``.

It is a foreign file that names dozens of settings of other software; those unknown here are left
alone. None stands for a setting the file does not give: which default then holds differs between
engines (top-k 50 in some, off in others), so none is chosen here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from penjing.errors import BadFile
from penjing.models.hub import json_object

_MAX_INTEGER = 10**9


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults:
    """Ids that end a text, and how the publisher of a model would sample.

    ``do_sample`` False means greedy, whatever the temperature. A ``top_k`` of 0 is off; -1, as some
    write it, is read as 0.
    """

    eos_ids: tuple[int, ...] = ()
    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None

    @classmethod
    def load(cls, folder: Path, *, tokenizer_eos: int | None = None) -> "GenerationDefaults":
        """The defaults of a checkpoint; all None where it has no such file.

        Ends are those of generation_config.json, else of config.json, else the tokenizer's: the
        first that names any. A value that cannot be meant is a ``BadFile``.
        """
        file = folder / "generation_config.json"
        found = json_object(folder, file.name) or {}
        config = json_object(folder, "config.json") or {}
        own = () if tokenizer_eos is None else (tokenizer_eos,)
        top_k = _integer(found, "top_k", file, at_least=-1)
        return cls(
            eos_ids=_ids(found, file) or _ids(config, folder / "config.json") or own,
            do_sample=_flag(found, "do_sample", file),
            temperature=_number(found, "temperature", file, positive=False),
            top_p=_number(found, "top_p", file, positive=True, at_most=1.0),
            top_k=0 if top_k == -1 else top_k,
            min_p=_number(found, "min_p", file, positive=False, at_most=1.0),
            repetition_penalty=_number(found, "repetition_penalty", file, positive=True),
            max_new_tokens=_integer(found, "max_new_tokens", file, at_least=1),
        )


def _ids(raw: Mapping[str, object], file: Path) -> tuple[int, ...]:
    """One id or a list of them, in order, each once."""
    given = raw.get("eos_token_id")
    if given is None:
        return ()
    listed = given if isinstance(given, list) else [given]
    ids = [i for i in listed if _is_whole(i) and i >= 0]
    if len(ids) != len(listed):
        raise _malformed("eos_token_id", given, "a token id or a list of them", file)
    return tuple(dict.fromkeys(ids))


def _flag(raw: Mapping[str, object], key: str, file: Path) -> bool | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, bool):
        raise _malformed(key, value, "true or false", file)
    return value


def _number(
    raw: Mapping[str, object], key: str, file: Path, *, positive: bool, at_most: float = 1e6
) -> float | None:
    value = raw.get(key)
    if value is None:
        return None
    lowest = "above 0" if positive else "from 0"
    malformed = _malformed(key, value, f"a number {lowest} to {at_most:g}", file)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise malformed
    # Compared before it becomes a float: a whole number may be too long for one. NaN fails too.
    if not 0 <= value <= at_most or (positive and value == 0):
        raise malformed
    return float(value)


def _integer(raw: Mapping[str, object], key: str, file: Path, *, at_least: int) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if not _is_whole(value) or not at_least <= value <= _MAX_INTEGER:
        wanted = f"a whole number from {at_least} to {_MAX_INTEGER}"
        raise _malformed(key, value, wanted, file)
    return value


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _malformed(key: str, value: object, wanted: str, file: Path) -> BadFile:
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    return BadFile(f"{key} in {file} is {shown}; it must be {wanted}")
