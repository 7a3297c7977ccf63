"""The formulas by hand: loops over plain numbers, one value at a time."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from penjing.models.kernels import reference
from penjing.models.kernels.choice import Kernels
from penjing.models.kernels.reference import Heads, Routing, Spans

Attention = tuple[Tensor, Tensor, Heads, Spans]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_linear_adds_bias_and_residual() -> None:
    x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    bias, residual = torch.tensor([0.5, 0.0, 0.0]), torch.tensor([[0.0, 100.0, 0.0]])
    fp32 = torch.float32
    assert reference.linear(x, w, None, None, fp32).tolist() == [[11, 17, 23]]
    assert reference.linear(x, w, bias, residual, fp32).tolist() == [[11.5, 117, 23]]


def test_a_wider_product_is_not_rounded_on_the_way() -> None:
    """257 is no bf16."""
    x, w = torch.ones(1, 257, dtype=torch.bfloat16), torch.ones(1, 257, dtype=torch.bfloat16)
    assert reference.linear(x, w, None, None, torch.float32).item() == 257
    assert reference.linear(x, w, None, None, torch.bfloat16).item() == 256


def test_heads_have_weights_of_their_own() -> None:
    x_TNI, w_NOI = draw(4, 3, 5), draw(3, 2, 5)
    out, across = reference.heads(x_TNI, w_NOI), reference.heads_across(x_TNI, w_NOI.mT)
    for t in range(4):
        for n in range(3):
            expected = [float(sum(x_TNI[t, n] * w_NOI[n, o])) for o in range(2)]
            assert out[t, n].tolist() == pytest.approx(expected, abs=1e-5)
            assert across[t, n].tolist() == pytest.approx(expected, abs=1e-5)


ROUTING = Routing(  # token 0 to experts 0 and 2, token 1 to 2 and 3; nobody to 1
    tokens_A=torch.tensor([0, 0, 1, 1], dtype=torch.int32),
    bounds_E1=torch.tensor([0, 1, 1, 3, 4], dtype=torch.int32),
    places_TK=torch.tensor([[0, 1], [2, 3]], dtype=torch.int32),
    weights_TK=torch.tensor([[0.25, 0.75], [1.0, 2.0]]),
)


def test_experts_take_the_rows_of_their_places() -> None:
    x_TI, w_EOI = draw(2, 3), draw(4, 5, 3)
    out = reference.experts(x_TI, w_EOI, ROUTING)
    for place, (token, expert) in enumerate([(0, 0), (0, 2), (1, 2), (1, 3)]):
        torch.testing.assert_close(out[place], w_EOI[expert] @ x_TI[token])
    again = reference.experts(out, draw(4, 3, 5), ROUTING.in_place)
    torch.testing.assert_close(again[2], draw(4, 3, 5)[2] @ out[2])


def test_nobody_to_any_expert_is_no_row() -> None:
    nobody = Routing(
        tokens_A=torch.zeros(0, dtype=torch.int32),
        bounds_E1=torch.zeros(5, dtype=torch.int32),
        places_TK=torch.zeros(0, 2, dtype=torch.int32),
        weights_TK=torch.zeros(0, 2),
    )
    assert reference.experts(draw(0, 3), draw(4, 5, 3), nobody).shape == (0, 5)


def test_combine_weighs_the_results_of_each_token() -> None:
    y_AD = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    out = reference.combine(
        y_AD, ROUTING.weights_TK, ROUTING.places_TK, torch.tensor([[10.0], [20.0]])
    )
    assert out.tolist() == [[10 + 0.25 * 1 + 0.75 * 2], [20 + 3 + 2 * 4]]


def test_rms_norm() -> None:
    x, w, eps = [3.0, -4.0], [1.0, 10.0], 0.5
    rms = math.sqrt((9 + 16) / 2 + eps)
    out = reference.rms_norm(torch.tensor([x]), torch.tensor(w), eps)
    assert out[0].tolist() == pytest.approx([3 / rms, -40 / rms])


def test_rms_norm_rounds_before_the_weight_as_llama_does() -> None:
    x = torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.bfloat16)
    w = torch.tensor([1.3, 1.7, 0.3], dtype=torch.bfloat16)
    normed = (x.double() / x.double().square().mean().sqrt()).bfloat16()
    expected = [(n * m).item() for n, m in zip(normed[0], w, strict=True)]
    assert reference.rms_norm(x, w, 0.0)[0].tolist() == expected


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_turns_pairs_as_complex_numbers(interleaved: bool) -> None:
    """Position 5 of a table; the first two values of a head stay."""
    x, angles = draw(1, 2, 8), draw(9, 3)
    turns = torch.cat((angles.cos(), angles.sin()), 1)
    out = reference.rope(x, turns, torch.tensor([5]), interleaved)
    assert torch.equal(out[..., :2], x[..., :2])
    for head in range(2):
        for i in range(3):
            a, b = (2 + 2 * i, 3 + 2 * i) if interleaved else (2 + i, 5 + i)
            turned = complex(x[0, head, a], x[0, head, b]) * complex(
                math.cos(angles[5, i]), math.sin(angles[5, i])
            )
            assert out[0, head, a].item() == pytest.approx(turned.real, abs=1e-6)
            assert out[0, head, b].item() == pytest.approx(turned.imag, abs=1e-6)


def test_silu_mul_takes_the_gate_first() -> None:
    gate, up = [0.5, -2.0], [3.0, 4.0]
    expected = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]
    out = reference.silu_mul(torch.tensor([[*gate, *up]]))
    assert out[0].tolist() == pytest.approx(expected)


def test_a_sigmoid_has_the_same_bits_anywhere() -> None:
    """Unlike torch's own, which this would find out for one value in thirty."""
    x = draw(3000) * 10
    together = reference.sigmoid(x)
    assert torch.equal(together, torch.cat([reference.sigmoid(one) for one in torch.split(x, 1)]))
    torch.testing.assert_close(together, x.sigmoid())


