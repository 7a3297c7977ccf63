"""Steps, one behind the other, with a record of each and snapshots to go on from."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from penjing.train.record import Facts, Record
from penjing.train.snapshot import Snapshot, latest_snapshot, save_snapshot

Show = Callable[[Facts, int], None]
"""Takes the facts of a step, and how many steps there are."""


class Stepped(Protocol):
    """What can be run: ``fit`` and ``reinforce``."""

    num_steps: int

    def step(self, number: int) -> Facts:
        """Does a step; what it says must hang on the state before alone."""

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """All that the next step hangs on."""

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """What ``state`` gave."""


class Interrupted(Exception):
    """Stopped on request, after a step; a snapshot has been taken."""


@dataclass
class Loop:
    """``folder`` is the stage's. ``is_stopping`` is asked after each step."""

    folder: Path
    snapshot_every: int
    show: Show = lambda facts, num_steps: None
    tell: Callable[[str], None] = lambda text: None
    is_stopping: Callable[[], bool] = lambda: False

    def run(self, work: Stepped) -> None:
        """From the last snapshot that is whole, or from the beginning; raises ``Interrupted``."""
        first, record = self._resume(work)
        for number in range(first, work.num_steps):
            began = time.perf_counter()
            facts = {"step": number, **work.step(number)}
            times = {"wall_s": time.perf_counter() - began, "peak_bytes": peak_bytes()}
            record.append(facts, times)
            self.show(facts, work.num_steps)
            is_last = number + 1 == work.num_steps
            if is_last or (number + 1) % self.snapshot_every == 0 or self.is_stopping():
                self._save(work, record, number + 1)
            if self.is_stopping() and not is_last:
                raise Interrupted

    def _resume(self, work: Stepped) -> tuple[int, Record]:
        found, complaints = latest_snapshot(self.folder / "snapshots")
        for complaint in complaints:
            self.tell(f"{complaint}; going on from the one before")
        if found is None:
            return 0, Record(self.folder)
        work.restore(found.tensors, found.facts["work"])
        return found.step, Record(self.folder, found.facts["record_bytes"])

    def _save(self, work: Stepped, record: Record, step: int) -> None:
        record.sync()
        tensors, facts = work.state()
        facts = {"work": dict(facts), "record_bytes": record.size_bytes}
        save_snapshot(self.folder / "snapshots", Snapshot(step=step, tensors=tensors, facts=facts))


def peak_bytes() -> int:
    """Of this process so far, resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
