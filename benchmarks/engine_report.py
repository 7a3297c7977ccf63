"""Rounds of two engines as figures: what goes into the JSON file, and rows of its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from engine_peer import Answer, Engine
from engine_requests import Case
from result import table

from penjing.cli.answer import Json
from penjing.hardware.probe import Machine
from penjing.units import format_bytes, format_si

HEADERS = (
    *("model", "requests", "engine", "dtype", "tok/s", "CPU s", "ours, tok/s", "ours, CPU s"),
    *("ours / theirs", "lowest", "highest"),
)
LIKE = 8  # tokens at the head of an answer that are compared


@dataclass(frozen=True, kw_only=True)
class Round:
    ours: Answer
    theirs: Answer

    @property
    def ratio(self) -> float:
        """Of rates; above one where ours is faster."""
        return self.ours.tokens_per_s / self.theirs.tokens_per_s

    @property
    def alike(self) -> float:
        """Share of answers that begin alike: the same model, but for rounding."""
        pairs = list(zip(self.ours.ids, self.theirs.ids, strict=True))
        return sum(a[:LIKE] == b[:LIKE] for a, b in pairs) / len(pairs)


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Ours and another engine on one kind of requests; without rounds it was ``not_run``."""

    model: str
    case: Case
    engine: Engine
    version: str
    rounds: Sequence[Round] = field(default_factory=tuple)
    not_run: str | None = None

    def document(self) -> dict[str, Json]:
        named: dict[str, Json] = {
            "model": self.model,
            "requests": self.case.name,
            "engine": self.engine.name,
            "version": self.version,
            "dtype": self.engine.dtype,
        }
        if not self.rounds:
            return {**named, "not_run": self.not_run}
        ratios = [r.ratio for r in self.rounds]
        return {
            **named,
            "theirs": rates([r.theirs for r in self.rounds]),
            "ours": rates([r.ours for r in self.rounds]),
            "ratio": {"min": min(ratios), "median": median(ratios), "max": max(ratios)},
            "ratios": ratios,
            "answers_that_begin_alike": median(r.alike for r in self.rounds),
        }

    def row(self) -> list[str]:
        head = [self.model, self.case.name, self.version or self.engine.name, self.engine.dtype]
        if not self.rounds:
            return [*head, f"not run: {self.not_run}", *[""] * (len(HEADERS) - len(head) - 1)]
        ours, theirs = [r.ours for r in self.rounds], [r.theirs for r in self.rounds]
        ratios = [r.ratio for r in self.rounds]
        return [
            *head,
            *(f"{value:,.1f}" for side in (theirs, ours) for value in middle(side)),
            *(f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))),
        ]


def middle(answers: Sequence[Answer]) -> tuple[float, float]:
    return median(a.tokens_per_s for a in answers), median(a.cpu_s for a in answers)


def rates(answers: Sequence[Answer]) -> dict[str, Json]:
    tokens_per_s, cpu_s = middle(answers)
    return {
        "tokens_per_s": tokens_per_s,
        "cpu_s": cpu_s,
        "rounds": [{"tokens": a.tokens, "seconds": a.seconds, "cpu_s": a.cpu_s} for a in answers],
    }


def machine_document(machine: Machine) -> dict[str, Json]:
    return {
        "read_bytes_per_s": machine.read_bytes_per_s,
        "fp32_flops_per_s": machine.fp32_flops_per_s,
        "bf16_flops_per_s": machine.bf16_flops_per_s,
    }


def faster(first: Machine, second: Machine) -> Machine:
    """What the machine can do is the better of what it did before and after."""
    return max(first, second, key=lambda machine: machine.read_bytes_per_s)


def parts(
    contests: Sequence[Contest], machine: Machine, dense: Mapping[str, int], threads: int
) -> list[str]:
    """``dense``: bytes of weights of those models that read all of them for every token."""
    bf16 = machine.bf16_flops_per_s
    products = [f"fp32 {format_si(machine.fp32_flops_per_s, 'FLOP/s')}"]
    products += [f"bf16 {format_si(bf16, 'FLOP/s')}"] if bf16 else []
    lines = [
        f"{threads} threads on {machine.host.cpu}, which reads "
        f"{format_si(machine.read_bytes_per_s, 'B/s')}; its libraries multiply at "
        f"{' and '.join(products)}."
    ]
    lines += [ceiling(contests, machine, model, size) for model, size in dense.items()]
    return [" ".join(line for line in lines if line), table(HEADERS, [c.row() for c in contests])]


def ceiling(contests: Sequence[Contest], machine: Machine, model: str, size: int) -> str:
    """The bound that reading all weights for each token sets to a single sequence."""
    alone = [c for c in contests if c.model == model and c.case.batch == 1 and c.rounds]
    if not alone:
        return ""
    bound = machine.read_bytes_per_s / size
    ours = median(r.ours.tokens_per_s for c in alone for r in c.rounds)
    return (
        f"{model} is {format_bytes(size)} of weights, so one sequence alone gets at most "
        f"{bound:,.1f} tok/s in bf16; ours reaches {ours / bound:.0%} of that, its prompt included."
    )
