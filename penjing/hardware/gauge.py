"""Short timed runs: how fast memory is read here, how fast matrices multiply here.

Every gauge takes a time limit and reports its best run, because whatever else the machine does
can only make a run slower.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np

Run = Callable[[], object]
Clock = Callable[[], float]

_SIDES = (256, 512, 1024, 2048, 4096, 8192)
_MIB = 2**20


def read_bandwidth(
    threads: int, available_bytes: float, limit_s: float, clock: Clock = perf_counter
) -> float:
    """Bytes a second that ``threads`` readers draw from memory together."""
    # Far above any last-level cache, and a quarter of what is free at most.
    size = min((512 + 64 * threads) * _MIB, int(available_bytes / 4))
    parts = np.array_split(np.ones(size // 4, dtype=np.float32), threads)
    # max reads every element, drops the interpreter lock and, unlike dot, starts no threads
    # of its own that would quarrel with ours.
    with ThreadPoolExecutor(threads) as readers:
        best = _best_seconds(lambda: list(readers.map(np.max, parts)), limit_s, clock)
    return sum(part.nbytes for part in parts) / best


def fp32_rate(limit_s: float, clock: Clock = perf_counter) -> float:
    """FLOP/s of numpy's single-precision matrix product on all usable cores."""

    def prepare(side: int) -> Run:
        square = np.ones((side, side), dtype=np.float32)
        return lambda: square @ square

    return matrix_rate(prepare, limit_s, clock)


def bf16_rate(torch: Any, limit_s: float, clock: Clock = perf_counter) -> float | None:
    """FLOP/s of ``torch.matmul`` in bfloat16 on the processor; ``None`` where it cannot."""

    def prepare(side: int) -> Run:
        square = torch.ones(side, side, dtype=torch.bfloat16)
        return lambda: torch.matmul(square, square)

    return _rate_or_none(prepare, limit_s, clock)


def int8_rate(torch: Any, limit_s: float, clock: Clock = perf_counter) -> float | None:
    """Operations a second of ``torch._int_mm`` on the processor; ``None`` where it cannot."""

    def prepare(side: int) -> Run:
        square = torch.ones(side, side, dtype=torch.int8)
        return lambda: torch._int_mm(square, square)

    return _rate_or_none(prepare, limit_s, clock)


def import_torch() -> Any | None:
    """torch where it is installed and loads, else ``None``; planning never needs it."""
    try:
        return import_module("torch")
    except (ImportError, OSError):  # OSError: a shared library of torch's is missing
        return None


def matrix_rate(prepare: Callable[[int], Run], limit_s: float, clock: Clock) -> float:
    """Best rate over growing square products of ``prepare(side)``, until the time is spent."""
    best = 0.0
    start = clock()
    for side in _SIDES:
        run = prepare(side)
        left = limit_s - (clock() - start)
        seconds = _best_seconds(run, left / 2, clock)
        best = max(best, 2 * side**3 / seconds)
        # The next side costs eight times as much, twice at least: once warm, once timed.
        if limit_s - (clock() - start) < 16 * seconds:
            break
    return best


def _best_seconds(run: Run, limit_s: float, clock: Clock, repeats: int = 8) -> float:
    run()  # warm: pages touched, threads started
    start = clock()
    best = float("inf")
    for _ in range(repeats):
        before = clock()
        run()
        now = clock()
        best = min(best, now - before)
        if now - start > limit_s:
            break
    return max(best, 1e-9)


def _rate_or_none(prepare: Callable[[int], Run], limit_s: float, clock: Clock) -> float | None:
    try:
        return matrix_rate(prepare, limit_s, clock)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError):
        return None  # this build of torch has no such kernel for this processor
