"""Limits that make sense, and what the kernel is told of them."""

import math
import resource
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.tasks.sandbox.limits import LEAST_MEMORY_BYTES, Limits

NAMES = [entry.name for entry in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_nonsense_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadQuantity, match=f"{name} is {value}") as caught:
        Limits(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("memory_bytes", LEAST_MEMORY_BYTES - 1), ("open_files", 7)]
)
def test_too_little_to_start_python_is_refused(name: str, value: Any) -> None:
    with pytest.raises(BadQuantity, match="at least"):
        Limits(**{name: value})
    Limits(**{name: value + 1})


@given(
    cpu_s=st.floats(0.01, 1e6),
    memory=st.integers(LEAST_MEMORY_BYTES, 1 << 40),
    files=st.integers(1, 1 << 40),
)
def test_the_kernel_is_told_no_less_than_was_allowed(cpu_s: float, memory: int, files: int) -> None:
    limits = Limits(cpu_s=cpu_s, memory_bytes=memory, file_bytes=files)
    told = {which: (soft, hard) for which, soft, hard in limits.rlimits()}
    assert all(soft <= hard for soft, hard in told.values())
    soft, hard = told[resource.RLIMIT_CPU]
    assert cpu_s <= soft < cpu_s + 1
    assert hard == soft + 1
    assert told[resource.RLIMIT_AS] == (memory, memory)
    assert told[resource.RLIMIT_FSIZE] == (files, files)
    assert told[resource.RLIMIT_CORE] == (0, 0)


def test_one_process_more_is_allowed_for_the_sandbox_itself() -> None:
    told = {which: soft for which, soft, _ in Limits(processes=5).rlimits()}
    assert told[resource.RLIMIT_NPROC] == 6
