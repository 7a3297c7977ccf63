"""From a folder to an engine, or one line that says why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from penjing.engine.engine import Engine
from penjing.engine.load import available_bytes, held_bytes, load_checkpoint, plan_for
from penjing.engine.memory import Limits
from penjing.engine.sampling import Sampling
from penjing.errors import (
    BadFile,
    BadQuantity,
    Contradiction,
    DoesNotFit,
    PenjingError,
    RequestError,
    UnknownName,
)
from penjing.models.decoder import Decoder

Folder = Callable[..., Path]
Tensors = dict[str, torch.Tensor]

NORM = "model.norm.weight"


def edited(folder: Path, change: Callable[[Tensors], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def said(folder: Path, name: str, **changed: object) -> None:
    file = folder / name
    raw = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**raw, **changed}), encoding="utf-8")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["grouped", "latent", "tied"])
def test_a_folder_becomes_the_engine_it_was_saved_from(
    folder: Folder, decoder: Callable[..., Decoder], kind: str, dtype: str
) -> None:
    named = getattr(torch, dtype)
    loaded = Engine.load(str(folder(kind, named)), dtype=dtype, max_length=64)
    given = Engine(decoder(kind, named, vocab_size=272), plan=loaded.plan)
    ask = Sampling(max_tokens=8, seed=1, ignore_eos=True)
    (one,), (other,) = loaded.generate([[1, 2, 3]], ask), given.generate([[1, 2, 3]], ask)
    assert (one.ids, one.logprobs) == (other.ids, other.logprobs)
    assert loaded.plan.weight_bytes == sum(p.nbytes for p in loaded.decoder.parameters())
    assert loaded.plan.max_length == 64
    assert not any("token" in name for name in dict(loaded.decoder.named_parameters()))


def test_what_the_publisher_says_is_kept(folder: Folder) -> None:
    made = folder()
    said(made, "generation_config.json", temperature=0.6, top_p=0.95, eos_token_id=[258, 7])
    found = load_checkpoint(str(made), device="cpu", dtype="float32", limits=Limits())
    assert found.defaults.eos_ids == (258, 7)
    assert found.tokenizer is not None
    assert found.tokenizer.thinking is not None
    assert (found.folder, found.info.copies) == (made, ())
    engine = Engine.load(str(made))
    assert engine.default_sampling == Sampling(temperature=0.6, top_p=0.95)
    said(made, "generation_config.json", do_sample=False, eos_token_id=None)
    engine = Engine.load(str(made))
    assert engine.default_sampling == Sampling(temperature=0, top_p=0.95)
    assert engine.defaults.eos_ids == (258,)  # the tokenizer's


def test_a_folder_without_a_tokenizer_takes_ids(folder: Folder) -> None:
    made = folder()
    (made / "tokenizer.json").unlink()
    engine = Engine.load(str(made))
    (one,) = engine.generate([[1, 2]], Sampling(max_tokens=2))
    assert one.text == ""
    with pytest.raises(RequestError, match="no tokenizer, so text cannot be read"):
        engine.generate(["a"])


def test_what_does_not_fit_is_refused_before_a_weight_is_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder()
    monkeypatch.setattr("penjing.engine.load.available_bytes", lambda _: 50_000.0)
    monkeypatch.setattr("penjing.engine.load.load_weights", None)  # not even called
    monkeypatch.setattr("penjing.engine.load.Decoder", None)
    with pytest.raises(DoesNotFit, match=r"needs .*\(weights .*nearest that fits"):
        Engine.load(str(made))


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])


def pickled(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def poisoned(tensors: Tensors) -> None:
    tensors[NORM][5] = torch.nan


def recast(tensors: Tensors) -> None:
    tensors[NORM] = tensors[NORM].to(torch.int32)


def reshaped(tensors: Tensors) -> None:
    tensors[NORM] = tensors[NORM][:-1].clone()


BROKEN: dict[str, tuple[Callable[[Path], object], type[PenjingError], str]] = {
    "truncated": (cut, BadFile, "is cut short or no safetensors file"),
    "pickle": (pickled, BadFile, r"only in pytorch_model\.bin, a pickle, which can run code"),
    "nan": (lambda f: edited(f, poisoned), BadFile, rf"{NORM} in .* not finite .*nan at \[5\]"),
    "integers": (lambda f: edited(f, recast), BadFile, f"{NORM} in .* is I32; weights must be"),
    "shape": (lambda f: edited(f, reshaped), BadFile, r"has shape \[31\], .* asks for \[32\]"),
    "missing": (lambda f: edited(f, lambda t: t.pop(NORM)), BadFile, rf"missing 1 \({NORM}\)"),
    "family": (lambda f: said(f, "config.json", model_type="qwen9"), UnknownName, "nearest: qwen"),
    "layers": (
        lambda f: said(f, "config.json", num_hidden_layers=3),
        BadFile,
        r"missing \d+ \(model\.layers\.2",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), BadFile, r"config\.json"),
    "words": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        BadFile,
        r"tokenizer\.json does not parse",
    ),
    "vocabulary": (
        lambda f: said(f, "config.json", vocab_size=200),
        Contradiction,
        "ids up to 259, but the config a vocab_size of 200",
    ),
    "special": (
        lambda f: said(f, "tokenizer_config.json", eos_token="<nope>"),
        BadFile,
        "names '<nope>' as its eos_token, which tokenizer.json does not have",
    ),
    "temperature": (
        lambda f: said(f, "generation_config.json", temperature="hot"),
        BadFile,
        "temperature in .* is 'hot'",
    ),
    "no such part": (
        lambda f: said(f, "config.json", model_type="llama", mlp_bias=True),
        RequestError,
        "can be planned but not run here: it has biases in its feed-forward blocks",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_refused_in_one_line(
    folder: Folder, spoil: Callable[[Path], object], kind: type[PenjingError], message: str
) -> None:
    made = folder()
    spoil(made)
    with pytest.raises(kind, match=message) as caught:
        Engine.load(str(made))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"dtype": "float16"}, UnknownName, "unknown dtype 'float16'; nearest: bfloat16, float32"),
        ({"dtype": torch.int8}, UnknownName, "unknown dtype 'int8'"),
        ({"device": "tpu"}, UnknownName, "unknown device 'tpu'"),
        ({"device": "meta"}, UnknownName, "unknown device 'meta'"),
        ({"numerics": "exakt"}, UnknownName, "unknown numerics 'exakt'; nearest: exact"),
        ({"max_length": 129}, BadQuantity, "max_length is 129, but .* has 128 positions"),
        ({"max_sequences": 0}, BadQuantity, "max_sequences is 0"),
        ({"cache_bytes": 16.0}, DoesNotFit, "cache_bytes is 16"),
    ],
)
def test_a_wrong_wish_is_refused(
    folder: Folder, asked: dict[str, Any], kind: type[PenjingError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Engine.load(str(folder()), **asked)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="does not exist; give the folder of a checkpoint"):
        Engine.load(str(tmp_path / "none"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_device_no_engine(folder: Folder) -> None:
    with pytest.raises(RequestError, match="torch finds no CUDA device here; try cpu"):
        Engine.load(str(folder()), device="cuda")


def test_a_plan_is_for_the_memory_there_is(decoder: Callable[..., Decoder]) -> None:
    cpu, config = torch.device("cpu"), decoder().config
    planned = plan_for(config, torch.bfloat16, cpu, Limits(), weights_held=True)
    assert planned.weight_bytes == 0
    assert 0 < planned.cache_bytes < available_bytes(cpu)
    assert planned.base_bytes > 10e6  # an interpreter with torch
    assert planned.base_bytes == pytest.approx(held_bytes(cpu), rel=0.5)
    assert plan_for(config, torch.float32, cpu, Limits()).weight_bytes > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_an_engine_on_a_gpu_generates(folder: Folder) -> None:
    engine = Engine.load(str(folder("latent")), device="cuda", dtype="bfloat16", max_length=64)
    (one,) = engine.generate(["the quick"], Sampling(max_tokens=8, ignore_eos=True))
    assert len(one.ids) == 8
