"""Steps, one behind the other, with a record of each and snapshots to go on from."""

import ctypes
import gc
import json
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from penjing.errors import RequestError
from penjing.train.board import Board
from penjing.train.record import Facts, Record, read_record
from penjing.train.snapshot import Snapshot, latest_snapshot, save_snapshot, tidy
from penjing.train.watch import Action, Alarm, Cause, Watch

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_LEAST_SHARE = 1 / 8
Show = Callable[[Facts, int], None]
"""Takes the facts of a step, and how many steps there are."""


class Stepped(Protocol):
    """What can be run: ``fit`` and ``reinforce``."""

    num_steps: int
    share: float  # of the learning rate: less than all after a step back

    def step(self, number: int) -> Facts:
        """Does a step; what it says must hang on the state before alone."""

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """All that the next step hangs on."""

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """What ``state`` gave."""


class Interrupted(Exception):
    """Stopped on request, after a step; a snapshot has been taken."""


class Alarmed(RequestError):
    """Stopped by a watchdog; what there was before is on disk."""


@dataclass
class Loop:
    """``folder`` is the stage's. ``is_stopping`` and ``is_enough`` are asked after each step.

    ``watch`` has the actions for what goes wrong, by cause. ``is_enough`` takes the steps done.
    """

    folder: Path
    snapshot_every: int
    show: Show = lambda facts, num_steps: None
    tell: Callable[[str], None] = lambda text: None
    is_stopping: Callable[[], bool] = lambda: False
    prepare: Callable[[], None] = lambda: None  # before the first step: the worst case, say
    watch: Mapping[Cause, Action] = field(default_factory=dict)
    is_enough: Callable[[int], bool] = lambda step: False
    boards: Callable[[int], Sequence[Board]] = lambda first: ()

    def run(self, work: Stepped) -> None:
        """From the last snapshot that is whole, or from the beginning.

        Raises ``Interrupted`` and ``Alarmed``.
        """
        number, record = self._resume(work)
        boards = list(self.boards(number))
        try:
            self._go(work, number, record, boards)
        finally:
            _close(boards)

    def _go(self, work: Stepped, number: int, record: Record, boards: list[Board]) -> None:
        watch = self._watch()
        if number < work.num_steps:
            self.prepare()
        while number < work.num_steps:
            facts, times = self._step(work, number)
            record.append(facts, times)
            for board in boards:
                board.add(facts, times)
            self.show(facts, work.num_steps)
            alarms = watch.look(facts)
            self._tell(alarms)
            if any(alarm.action is Action.ROLL_BACK for alarm in alarms):
                number, record = self._roll_back(work, alarms)
                watch = self._watch()
                _close(boards)  # what they show from ``number`` on is shown no more
                boards[:] = self.boards(number)
                continue
            self._stop_for(alarms)
            number += 1
            is_enough = self.is_enough(number)
            is_last = is_enough or number == work.num_steps
            if is_last or number % self.snapshot_every == 0 or self.is_stopping():
                self._save(work, record, number, is_enough=is_enough)
            if is_enough:
                return
            if self.is_stopping() and not is_last:
                raise Interrupted

    def _watch(self) -> Watch:
        """As it would be, had the run never stopped."""
        return Watch(self.watch, history=read_record(self.folder))

    def _step(self, work: Stepped, number: int) -> tuple[Facts, Facts]:
        began = time.perf_counter()
        facts = {"step": number, **work.step(number)}
        return facts, {"wall_s": time.perf_counter() - began, "peak_bytes": peak_bytes()}

    @property
    def _alarms(self) -> Path:
        return self.folder / "alarms.jsonl"

    def _tell(self, alarms: Sequence[Alarm]) -> None:
        """On the terminal, and for the report."""
        for alarm in alarms:
            self.tell(f"step {alarm.step}: {alarm.text} ({alarm.action})")
            with self._alarms.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(vars(alarm))}\n")

    def _stop_for(self, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            if alarm.action is Action.STOP:
                raise Alarmed(
                    f"{self.folder.name} was stopped at step {alarm.step}: {alarm.text}; snapshots "
                    "of before are kept, and another action can be named under watch"
                )

    def _roll_back(self, work: Stepped, alarms: Sequence[Alarm]) -> tuple[int, Record]:
        """To the last snapshot, from where half the rate is learnt with; at most three times."""
        (alarm, *_) = (one for one in alarms if one.action is Action.ROLL_BACK)
        found, _ = latest_snapshot(self.folder / "snapshots")
        if found is None or work.share <= _LEAST_SHARE:
            raise Alarmed(
                f"{self.folder.name} cannot go back further at step {alarm.step}: {alarm.text}; "
                "take a smaller learning rate"
            )
        share = work.share / 2
        work.restore(found.tensors, found.facts["work"])
        work.share = share
        record = Record(self.folder, found.facts["record_bytes"])
        self._save(work, record, found.step)
        self.tell(f"back to step {found.step}, with {share:g} of the learning rate")
        return found.step, record

    def _resume(self, work: Stepped) -> tuple[int, Record]:
        found, complaints = latest_snapshot(self.folder / "snapshots")
        for complaint in complaints:
            self.tell(f"{complaint}; going on from the one before")
        if self._alarms.exists():  # those of steps that are done again are dropped
            os.truncate(self._alarms, 0 if found is None else found.facts["alarms_bytes"])
        if found is None:
            return 0, Record(self.folder)
        tidy(self.folder / "snapshots", found.step)
        work.restore(found.tensors, found.facts["work"])
        work.share = found.facts["share"]
        record = Record(self.folder, found.facts["record_bytes"])
        return work.num_steps if found.facts["is_enough"] else found.step, record

    def _save(self, work: Stepped, record: Record, step: int, *, is_enough: bool = False) -> None:
        record.sync()
        tensors, facts = work.state()
        facts = {
            "work": dict(facts),
            "record_bytes": record.size_bytes,
            "alarms_bytes": self._alarms.stat().st_size if self._alarms.exists() else 0,
            "share": work.share,
            "is_enough": is_enough,
        }
        save_snapshot(self.folder / "snapshots", Snapshot(step=step, tensors=tensors, facts=facts))


def _close(boards: Sequence[Board]) -> None:
    for board in boards:
        board.close()


def peak_bytes() -> int:
    """Of this process, resident, since ``forget_peak``."""
    try:
        status = _STATUS.read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Gives free memory back and begins to watch anew, where the system can."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        _CLEAR_REFS.write_text("5", encoding="ascii")  # proc(5): resets the peak
