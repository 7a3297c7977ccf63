import pytest
import torch

from penjing.models.kernels import choice
from penjing.models.kernels.choice import Numerics, choose_kernels
from penjing.models.kernels.fast import FastKernels
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.kernels.native_kernels import NativeKernels

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_gets_the_compiled_kernels_and_a_gpu_torch(native: NativeKernels) -> None:
    found = choose_kernels(CPU)
    assert isinstance(found, NativeKernels)
    assert found.digest == native.digest
    assert type(choose_kernels(GPU)) is InvariantKernels


def test_without_compiled_kernels_torch_is_held_to_the_same_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "load_native", lambda: None)
    assert type(choose_kernels(CPU)) is InvariantKernels
    assert type(choose_kernels(CPU, Numerics.EXACT)) is InvariantKernels


@pytest.mark.parametrize("device", [CPU, GPU])
def test_fast_is_asked_for(device: torch.device) -> None:
    assert type(choose_kernels(device, Numerics.FAST)) is FastKernels


def test_no_two_kinds_have_the_same_digest(native: NativeKernels) -> None:
    digests = {k.digest for k in (native, InvariantKernels(), FastKernels())}
    assert len(digests) == 3
