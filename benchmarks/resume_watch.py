"""Where a run is, for the process that means to kill it: what it does is written on a board.

The board is a small file in memory that both map; it outlives the kill, and so tells what was hit.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from penjing.train import journey, learner, loop
from penjing.train.collect import Collector
from penjing.train.journey import Journey
from penjing.train.learner import Learner
from penjing.train.optimizer import Optimizer
from penjing.train.record import Record
from penjing.train.texts import TraceBatches
from penjing.train.works import Workshop

ELSEWHERE = "between"  # making tasks and advantages, reading the recipe, all that is nowhere below
PLACES: Mapping[str, tuple[type | ModuleType, str]] = {
    "model": (Journey, "_begun"),
    "problems": (Workshop, "work"),
    "going on": (loop.Loop, "_resume"),
    "texts": (TraceBatches, "__call__"),
    "rollout": (Collector, "sample"),
    "scoring": (Learner, "score"),
    "forward": (Learner, "scores"),
    "backward": (learner, "_backward"),
    "optimizer": (Optimizer, "step"),
    "record": (Record, "append"),
    "snapshot": (loop, "save_snapshot"),
    "checkpoint": (journey, "save_checkpoint"),
    "evaluation": (Journey, "_evaluation"),
    "rejection": (Journey, "_reject"),
    "done": (journey, "_write"),
}
PHASES = (*PLACES, ELSEWHERE)
AIMS = (  # where something is half done, in memory or on the disk
    "going on",
    "rollout",
    "backward",
    "optimizer",
    "record",
    "snapshot",
    "checkpoint",
    "evaluation",
    "rejection",
    "done",
)
_STAGE, _PHASE, _SINCE, _FIRST = 0, 1, 2, 3
_NAME_BYTES = 64


class Board:
    """One process writes, another reads. Seconds and entries are of the innermost phase."""

    def __init__(self, path: Path) -> None:
        self.path, size = path, _FIRST + 2 * len(PHASES)
        if not path.exists():
            path.write_bytes(bytes(8 * size + _NAME_BYTES))
        self._values = np.memmap(path, dtype=np.float64, mode="r+", shape=(size,))
        self._name = np.memmap(path, dtype=np.uint8, mode="r+", offset=8 * size)

    def clear(self) -> None:
        self._values[:] = 0
        self._name[:] = 0
        self._values[_PHASE] = PHASES.index(ELSEWHERE)

    @property
    def stage(self) -> str:
        return bytes(self._name).rstrip(b"\0").decode() or "before the first"

    @stage.setter
    def stage(self, name: str) -> None:
        self._name[:] = np.frombuffer(name.encode().ljust(_NAME_BYTES, b"\0"), dtype=np.uint8)

    @property
    def phase(self) -> str:
        return PHASES[int(self._values[_PHASE])]

    @property
    def entries(self) -> dict[str, int]:
        return {name: int(self._values[_FIRST + i]) for i, name in enumerate(PHASES)}

    @property
    def seconds(self) -> dict[str, float]:
        first = _FIRST + len(PHASES)
        return {name: float(self._values[first + i]) for i, name in enumerate(PHASES)}

    def is_in(self, phase: str, entry: int) -> bool:
        """Whether it is in the phase, for the ``entry``-th time or a later one."""
        place = PHASES.index(phase)
        return bool(self._values[_PHASE] == place and self._values[_FIRST + place] >= entry)

    def enter(self, phase: int) -> int:
        """Returns the phase it was in, to go back to."""
        self._values[_FIRST + phase] += 1
        return self.go(phase)

    def go(self, phase: int) -> int:
        now, before = time.perf_counter(), int(self._values[_PHASE])
        if self._values[_SINCE]:
            self._values[_FIRST + len(PHASES) + before] += now - self._values[_SINCE]
        self._values[_SINCE], self._values[_PHASE] = now, phase
        return before


def watch(board: Board, stages: Sequence[str]) -> None:
    """From now on this process tells the board what it does."""
    assert all(len(name.encode()) <= _NAME_BYTES for name in stages)
    for phase, (owner, name) in enumerate(PLACES.values()):
        setattr(owner, name, _telling(getattr(owner, name), board, phase))
    run_stage = Journey._stage

    def told(self: Journey, stage: Any, *given: Any) -> Any:
        board.stage = stage.name
        return run_stage(self, stage, *given)

    Journey._stage = told  # type: ignore[method-assign, assignment]
    board.enter(PHASES.index(ELSEWHERE))


def _telling(function: Callable[..., Any], board: Board, phase: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        before = board.enter(phase)
        try:
            return function(*given, **named)
        finally:
            board.go(before)

    return call
