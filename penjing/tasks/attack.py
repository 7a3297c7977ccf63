"""Attacks a task's judge with responses that must earn nothing, and with honest ones that must.

Gradings run in a thread that is not the main one, as they do in training: a judge that needs the
main thread shows it here. One that hangs is given up, with its thread; one that holds Python's lock
while it hangs cannot be given up, as nothing within its process can end it.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from penjing.errors import BadQuantity
from penjing.tasks.attack_responses import all_attacks
from penjing.tasks.attack_text import Attack, Write, entry_point, in_format, is_code
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.task import Task

SLOW_S = 2.0
GIVE_UP_S = 60.0
MAX_GIVEN_UP = 3
COLUMNS = ("attacks", "tried", "paid", "faults", "slow", "slowest, s")
CONTROL = "honest"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One response and what became of it; the response itself may have 10 MB, and is not kept."""

    group: str
    attack: str
    problem: str
    grade: Grade
    wall_s: float

    def __str__(self) -> str:
        return (
            f"{self.group}: {self.attack}, on {self.problem}: {self.grade.verdict}, "
            f"{self.wall_s:.2f} s: {self.grade.reason}"
        )


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """``trials`` are attacks, ``controls`` honest responses.

    ``num_skipped`` counts attacks that mean nothing for a problem, or would be right.
    """

    task: str
    num_problems: int
    num_skipped: int
    trials: Sequence[Trial]
    controls: Sequence[Trial]
    slow_s: float
    stopped: str = ""  # why not all was tried

    @property
    def false_rewards(self) -> Sequence[Trial]:
        return [trial for trial in self.trials if trial.grade.is_correct]

    @property
    def refused_controls(self) -> Sequence[Trial]:
        return [trial for trial in self.controls if not trial.grade.is_correct]

    @property
    def faults(self) -> Sequence[Trial]:
        return [trial for trial in self._all if trial.grade.is_fault]

    @property
    def slow(self) -> Sequence[Trial]:
        return [trial for trial in self._all if trial.wall_s > self.slow_s]

    @property
    def slowest(self) -> Trial:
        return max(self._all, key=lambda trial: trial.wall_s)

    @property
    def num_attacks(self) -> int:
        """Different ones that were tried on some problem."""
        return len({(trial.group, trial.attack) for trial in self.trials})

    @property
    def is_clean(self) -> bool:
        found = (self.false_rewards, self.refused_controls, self.faults, self.slow)
        return not any(found) and not self.stopped

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each group and one for all, under ``group`` and ``COLUMNS``."""
        groups = dict.fromkeys(trial.group for trial in self._all)
        rows = [_row(group, [t for t in self._all if t.group == group], self) for group in groups]
        return [*rows, _row("all attacks", self.trials, self)]

    def summary(self) -> Mapping[str, object]:
        """Plain values, as JSON holds them; what went wrong is listed whole."""
        return {
            "task": self.task,
            "problems": self.num_problems,
            "attacks": self.num_attacks,
            "tried": len(self.trials),
            "skipped": self.num_skipped,
            "controls": len(self.controls),
            "false_rewards": [_plain(trial) for trial in self.false_rewards],
            "refused_controls": [_plain(trial) for trial in self.refused_controls],
            "faults": [_plain(trial) for trial in self.faults],
            "slow": [_plain(trial) for trial in self.slow],
            "slow_s": self.slow_s,
            "slowest": _plain(self.slowest),
            "wall_s": sum(trial.wall_s for trial in self._all),
            "verdicts": dict(Counter(str(trial.grade.verdict) for trial in self.trials)),
            "stopped": self.stopped,
            "is_clean": self.is_clean,
        }

    @property
    def _all(self) -> Sequence[Trial]:
        return [*self.controls, *self.trials]


def attack(
    task: Task,
    problems: Sequence[Problem],
    *,
    attacks: Sequence[Attack] | None = None,
    honest: Write | None = None,
    slow_s: float = SLOW_S,
    give_up_s: float = GIVE_UP_S,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AttackReport:
    """``honest`` writes a response that is right, or None where it cannot: see ``honest_response``.

    ``progress`` hears how many problems of how many are done. Raises ``BadQuantity`` without
    problems.
    """
    if not problems:
        raise BadQuantity(f"there are no problems to attack {task.name} with; give at least 1")
    chosen = all_attacks() if attacks is None else attacks
    grader = _Grader(task, give_up_s)
    trials: list[Trial] = []
    controls: list[Trial] = []
    num_skipped = 0
    for place, problem in enumerate(problems):
        if grader.stopped():
            break
        right = (honest or honest_response)(problem, task)
        if right is not None:
            controls.append(grader.trial(CONTROL, "a right answer", problem, right))
        for one in chosen:
            if grader.stopped():
                break
            response = None if one.once and place else one.write(problem, task)
            if response is None:
                num_skipped += 1
            else:
                trials.append(grader.trial(one.group, one.name, problem, response))
        progress(place + 1, len(problems))
    grader.end()
    return AttackReport(
        task=task.name,
        num_problems=len(problems),
        num_skipped=num_skipped,
        trials=trials,
        controls=controls,
        slow_s=slow_s,
        stopped=grader.stopped(),
    )


def honest_response(problem: Problem, task: Task) -> str | None:
    """The reference where the answer goes, behind a thought; None without a reference."""
    reference = problem.reference
    if not reference.strip():
        return None
    if is_code(task) and entry_point(problem):
        reference = f"{problem.prompt}{reference}"
    return f"<think>\nI have worked it out.\n</think>\n{in_format(reference, task)}"


class _Grader:
    """Grades in a thread of its own, which is replaced where it does not come back."""

    def __init__(self, task: Task, give_up_s: float) -> None:
        self._task = task
        self._give_up_s = give_up_s
        self._given_up = 0
        self._begin()

    def stopped(self) -> str:
        """Why it takes no more; empty: it goes on."""
        if self._given_up < MAX_GIVEN_UP:
            return ""
        return f"{self._given_up} gradings did not end within {self._give_up_s:g} s"

    def trial(self, group: str, name: str, problem: Problem, response: str) -> Trial:
        began = time.perf_counter()
        grade = self._grade(problem, response)
        wall_s = time.perf_counter() - began
        return Trial(group=group, attack=name, problem=problem.id, grade=grade, wall_s=wall_s)

    def end(self) -> None:
        self._asked.put(None)

    def _begin(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Problem, str] | None] = queue.SimpleQueue()
        self._graded: queue.SimpleQueue[Grade] = queue.SimpleQueue()
        arguments = (self._task, self._asked, self._graded)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()

    def _grade(self, problem: Problem, response: str) -> Grade:
        self._asked.put((problem, response))
        try:
            return self._graded.get(timeout=self._give_up_s)
        except queue.Empty:
            self.end()  # whenever it comes back
            self._given_up += 1
            self._begin()
            return _fault(f"no grade within {self._give_up_s:g} s")


def _serve(
    task: Task,
    asked: "queue.SimpleQueue[tuple[Problem, str] | None]",
    graded: "queue.SimpleQueue[Grade]",
) -> None:
    """Until None is asked. A judge may even call ``exit``, which is no ``Exception``."""
    while (found := asked.get()) is not None:
        try:
            graded.put(task.grade(*found))
        except BaseException as error:
            graded.put(_fault(f"the judge ended in {type(error).__name__}"))


def _fault(reason: str) -> Grade:
    return Grade(verdict=Verdict.UNGRADABLE, reason=reason, is_fault=True)


def _row(name: str, trials: Sequence[Trial], report: AttackReport) -> tuple[str, ...]:
    counts = (
        len({trial.attack for trial in trials}) if name != "all attacks" else report.num_attacks,
        len(trials),
        sum(trial.grade.is_correct for trial in trials),
        sum(trial.grade.is_fault for trial in trials),
        sum(trial.wall_s > report.slow_s for trial in trials),
    )
    slowest = max((trial.wall_s for trial in trials), default=0.0)
    return (name, *map(str, counts), f"{slowest:.2f}")


def _plain(trial: Trial) -> Mapping[str, object]:
    return {
        "group": trial.group,
        "attack": trial.attack,
        "problem": trial.problem,
        "verdict": str(trial.grade.verdict),
        "reason": trial.grade.reason,
        "is_fault": trial.grade.is_fault,
        "wall_s": trial.wall_s,
    }
