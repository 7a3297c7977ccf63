"""The model a stage starts from, and what it must have."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from penjing.engine.sampling import Sampling
from penjing.errors import BadFile
from penjing.train.models import new_model, stored_model
from penjing.train.recipe import ModelChoice, load_recipe


def choice(**changed: object) -> ModelChoice:
    student = load_recipe("quickstart").models["student"]
    return ModelChoice(config={**student.config, **changed}, tokenizer=student.tokenizer)


def test_a_new_model_is_the_same_for_a_seed(tmp_path: Path) -> None:
    one, same, other = (new_model("m", choice(), tmp_path / "m", seed) for seed in (1, 1, 2))
    for name, p in one.decoder.named_parameters():
        assert torch.equal(p, dict(same.decoder.named_parameters())[name])
    assert not torch.equal(one.decoder.embedding, other.decoder.embedding)
    raw = json.loads((tmp_path / "m" / "config.json").read_text(encoding="utf-8"))
    assert raw["model_type"] == "qwen2"
    assert one.end_id == one.tokenizer.eos_id
    assert one.tokenizer.thinking is not None


def test_an_engine_runs_on_the_same_weights(tmp_path: Path) -> None:
    held = new_model("m", choice(), tmp_path / "m", 0)
    engine = held.engine(64)
    assert engine.decoder is held.decoder
    assert engine.plan.max_length == 64
    assert held.engine(10**6).plan.max_length == 256  # what the model has
    (done,) = engine.generate(["1 + 2 ="], Sampling(max_tokens=3, seed=0))
    assert len(done.ids) <= 3


def test_a_checkpoint_is_read_as_fp32(folder: Callable[..., Path]) -> None:
    held = stored_model(str(folder("latent", torch.bfloat16)))
    assert held.decoder.embedding.dtype is torch.float32
    assert held.source.is_dir()


def test_what_lacks_is_said(tmp_path: Path, folder: Callable[..., Path]) -> None:
    with pytest.raises(BadFile, match=r"the tokenizer nowhere is no folder with a tokenizer\.json"):
        new_model("m", ModelChoice(config=choice().config, tokenizer="nowhere"), tmp_path, 0)
    bare = folder()
    (bare / "tokenizer.json").unlink()
    with pytest.raises(BadFile, match=r"has no tokenizer\.json"):
        stored_model(str(bare))
    endless = folder()
    (endless / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadFile, match="names no eos_token"):
        stored_model(str(endless))
    thoughtless = folder()
    path = thoughtless / "tokenizer.json"
    text = path.read_text(encoding="utf-8").replace("<think>", "<thunk>")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadFile, match="no single tokens <think> and </think>"):
        stored_model(str(thoughtless))
