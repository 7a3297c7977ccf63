"""Thinking tags added to a base that lacks them: ids, rows, and files that others read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from penjing.errors import Contradiction
from penjing.models.checkpoint import load_weights, stored_config
from penjing.models.decoder import Decoder
from penjing.models.tokenizer import Tokenizer
from penjing.train.think_tokens import add_think_tokens, fill_rows


@pytest.fixture
def thoughtless(folder: Callable[..., Path]) -> Callable[..., Path]:
    """A checkpoint whose tokenizer spells the tags out."""

    def write(**changed: object) -> Path:
        made = folder(**changed)
        path = made / "tokenizer.json"
        text = path.read_text(encoding="utf-8").replace("think>", "thunk>")
        path.write_text(text, encoding="utf-8")
        return made

    return write


def test_tags_are_single_tokens_then(thoughtless: Callable[..., Path], tmp_path: Path) -> None:
    source = thoughtless()
    before = Tokenizer.load(source)
    assert before.thinking is None
    pieces = add_think_tokens(source, tmp_path / "new", 272)
    after = Tokenizer.load(tmp_path / "new", 272)
    assert after.thinking is not None
    assert [after.thinking.open, after.thinking.close] == list(pieces)
    assert list(pieces) == [before.vocab_size, before.vocab_size + 1]
    assert [before.decode(ids) for ids in pieces.values()] == ["<think>", "</think>"]
    text = "<think>1 + 1</think> 2"
    assert after.decode(after.encode(text), skip_special_tokens=False) == text
    assert after.encode("a b") == before.encode("a b")
    assert not list((tmp_path / "new").glob("*.safetensors*"))


@pytest.mark.parametrize("is_tied", [False, True])
def test_rows_begin_as_the_mean_of_what_spelled_them(
    thoughtless: Callable[..., Path], tmp_path: Path, is_tied: bool
) -> None:
    source = thoughtless(tie_word_embeddings=is_tied)
    config = stored_config(source)
    decoder = Decoder(config, dtype=torch.float32)
    load_weights(source, decoder, config)
    before = {name: p.detach().clone() for name, p in decoder.named_parameters()}
    pieces = add_think_tokens(source, tmp_path / "new", config.vocab_size)
    fill_rows(decoder, pieces)
    names = ["embedding"] if is_tied else ["embedding", "head"]
    for name, p in decoder.named_parameters():
        if name not in names:
            assert torch.equal(p, before[name])
            continue
        for id, spelled in pieces.items():
            torch.testing.assert_close(p[id], before[name][list(spelled)].mean(0))
        others = [id for id in range(config.vocab_size) if id not in pieces]
        assert torch.equal(p[others], before[name][others])


def test_what_lists_added_tokens_lists_these(
    thoughtless: Callable[..., Path], tmp_path: Path
) -> None:
    source = thoughtless()
    path = source / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    eos = Tokenizer.load(source).id_of("<eos>")
    path.write_text(
        json.dumps({**config, "added_tokens_decoder": {str(eos): {"content": "<eos>"}}}),
        encoding="utf-8",
    )
    pieces = add_think_tokens(source, tmp_path / "new", 272)
    found = json.loads((tmp_path / "new" / path.name).read_text(encoding="utf-8"))
    listed = {int(id): token["content"] for id, token in found["added_tokens_decoder"].items()}
    assert listed == {eos: "<eos>", **dict(zip(pieces, ("<think>", "</think>"), strict=True))}
    Tokenizer.load(tmp_path / "new", 272)  # which compares both files


def test_a_full_vocabulary_has_no_room(thoughtless: Callable[..., Path], tmp_path: Path) -> None:
    source = thoughtless()
    full = Tokenizer.load(source).vocab_size + 1
    with pytest.raises(Contradiction, match="leaves fewer than two of them"):
        add_think_tokens(source, tmp_path / "new", full)
    assert not (tmp_path / "new").exists()
