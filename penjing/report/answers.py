"""The same held-out problem before a stage and behind it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penjing.evaluate.sample import Sample
from penjing.report.run import Run, StageRun

Outcome = tuple[bool, bool]
"""Right before, right behind."""

GAINED, KEPT, LOST, NEITHER = (False, True), (True, True), (True, False), (False, False)
SHOWN: Mapping[Outcome, int] = {GAINED: 3, KEPT: 1, LOST: 1, NEITHER: 1}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """The first answer of each stage to one problem."""

    problem: str
    answers: tuple[Sample, ...]

    @property
    def outcome(self) -> Outcome:
        before, behind = self.answers[-2:]
        return before.grade.is_correct, behind.grade.is_correct


@dataclass(frozen=True, kw_only=True)
class Contest:
    """``stages`` are those that answer: last the one it is about, and before it its start.

    ``tally`` counts all problems that each of them answered, ``shown`` are a few of them.
    """

    stages: tuple[str, ...]
    tally: Mapping[Outcome, int] = field(hash=False)
    shown: tuple[Exchange, ...]


def contests(run: Run) -> list[Contest]:
    """Of the first reinforcement learning, and of what another model learnt from its data."""
    named = [_first_reinforced(run), _distilled(run)]
    found = [_contest(run, names) for names in named if names]
    return [contest for contest in found if contest is not None]


def _first_reinforced(run: Run) -> list[str]:
    for stage in run.stages:
        before = run.stage(stage.start)
        if stage.kind == "reinforce" and before is not None:
            return [before.name, stage.name]
    return []


def _distilled(run: Run) -> list[str]:
    """Teacher, student before, student behind."""
    for stage in run.stages:
        before, teacher = run.stage(stage.start), _teacher(run, stage)
        is_other = run.model_of(stage) != run.model_of(run.stages[0])
        if stage.kind in ("sft", "distil") and is_other and before is not None:
            return [*([teacher] if teacher else []), before.name, stage.name]
    return []


def _teacher(run: Run, stage: StageRun) -> str | None:
    """Who grades it, or whose samples it learns from."""
    if stage.kind == "distil":
        return str(stage.settings.get("teacher"))
    data = stage.settings.get("data")
    sources = [run.stage(str(name)) for name in data] if isinstance(data, list) else []
    return next((source.start for source in sources if source is not None), None)


def _contest(run: Run, names: Sequence[str]) -> Contest | None:
    stages = [run.stage(name) for name in names]
    answers = {s.name: _first_answers(s) for s in stages if s is not None and s.samples}
    if set(names[-2:]) - answers.keys():
        return None
    there = tuple(name for name in names if name in answers)
    problems = sorted(set.intersection(*(set(answers[name]) for name in there)))
    exchanges = [
        Exchange(problem=p, answers=tuple(answers[name][p] for name in there)) for p in problems
    ]
    if not exchanges:
        return None
    tally = Counter(exchange.outcome for exchange in exchanges)
    return Contest(stages=there, tally=tally, shown=tuple(_few(exchanges)))


def _first_answers(stage: StageRun) -> dict[str, Sample]:
    return {s.problem: s for s in sorted(stage.samples, key=lambda s: -s.index)}


def _few(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The first of each outcome in the order of their ids, so that nobody picked them."""
    return [
        exchange
        for outcome, count in SHOWN.items()
        for exchange in [e for e in exchanges if e.outcome == outcome][:count]
    ]