def test_a_sigmoid_far_out_has_a_gradient() -> None:
    x = torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4], requires_grad=True)
    out = reference.sigmoid(x)
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert out.tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-30)
    assert slope.tolist() == pytest.approx([0, 0, 0.25, 0, 0], abs=1e-30)


def attend_by_hand(q: list[float], keys: list[list[float]], scale: float) -> list[float]:
    scores = [scale * sum(a * b for a, b in zip(q, key, strict=True)) for key in keys]
    weights = [math.exp(s - max(scores)) for s in scores]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("latent", [False, True])
def test_attention_by_hand(
    window: int | None, latent: bool, make_attention: Callable[..., Attention]
) -> None:
    """Two sequences, one of them after a prefix, in pages of two."""
    shape = {"num_heads": 4, "num_kv_heads": 2, "key_dim": 3, "value_dim": 2, "page_size": 2}
    q, kv, heads, spans = make_attention([(2, 5), (4, 4)], latent=latent, window=window, **shape)
    out, row = reference.attend(q, kv, heads, spans), 0
    for (queries, keys), pages in zip([(2, 5), (4, 4)], spans.table_BP.tolist(), strict=True):
        for position in range(keys - queries, keys):
            first = 0 if window is None else max(0, position - window + 1)
            seen = [kv[pages[p // 2] + p % 2] for p in range(first, position + 1)]
            for n in range(4):
                m = 0 if latent else n // 2
                k = [x[m * 3 : m * 3 + 3].tolist() for x in seen]
                v = [x[:2] if latent else x[6 + m * 2 : 8 + m * 2] for x in seen]
                weights = attend_by_hand(q[row, n].tolist(), k, 3**-0.5)
                expected = sum(w * x for w, x in zip(weights, v, strict=True))
                torch.testing.assert_close(out[row, n], expected)
            row += 1


def test_a_window_counts_the_token_itself() -> None:
    assert reference.visible(2, 4, 2).tolist() == [
        [False, True, True, False],
        [False, False, True, True],
    ]
    assert reference.visible(1, 3, None).tolist() == [[True, True, True]]


def test_spans_find_their_rows_through_the_pages() -> None:
    spans = Spans(
        spans_B3=torch.tensor([[0, 1, 3], [1, 2, 2]], dtype=torch.int32),
        table_BP=torch.tensor([[8, 2], [4, 0]]),
        page_size=2,
    )
    assert [(f, n, rows.tolist()) for f, n, rows in spans] == [(0, 1, [8, 9, 2]), (1, 2, [4, 5])]


def test_log_sum_exp_of_large_logits() -> None:
    logits = torch.tensor([[1000.0, 1000.0], [0.0, -torch.inf]])
    assert reference.log_sum_exp(logits).tolist() == pytest.approx([1000 + math.log(2), 0])


def test_the_formulas_are_what_the_other_kernels_are_held_to(formulas: Kernels) -> None:
    out = torch.empty(1, 1)
    formulas.linear(torch.tensor([[2.0]]), torch.tensor([[3.0]]), None, None, out)
    assert out.item() == 6
