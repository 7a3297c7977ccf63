from collections.abc import Callable
from types import SimpleNamespace

import pytest

from penjing.hardware import gauge


class Clock:
    """Time passes only when a run says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_best_run_counts() -> None:
    clock = Clock()
    costs = iter([9.0, 4.0, 2.0, 3.0, 50.0])

    def run() -> None:
        clock.now += next(costs)

    assert gauge._best_seconds(run, 5.0, clock) == 2.0  # the 9.0 is the warm run


def test_sides_grow_until_the_time_is_spent() -> None:
    clock = Clock()
    sides: list[int] = []

    def prepare(side: int) -> Callable[[], object]:
        sides.append(side)

        def run() -> None:
            clock.now += 2 * side**3 / 1e9

        return run

    assert gauge.matrix_rate(prepare, 4.0, clock) == pytest.approx(1e9)
    assert sides == [256, 512]
    assert clock.now < 4.0


def test_a_kernel_that_is_not_there_is_absent_not_zero() -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("not implemented for 'BFloat16'")

    torch = SimpleNamespace(ones=broken, bfloat16=None, int8=None)
    assert gauge.bf16_rate(torch, 0.1) is None
    assert gauge.int8_rate(torch, 0.1) is None


def test_this_machine_reads_and_multiplies() -> None:
    assert 1e8 < gauge.read_bandwidth(1, 64 * 2**20, 0.02) < 1e13
    assert 1e7 < gauge.fp32_rate(0.02) < 1e16
