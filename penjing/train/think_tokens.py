"""Thinking tags for a base whose tokenizer has no single tokens for them.

Models pad their vocabulary, so that Qwen2.5 has 271 rows that no token uses: two of them become
``<think>`` and ``</think>``. Each begins as the mean of the rows that spell it, so that a model
that has never seen the token takes it for about what the letters were.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import tokenizers
import torch

from penjing.errors import Contradiction
from penjing.models.decoder import Decoder
from penjing.models.hub import json_object
from penjing.tasks.thinking import CLOSE, OPEN

_COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "LICENSE*")
_WEIGHTS = "*.index.json"

Pieces = Mapping[int, Sequence[int]]
"""Of the id of a new token, the ids that spelled it before."""


def add_think_tokens(source: Path, folder: Path, vocab_size: int) -> Pieces:
    """``folder`` gets the files of the checkpoint ``source``, but weights, with the tags added.

    ``vocab_size`` is how many rows the model has. Raises ``Contradiction`` where too few are spare.
    """
    inner = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    spelled = {tag: inner.encode(tag, add_special_tokens=False).ids for tag in (OPEN, CLOSE)}
    inner.add_tokens([tokenizers.AddedToken(tag, normalized=False) for tag in spelled])
    vocabulary = inner.get_vocab(with_added_tokens=True)
    ids = {tag: vocabulary[tag] for tag in spelled}
    if max(ids.values()) >= vocab_size:
        raise Contradiction(
            f"{source}: the model has {vocab_size} rows, and its tokenizer leaves fewer than two "
            'of them for <think> and </think>; take think_tokens = "spell"'
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        is_wanted = any(fnmatchcase(file.name, pattern) for pattern in _COPIED)
        if file.is_file() and is_wanted and not fnmatchcase(file.name, _WEIGHTS):
            shutil.copyfile(file, folder / file.name)
    inner.save(str(folder / "tokenizer.json"))
    _list_added(folder, ids)
    return {ids[tag]: pieces for tag, pieces in spelled.items()}


@torch.no_grad()
def fill_rows(decoder: Decoder, pieces: Pieces) -> None:
    """Rows of new tokens, where they are read and where they are foretold."""
    for rows_VD in (decoder.embedding, decoder.head):
        if rows_VD is not None:
            for id, spelled in pieces.items():
                rows_VD[id] = rows_VD[list(spelled)].float().mean(0).to(rows_VD.dtype)


def _list_added(folder: Path, ids: Mapping[str, int]) -> None:
    """In tokenizer_config.json too, where it lists what was added: others read it there."""
    config: dict[str, Any] = dict(json_object(folder, "tokenizer_config.json") or {})
    listed = config.get("added_tokens_decoder")
    if isinstance(listed, Mapping):
        flags = ("lstrip", "normalized", "rstrip", "single_word", "special")
        new = {str(id): {"content": tag, **dict.fromkeys(flags, False)} for tag, id in ids.items()}
        text = json.dumps({**config, "added_tokens_decoder": {**listed, **new}}, indent=2)
        (folder / "tokenizer_config.json").write_text(f"{text}\n", encoding="utf-8")
