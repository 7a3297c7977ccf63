import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import RequestError
from penjing.models.arithmetic import Arithmetic, Buffers
from penjing.models.cache import cache_bytes_per_token
from penjing.models.catalogue import load_model
from penjing.models.checkpoint import load_weights, part_of, stored_config
from penjing.models.config import Latent, MoE
from penjing.models.decoder import Decoder, MtpLayer, require_runnable
from penjing.models.format import BF16, FP32
from penjing.models.kernels.choice import Kernels, Numerics, choose_kernels
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.packed import pack_documents
from penjing.models.parameters import count_parameters
from penjing.models.tensor_names import tensor_places, zero_rows
from penjing.models.weights import mtp_bytes, weight_bytes

CPU = torch.device("cpu")
KERNELS: dict[str, Callable[[], Kernels]] = {
    "exact": lambda: choose_kernels(CPU),
    "exact, torch": InvariantKernels,
    "fast": lambda: choose_kernels(CPU, Numerics.FAST),
}
CLOSE = 1e-5


def their_logits(oracle: nn.Module, documents: list[list[int]]) -> Tensor:
    return torch.cat([oracle(torch.tensor([d])).logits[0] for d in documents])


def our_logits(
    decoder: Decoder, kernels: Kernels, documents: list[list[int]], *, expand: bool = False
) -> Tensor:
    arithmetic = Arithmetic(kernels)
    hidden_TD = decoder(pack_documents(documents), arithmetic, expand=expand)
    return decoder.logits(hidden_TD, arithmetic)


def is_latent(decoder: Decoder) -> bool:
    return isinstance(decoder.config.layers[0].attention, Latent)


