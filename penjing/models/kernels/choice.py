"""Which arithmetic runs: the one place that looks at the device and at what is compiled."""

from enum import StrEnum

import torch

from penjing.models.kernels.fast import FastKernels
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.kernels.native import load_native
from penjing.models.kernels.native_kernels import NativeKernels

Kernels = NativeKernels | InvariantKernels | FastKernels


class Numerics(StrEnum):
    """What a result may depend on."""

    EXACT = "exact"  # on its own request alone, and on the same bits in training
    FAST = "fast"  # on the batch too, within rounding: torch's own kernels, latents expanded


def choose_kernels(device: torch.device, numerics: Numerics = Numerics.EXACT) -> Kernels:
    """Compiled kernels on a CPU that has a compiler, else torch held to the same rule."""
    if numerics is Numerics.FAST:
        return FastKernels()
    native = load_native() if device.type == "cpu" else None
    return NativeKernels(native) if native else InvariantKernels()
