import re
from pathlib import Path

import pytest
import torch

from penjing.models.parameter import empty, on_huge_pages

SMAPS = Path("/proc/self/smaps")
HUGE = Path("/sys/kernel/mm/transparent_hugepage")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_parameter_has_shape_and_dtype_and_wants_a_gradient(dtype: torch.dtype) -> None:
    made = empty(dtype, torch.device("cpu"), 3, 5)
    assert isinstance(made, torch.nn.Parameter)
    assert (made.shape, made.dtype, made.requires_grad) == ((3, 5), dtype, True)


def test_on_no_device_it_takes_no_memory() -> None:
    """A trillion values, as a check of names and shapes asks for."""
    made = empty(torch.bfloat16, torch.device("meta"), 10**6, 10**6)
    assert made.is_meta
    assert made.numel() == 10**12


def test_huge_pages_are_a_hint_that_changes_no_value() -> None:
    tensor = torch.arange(3 * 2**20, dtype=torch.int32)
    before = tensor.clone()
    assert on_huge_pages(tensor) is tensor
    assert torch.equal(tensor, before)
    assert on_huge_pages(torch.empty(0)).numel() == 0


@pytest.mark.skipif(not (HUGE.exists() and SMAPS.exists()), reason="no huge pages, or not told")
def test_large_parameters_ask_for_huge_pages() -> None:
    made = empty(torch.float32, torch.device("cpu"), 16 * 2**20)
    at = made.data_ptr() + made.nbytes // 2
    flags = ""
    inside = False
    for line in SMAPS.read_text().splitlines():
        if (bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)) is not None:
            inside = int(bounds[1], 16) <= at < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            flags = line
    assert " hg" in flags  # MADV_HUGEPAGE
