"""Parameters as they are before a checkpoint or an initialiser fills them."""

import torch
from torch import nn


def empty(dtype: torch.dtype, device: torch.device, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype, device=device))
