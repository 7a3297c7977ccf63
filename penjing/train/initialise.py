"""Weights to begin with, the same for a seed on every machine."""

import torch

from penjing.models.decoder import Decoder

STD = 0.02  # of DeepSeek-V3 (its report's 4.2 has 0.006 for 671 B), Qwen2 and Llama: their configs


@torch.no_grad()
def initialise(decoder: Decoder, seed: int, std: float = STD) -> None:
    """Normal around 0; norms are 1, biases 0. Each parameter has a generator of its own."""
    for place, (name, p) in enumerate(sorted(decoder.named_parameters())):
        kind = name.rpartition(".")[2]
        if kind == "norm" or kind.endswith("_norm"):
            p.fill_(1.0)
        elif "bias" in kind:
            p.zero_()
        else:
            drawn = torch.Generator().manual_seed(1_000_003 * seed + place)
            p.copy_(torch.randn(p.shape, generator=drawn) * std)