def as_stored(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of checkpoints, where each expert has tensors of its own."""
    stored = {}
    for name, tensor in named.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = tensor
            continue
        front, _, last = name.rpartition(".")
        for e, expert in enumerate(tensor):
            if last == "gate_up_proj":
                gate, up = expert.chunk(2)
                stored[f"{front}.{e}.gate_proj.weight"] = gate
                stored[f"{front}.{e}.up_proj.weight"] = up
            else:
                stored[f"{front}.{e}.down_proj.weight"] = expert
    return stored


@pytest.mark.parametrize("which", KERNELS)
def test_logits_are_those_of_transformers(
    which: str,
    oracle: nn.Module,
    decoder: Decoder,
    documents: list[list[int]],
    record: Callable[[str, float], None],
) -> None:
    """Three documents in one pass, beside three passes of one."""
    with torch.no_grad():
        ours = our_logits(decoder, KERNELS[which](), documents)
        theirs = their_logits(oracle, documents)
    assert theirs.abs().max() > 1
    difference = (ours - theirs).abs().max().item()
    record(f"logits, {which}", difference)
    assert difference <= CLOSE


def test_both_spellings_of_the_rotary_embedding_are_one_model(
    checkpoint: Path, decoder: Decoder, documents: list[list[int]], tmp_path: Path
) -> None:
    """``rope_parameters`` of transformers 5, and ``rope_theta`` beside ``rope_scaling`` before."""
    raw = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    rope = raw.pop("rope_parameters")
    raw["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    raw["rope_scaling"] = None if kind == "default" else {**rope, "type": kind}
    (tmp_path / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    (tmp_path / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    config = stored_config(tmp_path)
    assert replace(config, name=decoder.config.name) == decoder.config
    older = Decoder(config)
    load_weights(tmp_path, older, config)
    with torch.no_grad():
        ours, again = (our_logits(d, KERNELS["exact"](), documents) for d in (decoder, older))
    assert torch.equal(ours, again)


@pytest.mark.parametrize("which", KERNELS)
def test_expanded_attention_gives_the_same_logits(
    which: str, decoder: Decoder, documents: list[list[int]], record: Callable[[str, float], None]
) -> None:
    """Latents expanded to all heads, and without latents nothing else at all."""
    with torch.no_grad():
        absorbed, expanded = (
            our_logits(decoder, KERNELS[which](), documents, expand=e) for e in (False, True)
        )
    difference = (absorbed - expanded).abs().max().item()
    assert difference <= CLOSE
    assert (difference > 0) == is_latent(decoder)
    if is_latent(decoder):
        record(f"expanded, {which}", difference)


def test_gradients_are_those_of_transformers(
    oracle: nn.Module,
    decoder: Decoder,
    documents: list[list[int]],
    record: Callable[[str, float], None],
) -> None:
    """Of every parameter, relative to its largest one."""
    into = torch.randn(sum(map(len, documents)), 96, generator=torch.Generator().manual_seed(2))
    parameters = {n: p for n, p in decoder.named_parameters() if "correction_bias" not in n}
    loss = (our_logits(decoder, KERNELS["exact"](), documents) * into).mean()
    ours = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    theirs_of = dict(oracle.named_parameters())
    loss = (their_logits(oracle, documents) * into).mean()
    found = torch.autograd.grad(loss, list(theirs_of.values()))
    theirs = as_stored(dict(zip(theirs_of, found, strict=True)))
    worst, places = 0.0, tensor_places(decoder.config)
    for name in theirs:
        got = part_of(ours, places[name])
        scale = max(theirs[name].abs().max().item(), 1e-7)
        worst = max(worst, (got - theirs[name]).abs().max().item() / scale)
        assert worst <= 1e-4, name
    expected = {n for n in places if "correction_bias" not in n}
    assert theirs.keys() | {"lm_head.weight"} == expected | {"lm_head.weight"}
    record("gradients", worst)


def test_the_correction_bias_learns_nothing_from_the_loss(
    decoder: Decoder, documents: list[list[int]]
) -> None:
    biases = [p for n, p in decoder.named_parameters() if "correction_bias" in n]
    value = our_logits(decoder, KERNELS["exact"](), documents).sum()
    if biases:
        found = torch.autograd.grad(value, biases, allow_unused=True)
        assert all(gradient is None for gradient in found)


def test_buffers_change_nothing(decoder: Decoder, documents: list[list[int]]) -> None:
    """Serving and training have the same bits; the second pass allocates nothing."""
    buffers, packed = Buffers(CPU), pack_documents(documents)
    serving = Arithmetic(KERNELS["exact"](), buffers)
    with torch.no_grad():
        served = decoder.logits(decoder(packed, serving), serving).clone()
        held = buffers.num_bytes
        again = decoder.logits(decoder(packed, serving), serving)
    trained = our_logits(decoder, KERNELS["exact"](), documents)
    assert trained.requires_grad
    assert torch.equal(served, trained.detach())
    assert torch.equal(served, again)
    assert buffers.num_bytes == held


def test_documents_do_not_see_each_other(decoder: Decoder, documents: list[list[int]]) -> None:
    """Bit for bit the same alone, in another order, and beside a changed neighbour."""
    kernels = KERNELS["exact"]()
    with torch.no_grad():
        together = our_logits(decoder, kernels, documents)
        turned = our_logits(decoder, kernels, [documents[2], documents[0], [3] * 9])
        alone = our_logits(decoder, kernels, documents[:1])
    assert torch.equal(alone, together[:70])
    assert torch.equal(turned[:33], together[75:])
    assert torch.equal(turned[33:103], together[:70])


def test_logprobs_are_of_each_token_after_those_before_it(
    oracle: nn.Module, decoder: Decoder, documents: list[list[int]]
) -> None:
    """Nats; a first token has none. The gradient is that of minus the sum of cross-entropies."""
    found = decoder.logprobs(pack_documents(documents), Arithmetic(KERNELS["exact"]()))
    for document, scores in zip(documents, torch.split(found, [70, 5, 33]), strict=True):
        of_all = oracle(torch.tensor([document])).logits[0].log_softmax(-1)
        expected = of_all[:-1].gather(1, torch.tensor(document[1:])[:, None])[:, 0]
        assert scores[0] == 0
        torch.testing.assert_close(scores[1:], expected, rtol=1e-5, atol=1e-5)
    (ours,) = torch.autograd.grad(found.sum(), decoder.norm)
    assert ours.isfinite().all()
    assert ours.any()


def test_logits_are_fp32_in_bf16_too(decoder: Decoder, documents: list[list[int]]) -> None:
    """And near those of fp32; the correction bias stays as wide as it was."""
    narrow = Decoder(decoder.config, dtype=torch.bfloat16)
    narrow.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        got, wide = (our_logits(d, KERNELS["exact"](), documents[1:2]) for d in (narrow, decoder))
    assert got.dtype is torch.float32
    biases = {p.dtype for n, p in narrow.named_parameters() if "correction_bias" in n}
    assert biases <= {torch.float32}
    # An expert or two may be another one, so the middle is compared and not the worst.
    assert (got - wide).abs().median() < 0.05 * wide.abs().max()


def test_parameters_are_as_many_as_planned(checkpoint: Path) -> None:
    """With the prediction layer that config.json has and the files of transformers have not."""
    config = load_model(checkpoint)
    made = Decoder(config, device="meta")
    count, sizes = count_parameters(config), {n: p.numel() for n, p in made.named_parameters()}
    # Rows of zeros that no checkpoint has.
    zeros = {name: stop - start for name, (start, stop) in zero_rows(config).items()}
    mtp = sum(size - zeros.get(name, 0) for name, size in sizes.items() if name[:4] == "mtp.")
    assert mtp == count.mtp
    assert sum(sizes.values()) - sum(zeros.values()) == count.total + count.mtp
    assert sum(p.nbytes for p in made.parameters()) - 4 * sum(zeros.values()) == (
        weight_bytes(config) + mtp_bytes(config)
    )


def test_correction_biases_alone_are_wider_than_planned(decoder: Decoder) -> None:
    """The plan stores them like the router; here they are fp32 beside bf16."""
    config = decoder.config
    narrow = Decoder(config, dtype=torch.bfloat16, device="meta")
    blocks = [x.feed_forward for x in config.layers if isinstance(x.feed_forward, MoE)]
    biases = sum(b.num_experts for b in blocks if b.router.correction_bias)
    zeros = sum(stop - start for start, stop in zero_rows(config).values())
    stored = sum(p.nbytes for p in narrow.parameters())
    assert stored == weight_bytes(config) / 2 + 2 * zeros + 2 * biases


@pytest.mark.parametrize(("dtype", "form"), [(torch.float32, FP32), (torch.bfloat16, BF16)])
def test_caches_are_as_large_as_planned(decoder: Decoder, dtype: torch.dtype, form: Any) -> None:
    caches = Decoder(decoder.config, dtype=dtype).new_caches(37)
    assert sum(c.nbytes for c in caches) == 37 * cache_bytes_per_token(decoder.config, form)
    assert not any(c.any() for c in caches)


@pytest.mark.parametrize(
    ("name", "billions"), [("DeepSeek-R1", 671.0), ("Moonlight-16B-A3B", 16.0)]
)
def test_the_real_ones_have_their_real_size(name: str, billions: float) -> None:
    config = load_model(name)
    made = Decoder(config, dtype=torch.bfloat16, device="meta")
    own = sum(p.numel() for n, p in made.named_parameters() if not n.startswith("mtp."))
    assert own / 1e9 == pytest.approx(billions, abs=0.05)
    assert sum(p.numel() for p in made.mtp.parameters()) == count_parameters(config).mtp


@pytest.mark.parametrize("variant", ["DeepSeek-V3, YaRN", "Llama"], indirect=True)
def test_positions_can_be_limited(decoder: Decoder, documents: list[list[int]]) -> None:
    limited, kernels = Decoder(decoder.config), KERNELS["exact"]()
    limited.load_state_dict(decoder.state_dict())
    limited.limit_positions(70)
    run = limited.run(pack_documents(documents), Arithmetic(kernels))
    assert run.turns_PR.shape[0] == 70
    with torch.no_grad():
        whole, short = (our_logits(d, kernels, documents) for d in (decoder, limited))
    assert torch.equal(whole, short)
    assert decoder.run(pack_documents(documents), Arithmetic(kernels)).turns_PR.shape[0] == 256


@pytest.mark.parametrize("variant", ["DeepSeek-V3, YaRN", "Moonlight"], indirect=True)
def test_a_prediction_layer_is_that_of_transformers(
    oracle: Any, checkpoint: Path, documents: list[list[int]]
) -> None:
    """Loaded under the names of checkpoints; transformers norms its result already."""
    from transformers.modeling_layers import MtpModel

    document, config = documents[0], load_model(checkpoint)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        (theirs,) = MtpModel(oracle, 1).layers
        for parameter in theirs.parameters():
            nn.init.normal_(parameter, std=0.2)
    decoder, arithmetic = Decoder(config), Arithmetic(KERNELS["exact"]())
    parameters, places = dict(decoder.named_parameters()), tensor_places(config)
    renamed = {"mtp_block.": "", "post_norm": "shared_head.norm"}
    for name, tensor in as_stored({**dict(theirs.named_parameters()), **biases(theirs)}).items():
        for old, new in renamed.items():
            name = name.replace(old, new) if old != "post_norm" or name[:4] == "post" else name
        part_of(parameters, places[f"model.layers.2.{name}"]).copy_(tensor.detach())
    embedded, hidden = torch.randn(2, 70, 48, generator=torch.Generator().manual_seed(4))
    layer, run = decoder.mtp[0], decoder.run(pack_documents([document]), arithmetic)
    assert isinstance(layer, MtpLayer)
    with torch.no_grad():
        ours = arithmetic.rms_norm(
            "x", layer(embedded, hidden, run, 0), layer.norm, config.norm_eps
        )
        positions = torch.arange(70)[None]
        turned = oracle.model.rotary_emb(embedded[None], position_ids=positions)
        expected = theirs(embedded[None], hidden[None], turned, None, positions, None)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def biases(module: nn.Module) -> dict[str, Tensor]:
    return {n: b for n, b in module.named_buffers() if n.endswith("correction_bias")}


UNFIT = {
    "GPT-OSS-20B": "attention sinks",
    "DeepSeek-V3.2": "a sparse indexer",
    "GLM-4.5": "a rotary embedding of part of a head",
    "GPT-3-175B": "learnt positions, LayerNorm",
    "Qwen1.5-MoE-A2.7B": "a gate on its shared expert",
}


@pytest.mark.parametrize(("name", "why"), UNFIT.items())
def test_what_does_not_run_says_which_part_is_missing(name: str, why: str) -> None:
    with pytest.raises(
        RequestError, match=f"{name} can be planned but not run here: it has .*{why}"
    ):
        Decoder(load_model(name), device="meta")


def test_what_runs_is_not_refused(decoder: Decoder) -> None:
    require_runnable(decoder.config)
