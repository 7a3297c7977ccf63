import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from penjing.models.arithmetic import Arithmetic
from penjing.models.attention import GroupedQueryAttention, LatentAttention, make_attention
from penjing.models.catalogue import load_model
from penjing.models.config import (
    Attention,
    Dense,
    GroupedQuery,
    Latent,
    Layer,
    ModelConfig,
    Rope,
    Yarn,
)
from penjing.models.kernels.choice import choose_kernels
from penjing.models.kernels.reference import rms_norm, rope
from penjing.models.packed import Packed, pack_documents
from penjing.models.rope import turns
from penjing.models.run import Run

CPU = torch.device("cpu")
YARN = Yarn(factor=40.0, original_positions=64, mscale=1.0, mscale_all_dim=1.0)
GROUPED = GroupedQuery(num_heads=6, num_kv_heads=2, head_dim=10)
LATENT = Latent(num_heads=5, q_rank=14, kv_rank=18, nope_dim=9, rope_dim=6, value_dim=7)
LENGTHS = (70, 1, 33)
KINDS: dict[str, Attention] = {
    "grouped": GROUPED,
    "biases": replace(GROUPED, qkv_bias=True, out_bias=True),
    "norms": replace(GROUPED, qk_norm=True),
    "window": replace(GROUPED, window=8),
    "latent": LATENT,
    "full rank": replace(LATENT, q_rank=None),
    "latent, biases": replace(LATENT, bias=True),
    "full rank, biases": replace(LATENT, q_rank=None, bias=True),
}


def config_of(attention: Attention, *, scaling: Yarn | None = None) -> ModelConfig:
    dim = attention.head_dim if isinstance(attention, GroupedQuery) else attention.rope_dim
    return ModelConfig(
        name="tiny",
        model_type="tiny",
        width=24,
        vocab_size=8,
        layers=(Layer(attention=attention, feed_forward=Dense(width=8)),),
        rope=Rope(theta=100.0, dim=dim, scaling=scaling),
        norm_eps=1e-5,
        max_positions=256,
    )


def drawn(
    attention: Attention, *, scaling: Yarn | None = None
) -> GroupedQueryAttention | LatentAttention:
    module = make_attention(attention, config_of(attention, scaling=scaling), torch.float32, CPU)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
            parameter.mul_(1 if "norm" in name else parameter.shape[-1] ** -0.5)
    return module


def run_over(
    attention: Attention, packed: Packed, *, expand: bool = False, scaling: Yarn | None = None
) -> Run:
    table = config_of(attention, scaling=scaling).rope
    assert table is not None
    return Run(
        packed=packed,
        arithmetic=Arithmetic(choose_kernels(CPU)),
        turns_PR=turns(table, 256),
        expand=expand,
    )


def documents(lengths: tuple[int, ...] = LENGTHS) -> tuple[Packed, Tensor]:
    packed = pack_documents([[0] * n for n in lengths])
    x_TD = torch.randn(sum(lengths), 24, generator=torch.Generator().manual_seed(1))
    return packed, x_TD


def applied(attention: Attention, x_TD: Tensor, packed: Packed, *, expand: bool = False) -> Tensor:
    run = run_over(attention, packed, expand=expand)
    with torch.no_grad():
        out: Tensor = drawn(attention)(x_TD, torch.zeros_like(x_TD), run, 0)
    return out


def softened(q_SNH: Tensor, k_SNH: Tensor, v_SNV: Tensor, scale: float, window: int) -> Tensor:
    """Plain attention of one document, heads one by one."""
    out = []
    for n in range(q_SNH.shape[1]):
        scores = q_SNH[:, n] @ k_SNH[:, n].T * scale
        places = torch.arange(len(scores))
        hidden = (places[None] > places[:, None]) | (places[None] <= places[:, None] - window)
        out.append(scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v_SNV[:, n])
    return torch.cat(out, -1)


