"""Rotary embeddings: how fast each pair of values turns, and by how much at each position."""

import math
from typing import assert_never

import torch
from torch import Tensor

from penjing.models.config import LinearScaling, Llama3Scaling, Rope, Yarn


def turns(rope: Rope, num_positions: int) -> Tensor:
    """Cosines, then sines, of every pair at every position, fp32. [num_positions, R]

    The angles are products in fp32, as in the reference implementations: at position 100,000 they
    are off by 1e-3, and models were trained with that.
    """
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] * frequencies(rope)
    return torch.cat((angles.cos(), angles.sin()), -1) * magnitude(rope)


def frequencies(rope: Rope) -> Tensor:
    """Radians a position for each pair. [R / 2]"""
    plain = 1.0 / rope.theta ** (torch.arange(0, rope.dim, 2, dtype=torch.float32) / rope.dim)
    match rope.scaling:
        case None:
            return plain
        case LinearScaling(factor=factor):
            return plain / factor
        case Llama3Scaling() as scaling:
            return _llama3(plain, scaling)
        case Yarn() as yarn:
            return _yarn(plain, yarn, rope)
        case _:
            assert_never(rope.scaling)


def magnitude(rope: Rope) -> float:
    """What YaRN multiplies rotated queries and keys by; 1 without it. arXiv 2309.00071, eq. 22."""
    match rope.scaling:
        case Yarn(attention_factor=float(given)):
            return given
        case Yarn(mscale=mscale, mscale_all_dim=all_dim, factor=factor) if mscale and all_dim:
            return yarn_mscale(factor, mscale) / yarn_mscale(factor, all_dim)
        case Yarn(factor=factor):
            return yarn_mscale(factor, 1.0)
        case _:
            return 1.0


def softmax_correction(rope: Rope | None) -> float:
    """What latent attention multiplies its scale by under YaRN: 1.874 for DeepSeek-R1."""
    match rope:
        case Rope(scaling=Yarn(mscale_all_dim=float(all_dim), factor=factor)) if all_dim:
            return yarn_mscale(factor, all_dim) ** 2
        case _:
            return 1.0


def yarn_mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def _llama3(plain: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Slow pairs are stretched by the factor, fast ones kept, those between blended."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    wavelength = 2 * math.pi / plain
    blend = (scaling.original_positions / wavelength - low) / (high - low)
    blended = (1 - blend) * plain / scaling.factor + blend * plain
    slow = wavelength > scaling.original_positions / low
    fast = wavelength < scaling.original_positions / high
    return torch.where(slow, plain / scaling.factor, torch.where(fast, plain, blended))


def _yarn(plain: Tensor, yarn: Yarn, rope: Rope) -> Tensor:
    """NTK by parts: arXiv 2309.00071, section 3.2."""
    low, high = (_pair_turning(n, yarn, rope) for n in (yarn.beta_fast, yarn.beta_slow))
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    if low == high:
        high += 0.001  # a ramp of no length would divide by zero
    pairs = torch.arange(rope.dim // 2, dtype=torch.float32)
    kept = 1 - ((pairs - low) / (high - low)).clamp(0, 1)
    return plain / yarn.factor * (1 - kept) + plain * kept


def _pair_turning(rotations: float, yarn: Yarn, rope: Rope) -> float:
    """The pair that turns that often over the original context."""
    per_turn = yarn.original_positions / (rotations * 2 * math.pi)
    return rope.dim * math.log(per_turn) / (2 * math.log(rope.theta))
