"""Grouped-query and latent attention, as modules."""

from typing import assert_never

import torch
from torch import Tensor, nn

from penjing.models.config import Attention, GroupedQuery, Latent, ModelConfig
from penjing.models.kernels.reference import Heads
from penjing.models.parameter import empty
from penjing.models.rope import softmax_correction
from penjing.models.run import Run

LATENT_EPS = 1e-6  # of the norms inside latent attention, whatever the config says of the others


def make_attention(
    attention: Attention, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> "GroupedQueryAttention | LatentAttention":
    match attention:
        case GroupedQuery():
            return GroupedQueryAttention(attention, config, dtype, device)
        case Latent():
            return LatentAttention(attention, config, dtype, device)
        case _:
            assert_never(attention)


class GroupedQueryAttention(nn.Module):
    """Queries, keys and values of one product; RMSNorm of each head where Qwen3 has it."""

    def __init__(
        self, shape: GroupedQuery, config: ModelConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        n, m, h = shape.num_heads, shape.num_kv_heads, shape.head_dim
        self._sizes, self._eps = [n, m, m], config.norm_eps
        self.heads = Heads(
            num_heads=n,
            num_kv_heads=m,
            key_dim=h,
            value_dim=h,
            value_at=m * h,
            scale=h**-0.5,
            window=shape.window,
        )
        rows = (n + 2 * m) * h
        self.qkv = empty(dtype, device, rows, config.width)
        self.qkv_bias = empty(dtype, device, rows) if shape.qkv_bias else None
        self.q_norm = empty(dtype, device, h) if shape.qk_norm else None
        self.k_norm = empty(dtype, device, h) if shape.qk_norm else None
        self.out = empty(dtype, device, config.width, n * h)
        self.out_bias = empty(dtype, device, config.width) if shape.out_bias else None

    def forward(self, x_TD: Tensor, residual_TD: Tensor, run: Run, layer: int) -> Tensor:
        """residual + attention of x. [T, D]"""
        a = run.arithmetic
        qkv = a.linear("qkv", x_TD, self.qkv, self.qkv_bias)
        q_TNH, k_TMH, v_TMH = qkv.unflatten(1, (-1, self.heads.key_dim)).split(self._sizes, 1)
        if self.q_norm is not None and self.k_norm is not None:
            q_TNH = a.norm_heads(q_TNH, self.q_norm, self._eps)
            k_TMH = a.norm_heads(k_TMH, self.k_norm, self._eps)
        positions_T = run.packed.positions_T
        q_TNH = a.rope(q_TNH, run.turns_PR, positions_T, interleaved=False)
        k_TMH = a.rope(k_TMH, run.turns_PR, positions_T, interleaved=False)
        kv_TW = a.join("kv", k_TMH.flatten(1), v_TMH.flatten(1))
        out_TNH = run.attend("attended", q_TNH, kv_TW, self.heads, layer)
        return a.linear("hidden", out_TNH.flatten(1), self.out, self.out_bias, residual_TD)


class LatentAttention(nn.Module):
    """Multi-head latent attention over its latents, DeepSeek-V2 report, section 2.1.

    Absorbed: the up-projection of keys is applied to queries, that of values to the output, so a
    token leaves C + R values in the cache and one definition serves prefill, decode and training.
    """

    def __init__(
        self, shape: Latent, config: ModelConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        n, c, r = shape.num_heads, shape.kv_rank, shape.rope_dim
        self._nope, self._value = shape.nope_dim, shape.value_dim
        query = shape.nope_dim + r
        scale = query**-0.5 * softmax_correction(config.rope)
        self.heads = Heads(
            num_heads=n, num_kv_heads=1, key_dim=c + r, value_dim=c, value_at=0, scale=scale
        )
        self.expanded_heads = Heads(
            num_heads=n,
            num_kv_heads=n,
            key_dim=query,
            value_dim=shape.value_dim,
            value_at=n * query,
            scale=scale,
        )
        queries = n * query if shape.q_rank is None else shape.q_rank
        self._sizes = [queries, c, r]
        rows = queries + c + r
        self.down = empty(dtype, device, rows, config.width)
        self.down_bias = empty(dtype, device, rows) if shape.bias else None
        has_rank = shape.q_rank is not None
        self.q_norm = empty(dtype, device, queries) if has_rank else None
        self.q_up = empty(dtype, device, n * query, queries) if has_rank else None
        self.kv_norm = empty(dtype, device, c)
        self.kv_up = empty(dtype, device, n * (shape.nope_dim + shape.value_dim), c)
        self.out = empty(dtype, device, config.width, n * shape.value_dim)
        self.out_bias = empty(dtype, device, config.width) if shape.bias else None

    def forward(self, x_TD: Tensor, residual_TD: Tensor, run: Run, layer: int) -> Tensor:
        """residual + attention of x. [T, D]"""
        a, positions_T = run.arithmetic, run.packed.positions_T
        down = a.linear("down", x_TD, self.down, self.down_bias)
        q, latent_TC, k_TR = down.split(self._sizes, 1)
        if self.q_norm is not None and self.q_up is not None:
            q = a.linear("q", a.rms_norm("q_latent", q, self.q_norm, LATENT_EPS), self.q_up)
        q_TNH = q.unflatten(1, (self.heads.num_heads, -1))
        q_TNH = a.rope(q_TNH, run.turns_PR, positions_T, interleaved=True)
        k_TR = a.rope(k_TR[:, None], run.turns_PR, positions_T, interleaved=True)[:, 0]
        latent_TC = a.rms_norm("latent", latent_TC, self.kv_norm, LATENT_EPS)
        kv_TW = a.join("kv", latent_TC, k_TR)
        attend = self._expanded if run.expand else self._absorbed
        out_TNV = attend(q_TNH, kv_TW, run, layer)
        return a.linear("hidden", out_TNV.flatten(1), self.out, self.out_bias, residual_TD)

    def _absorbed(self, q_TNH: Tensor, kv_TW: Tensor, run: Run, layer: int) -> Tensor:
        up_NXC = self.kv_up.unflatten(0, (self.heads.num_heads, -1))
        q_TNW = run.arithmetic.absorb("q_absorbed", q_TNH, up_NXC[:, : self._nope])
        latents_TNC = run.attend("latents", q_TNW, kv_TW, self.heads, layer)
        return run.arithmetic.heads("attended", latents_TNC, up_NXC[:, self._nope :])

    def _expanded(self, q_TNH: Tensor, kv_TW: Tensor, run: Run, layer: int) -> Tensor:
        """Keys and values of all heads, for this pass only; the cache still gets latents."""
        if run.packed.slots_T is not None:
            run.caches[layer].index_copy_(0, run.packed.slots_T, kv_TW)
        latent_TC, k_TR = kv_TW.split(self._sizes[1:], 1)
        a, n = run.arithmetic, self.heads.num_heads
        up_TNX = a.linear("kv_up", latent_TC, self.kv_up).unflatten(1, (n, -1))
        nope_TNP, v_TNV = up_TNX.split([self._nope, self._value], 2)
        k_TNH = a.join("keys", nope_TNP, k_TR[:, None].expand(-1, n, -1))
        kv_TX = a.join("expanded", k_TNH.flatten(1), v_TNV.flatten(1))
        return a.attend("attended", q_TNH, kv_TX, self.expanded_heads, run.own_spans)