def grouped_by_hand(
    module: GroupedQueryAttention, shape: GroupedQuery, x_SD: Tensor, turns_PR: Tensor
) -> Tensor:
    n, m, h = shape.num_heads, shape.num_kv_heads, shape.head_dim
    qkv = nn.functional.linear(x_SD, module.qkv, module.qkv_bias)
    q, k, v = (
        part.reshape(len(x_SD), -1, h) for part in torch.split(qkv, [n * h, m * h, m * h], 1)
    )
    if module.q_norm is not None and module.k_norm is not None:
        q, k = rms_norm(q, module.q_norm, 1e-5), rms_norm(k, module.k_norm, 1e-5)
    positions = torch.arange(len(x_SD))
    q, k = (rope(part, turns_PR, positions, False) for part in (q, k))
    k, v = (part.repeat_interleave(n // m, 1) for part in (k, v))
    out = softened(q, k, v, h**-0.5, shape.window or 10**6)
    return nn.functional.linear(out, module.out, module.out_bias)


def latent_by_hand(
    module: LatentAttention, shape: Latent, x_SD: Tensor, turns_PR: Tensor
) -> Tensor:
    """DeepSeek-V2 report, eq. 9 to 19, with keys and values of every head."""
    n, p, c, r = shape.num_heads, shape.nope_dim, shape.kv_rank, shape.rope_dim
    down = nn.functional.linear(x_SD, module.down, module.down_bias)
    q, latent, k_rope = torch.split(down, [down.shape[1] - c - r, c, r], 1)
    if module.q_norm is not None and module.q_up is not None:
        q = rms_norm(q, module.q_norm, 1e-6) @ module.q_up.T
    positions = torch.arange(len(x_SD))
    q = rope(q.reshape(len(x_SD), n, p + r), turns_PR, positions, True)
    k_rope = rope(k_rope[:, None], turns_PR, positions, True)
    up = (rms_norm(latent, module.kv_norm, 1e-6) @ module.kv_up.T).reshape(len(x_SD), n, -1)
    k = torch.cat((up[..., :p], k_rope.expand(-1, n, -1)), -1)
    out = softened(q, k, up[..., p:], (p + r) ** -0.5, 10**6)
    return nn.functional.linear(out, module.out, module.out_bias)


@pytest.mark.parametrize("attention", KINDS.values(), ids=KINDS)
def test_every_kind_is_the_formula_of_its_paper(attention: Attention) -> None:
    packed, x_TD = documents()
    run, module = run_over(attention, packed), drawn(attention)
    residual = torch.randn(x_TD.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        got = module(x_TD, residual, run, 0)
        for part, rest, out in zip(
            *(torch.split(t, list(LENGTHS)) for t in (x_TD, residual, got)), strict=True
        ):
            if isinstance(module, LatentAttention) and isinstance(attention, Latent):
                expected = latent_by_hand(module, attention, part, run.turns_PR)
            else:
                assert isinstance(module, GroupedQueryAttention)
                assert isinstance(attention, GroupedQuery)
                expected = grouped_by_hand(module, attention, part, run.turns_PR)
            torch.testing.assert_close(out, rest + expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [k for k, a in KINDS.items() if isinstance(a, Latent)])
def test_absorbed_is_expanded(kind: str) -> None:
    packed, x_TD = documents()
    absorbed, expanded = (applied(KINDS[kind], x_TD, packed, expand=e) for e in (False, True))
    assert (absorbed - expanded).abs().max() <= 1e-5
    assert not torch.equal(absorbed, expanded)


@pytest.mark.parametrize("window", [1, 8, 40, 64])
def test_a_window_ends_where_it_says(window: int) -> None:
    """The last token sees itself and those up to ``window - 1`` before it, to the bit."""
    attention = replace(GROUPED, window=window)
    packed, x_TD = documents((70,))
    before = applied(attention, x_TD, packed)[-1]
    outside, inside = x_TD.clone(), x_TD.clone()
    outside[: 70 - window] += 1
    inside[70 - window] += 1
    assert torch.equal(applied(attention, outside, packed)[-1], before)
    assert not torch.equal(applied(attention, inside, packed)[-1], before)


@pytest.mark.parametrize("attention", KINDS.values(), ids=KINDS)
def test_no_token_sees_what_follows_or_another_document(attention: Attention) -> None:
    packed, x_TD = documents()
    before, changed = applied(attention, x_TD, packed), x_TD.clone()
    changed[50] += 1
    after = applied(attention, changed, packed)
    assert torch.equal(after[:50], before[:50])
    assert torch.equal(after[70:], before[70:])
    assert not torch.equal(after[51], before[51])


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("attention", KINDS.values(), ids=KINDS)
def test_everything_learns(attention: Attention, expand: bool) -> None:
    packed, x_TD = documents()
    module, run = drawn(attention), run_over(attention, packed, expand=expand)
    x_TD.requires_grad_()
    out = module(x_TD, torch.zeros_like(x_TD), run, 0)
    found = torch.autograd.grad(out.square().mean(), [x_TD, *module.parameters()])
    assert all(gradient.isfinite().all() and gradient.any() for gradient in found)


def test_yarn_sharpens_latent_attention_alone() -> None:
    """By 1.87385 for a factor of 40: 32^-0.5 becomes 0.33125 as transformers has it."""
    latent = replace(LATENT, nope_dim=16, rope_dim=16)
    for expand in ("heads", "expanded_heads"):
        plain, sharp = (
            getattr(drawn(latent, scaling=scaling), expand).scale for scaling in (None, YARN)
        )
        assert plain == 32**-0.5
        assert sharp == pytest.approx(0.33125, abs=5e-6)
    grouped = drawn(GROUPED, scaling=YARN)
    assert grouped.heads.scale == 10**-0.5


def test_the_scale_of_r1() -> None:
    config = load_model("DeepSeek-R1")
    module = make_attention(
        config.layers[0].attention, config, torch.bfloat16, torch.device("meta")
    )
    assert module.heads.scale == pytest.approx(192**-0.5 * (0.1 * math.log(40) + 1) ** 2)
    assert (module.heads.key_dim, module.heads.value_dim, module.heads.num_kv_heads) == (
        576,
        512,
        1,
    )
