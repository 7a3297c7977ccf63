"""Weak, noisy solutions of chains of additions and subtractions: what a base learns to imitate.

Half of them answer at once; the others work it out step by step, and of these some make a slip and
go on from it. So a model that imitates them can reason, but seldom does, and not reliably.
"""

import re
from dataclasses import dataclass
from random import Random

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.problem import Problem
from penjing.tasks.thinking import CLOSE, OPEN

_CHAIN = re.compile(r"-?\d+(?: [+-] \d+)+")
_TERM = re.compile(r"([+-]?) ?(\d+)")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """``direct``: share without thinking; ``slips``: share of the others with a wrong step."""

    direct: float = 0.5
    slips: float = 0.4

    def __post_init__(self) -> None:
        for name in ("direct", "slips"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadQuantity(f"{name} is {getattr(self, name)}; a share is from 0 to 1")


def trace(problem: Problem, noise: Noise, seed: int) -> str:
    """A response to a problem: worked out or not to ``reasoning_gym/chain_sum``, else its answer.

    Raises ``BadFile`` for a problem that has neither.
    """
    found = _CHAIN.search(problem.prompt)
    if found is None and not problem.reference:
        raise BadFile(
            f"{problem.id} has neither a chain of additions and subtractions nor an answer, so no "
            "trace can be written; take another task"
        )
    if found is None:
        return f"<answer>{problem.reference}</answer>"
    terms = [int(f"{sign}{digits}") for sign, digits in _TERM.findall(found.group())]
    random = Random(seed)
    if random.random() < noise.direct:
        return f"<answer>{sum(terms)}</answer>"
    slip_at = random.randrange(1, len(terms)) if random.random() < noise.slips else None
    steps, total = [], terms[0]
    for place, term in enumerate(terms[1:], 1):
        result = total + term
        if place == slip_at:
            result += random.choice((-2, -1, 1, 2))
        steps.append(f"{total}{'+' if term >= 0 else '-'}{abs(term)}={result}")
        total = result
    return f"{OPEN}{' '.join(steps)}{CLOSE}<answer>{total}</answer>"
