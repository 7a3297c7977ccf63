"""Adapters on disk: what PEFT reads and writes, under the names of the checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from penjing.errors import BadFile, Contradiction, UnknownName
from penjing.models.arithmetic import Arithmetic
from penjing.models.catalogue import load_model
from penjing.models.checkpoint import CheckpointInfo, load_weights, stored_config
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import choose_kernels
from penjing.models.saving import save_checkpoint
from penjing.train import adapter_files
from penjing.train.adapter_files import load_adapter, save_adapter
from penjing.train.lora import Factors, LoraConfig, LoraOptimizer, find_targets
from penjing.train.optimizer import AdamW
from penjing.train.scores import Document, scores
from tests.engine.conftest import KINDS
from tests.models.test_saving import contents, transformers_folder

PLAIN = AdamW(max_norm=0.0)
ALL = LoraConfig(rank=3, alpha=5.0, experts=True)
IDS = (3, 14, 15, 9, 26, 5, 35, 8, 9)


def stirred(model: Decoder, config: LoraConfig = ALL) -> LoraOptimizer:
    """With a B that is not zero."""
    lora = LoraOptimizer(model, config, PLAIN)
    drawn = torch.Generator().manual_seed(4)
    lora.adopt(
        {
            name: Factors(a_RI=f.a_RI, b_OR=torch.randn(f.b_OR.shape, generator=drawn) * 0.3)
            for name, f in lora.factors().items()
        }
    )
    return lora


def stored(folder: Path) -> Decoder:
    config = stored_config(folder)
    model = Decoder(config)
    load_weights(folder, model, config)
    return model


def cross_entropy(model: Decoder) -> Tensor:
    document = Document(ids=IDS, is_learnt=(False,) + (True,) * (len(IDS) - 1))
    arithmetic = Arithmetic(choose_kernels(torch.device("cpu")))
    return -scores(model, [document], arithmetic).logprobs_X.mean()


PEFT_CASES = {
    "qwen2": ("qwen2", LoraConfig(rank=3, alpha=5.0)),
    "two targets": ("qwen2", LoraConfig(rank=3, alpha=5.0, targets=("q_proj", "down_proj"))),
    "scaled by the root": ("llama", LoraConfig(rank=4, alpha=5.0, rslora=True)),
    "blocks beside experts": ("deepseek", LoraConfig(rank=3, alpha=5.0)),
    "experts": ("deepseek", ALL),
    "experts by the root": ("qwen3_moe", LoraConfig(rank=4, alpha=5.0, rslora=True, experts=True)),
}


@pytest.mark.filterwarnings("ignore")  # of PEFT, about itself and transformers
@pytest.mark.parametrize("case", sorted(PEFT_CASES))
def test_peft_loads_it_and_has_the_same_loss_and_weights(tmp_path: Path, case: str) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    from transformers import AutoModelForCausalLM

    family, config = PEFT_CASES[case]
    folder = transformers_folder(tmp_path / "base", family)
    model = stored(folder)
    save_adapter(tmp_path / "adapter", stirred(model, config), str(folder))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([IDS])
    before = base(ids, labels=ids).loss.item()
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    loss = theirs(ids, labels=ids).loss.item()
    assert cross_entropy(model).item() == pytest.approx(loss, abs=1e-6)
    assert abs(before - loss) > 1e-3
    save_checkpoint(tmp_path / "merged", model, model.config, folder)
    theirs.merge_and_unload().save_pretrained(tmp_path / "theirs")
    mine, others = contents(tmp_path / "merged"), contents(tmp_path / "theirs")
    for name in others:
        torch.testing.assert_close(mine[name], others[name], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ["qwen2", "blocks beside experts"])
def test_peft_has_the_same_gradients(tmp_path: Path, case: str) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    from transformers import AutoModelForCausalLM

    family, config = PEFT_CASES[case]
    folder = transformers_folder(tmp_path / "base", family)
    model = stored(folder)
    lora = stirred(model, config)
    save_adapter(tmp_path / "adapter", lora, str(folder))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
    ids = torch.tensor([IDS])
    theirs(ids, labels=ids).loss.backward()
    cross_entropy(model).backward()
    found = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert len(found) == 2 * len(lora.factors())
    for adapter in lora.adapters.values():
        for letter, factor in (("A", adapter.a_ERI), ("B", adapter.b_EOR)):
            assert factor.grad is not None
            name = f"base_model.model.{adapter.target.modules[0]}.lora_{letter}.default.weight"
            assert found[name].abs().max() > 0
            torch.testing.assert_close(factor.grad[0], found[name], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_peft_writes_is_read(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    from transformers import AutoModelForCausalLM

    folder = transformers_folder(tmp_path / "base", "qwen3")
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=2,
        lora_alpha=7,
        target_modules=["v_proj", "up_proj"],
        use_rslora=True,
        init_lora_weights=False,  # B is not zero
    )
    theirs = peft.get_peft_model(base, asked)
    theirs.save_pretrained(tmp_path / "adapter")
    config, factors = load_adapter(tmp_path / "adapter")
    assert config == LoraConfig(rank=2, alpha=7.0, targets=("up_proj", "v_proj"), rslora=True)
    model = stored(folder)
    before = cross_entropy(model).item()
    LoraOptimizer(model, config, PLAIN).adopt(factors)
    ids = torch.tensor([IDS])
    loss = theirs(ids, labels=ids).loss.item()
    assert cross_entropy(model).item() == pytest.approx(loss, abs=1e-6)
    assert abs(before - loss) > 1e-3


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_written_is_read_again(
    decoder: Callable[..., Decoder], tmp_path: Path, kind: str
) -> None:
    model = decoder(kind)
    lora = stirred(model)
    save_adapter(tmp_path / "a", lora, "base")
    config, factors = load_adapter(tmp_path / "a")
    assert (config.rank, config.alpha, config.rslora) == (3, 5.0, False)
    assert factors.keys() == lora.factors().keys()
    again = decoder(kind)
    LoraOptimizer(again, config, PLAIN, seed=9).adopt(factors)
    assert all(torch.equal(p, again.get_parameter(n)) for n, p in model.named_parameters())


def test_names_and_settings_are_those_of_peft(
    decoder: Callable[..., Decoder], tmp_path: Path
) -> None:
    config = LoraConfig(rank=2, alpha=8.0, targets=("q_proj", "up_proj"), rslora=True)
    save_adapter(tmp_path / "a", stirred(decoder(), config), "some/base")
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text()) == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "some/base",
        "r": 2,
        "lora_alpha": 8,
        "use_rslora": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "up_proj"],
        "inference_mode": True,
    }
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items() if ".0." in name} == {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, 32),
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (32, 2),
        "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": (2, 32),
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": (48, 2),
    }
    assert len(tensors) == 8


def test_a_model_with_experts_names_its_other_blocks_apart(
    decoder: Callable[..., Decoder], tmp_path: Path
) -> None:
    save_adapter(tmp_path / "a", stirred(decoder("latent"), LoraConfig(rank=2, alpha=8)), "b")
    said = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    attention = ["kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "q_a_proj", "q_b_proj"]
    assert said["target_modules"] == attention
    assert said["target_parameters"] == [
        f"{block}.{kind}_proj.weight"
        for block in ("mlp", "shared_experts")
        for kind in ("down", "gate", "up")
    ]


def test_an_older_one_is_replaced_whole_or_stays(
    decoder: Callable[..., Decoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    save_adapter(folder, stirred(decoder(), LoraConfig(rank=1, alpha=1)), "b")
    save_adapter(folder, stirred(decoder()), "b")
    assert load_adapter(folder)[0].rank == 3

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter_files, "save_file", full)
    with pytest.raises(BadFile, match="No space left on device; what was there before"):
        save_adapter(folder, stirred(decoder(), LoraConfig(rank=1, alpha=1)), "b")
    assert load_adapter(folder)[0].rank == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_else_is_replaced(decoder: Callable[..., Decoder], tmp_path: Path) -> None:
    lora = stirred(decoder())
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").touch()
    with pytest.raises(BadFile, match=r"thesis\.txt, which is no part of an adapter"):
        save_adapter(tmp_path / "a", lora, "b")
    with pytest.raises(BadFile, match="is a file"):
        save_adapter(tmp_path / "a" / "thesis.txt", lora, "b")


Change = Callable[[dict[str, Any], dict[str, Tensor]], object]
FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
DAMAGES: dict[str, tuple[Change, str]] = {
    "other method": (lambda said, _: said.update(peft_type="LOHA"), "must be LORA"),
    "dora": (lambda said, _: said.update(use_dora=True, bias="all"), "sets use_dora, bias; only"),
    "ranks": (lambda said, _: said.update(rank_pattern={"q": 3}), "sets rank_pattern"),
    "no rank": (lambda said, _: said.pop("r"), "r is None"),
    "bad alpha": (lambda said, _: said.update(lora_alpha="x"), "lora_alpha 'x'"),
    "one factor": (lambda _, tensors: tensors.pop(FIRST), "only B of model.layers.0.self_attn.q"),
    "a bias": (lambda _, tensors: tensors.update({"x.bias": torch.ones(1)}), "holds x.bias"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_what_cannot_be_read_is_said(
    decoder: Callable[..., Decoder], tmp_path: Path, damage: str
) -> None:
    save_adapter(tmp_path / "a", stirred(decoder()), "b")
    config, file = tmp_path / "a" / "adapter_config.json", tmp_path / "a/adapter_model.safetensors"
    said, tensors = json.loads(config.read_text()), load_file(file)
    change, message = DAMAGES[damage]
    change(said, tensors)
    config.write_text(json.dumps(said))
    save_file(tensors, file)
    with pytest.raises(BadFile, match=message):
        load_adapter(tmp_path / "a")


def test_files_that_are_not_there(decoder: Callable[..., Decoder], tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"adapter_config\.json cannot be read: .*No such file"):
        load_adapter(tmp_path / "a")
    save_adapter(tmp_path / "a", stirred(decoder()), "b")
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(BadFile, match=r"adapter_model\.safetensors cannot be read"):
        load_adapter(tmp_path / "a")


def test_merged_weights_are_a_checkpoint_like_any(
    decoder: Callable[..., Decoder], tmp_path: Path
) -> None:
    model = decoder("latent", torch.bfloat16)
    stirred(model)
    raw = {**KINDS["latent"], "torch_dtype": "bfloat16"}
    info = CheckpointInfo(config=raw, copies=(), dtypes={})
    save_checkpoint(tmp_path / "merged", model, model.config, None, info=info)
    config = stored_config(tmp_path / "merged")
    again = Decoder(config, dtype=torch.bfloat16)
    load_weights(tmp_path / "merged", again, config)
    assert all(torch.equal(p, again.get_parameter(n)) for n, p in model.named_parameters())


def test_linear_layers_are_found_where_they_lie(decoder: Callable[..., Decoder]) -> None:
    model = decoder("latent").config
    found = {t.name: t for t in find_targets(model, LoraConfig(rank=1, alpha=1))}
    assert sorted(n for n in found if n.startswith("layers.1.")) == [
        "layers.1.attention.down.kv_a_proj_with_mqa",
        "layers.1.attention.down.q_a_proj",
        "layers.1.attention.kv_up.kv_b_proj",
        "layers.1.attention.out.o_proj",
        "layers.1.attention.q_up.q_b_proj",
        "layers.1.feed_forward.shared.down.down_proj",
        "layers.1.feed_forward.shared.gate_up.gate_proj",
        "layers.1.feed_forward.shared.gate_up.up_proj",
    ]
    key = found["layers.1.attention.down.kv_a_proj_with_mqa"]
    assert (key.rows, key.shape) == ((24, 44), (20, 32))
    assert key.modules == ("model.layers.1.self_attn.kv_a_proj_with_mqa",)
    routed = {t.name: t for t in find_targets(model, ALL) if t.is_routed}
    assert list(routed) == [
        f"layers.1.feed_forward.{name}"
        for name in ("gate_up.gate_proj", "gate_up.up_proj", "down.down_proj")
    ]
    up = routed["layers.1.feed_forward.gate_up.up_proj"]
    assert (up.rows, up.shape, len(up.modules)) == ((12, 24), (12, 32), 8)
    assert up.modules[7] == "model.layers.1.mlp.experts.7.up_proj"


@pytest.mark.parametrize(
    ("name", "config", "millions"),
    [
        # PEFT 0.21.2, print_trainable_parameters
        ("Llama-2-7B", LoraConfig(rank=8, alpha=16, targets=("q_proj", "v_proj")), 4.194304),
        ("Llama-3.1-8B", LoraConfig(rank=16, alpha=16), 41.943040),
        ("Qwen2.5-7B", LoraConfig(rank=16, alpha=16), 40.370176),
    ],
)
def test_counts_that_others_print(name: str, config: LoraConfig, millions: float) -> None:
    sizes = (len(t.modules) * sum(t.shape) for t in find_targets(load_model(name), config))
    assert config.rank * sum(sizes) == round(millions * 1e6)


@pytest.mark.parametrize("kind", ["tied", "full-rank"])
def test_embedding_head_and_prediction_layers_stay(
    decoder: Callable[..., Decoder], kind: str
) -> None:
    found = find_targets(decoder(kind).config, ALL)
    assert all(one.parameter.startswith("layers.") for one in found)


def test_targets_that_are_not_there(decoder: Callable[..., Decoder]) -> None:
    routed = decoder("routed").config
    with pytest.raises(UnknownName, match=r"'q_prj'; nearest: q_proj.*; of routed experts"):
        find_targets(routed, LoraConfig(rank=1, alpha=1, targets=("q_prj",)))
    with pytest.raises(UnknownName, match="'up_proj'"):
        find_targets(routed, LoraConfig(rank=1, alpha=1, targets=("up_proj",)))
    with pytest.raises(Contradiction, match="gate_proj and up_proj together"):
        find_targets(routed, LoraConfig(rank=1, alpha=1, targets=("up_proj",), experts=True))


def test_factors_of_other_matrices_are_refused(decoder: Callable[..., Decoder]) -> None:
    lora = LoraOptimizer(decoder(), ALL, PLAIN)
    name, one = next(iter(lora.factors().items()))
    with pytest.raises(BadFile, match=r"lacks model\.layers\.0"):
        lora.adopt({name: one})
    with pytest.raises(BadFile, match=r"has a\.b"):
        lora.adopt({**lora.factors(), "a.b": one})
    wide = Factors(a_RI=one.a_RI[:2], b_OR=one.b_OR)
    with pytest.raises(BadFile, match=r"A of .* has shape \[2, 32\] in .* \[3, 32\] with rank 3"):
        lora.adopt({**lora.factors(), name: wide})
