"""A user's own function as a judge: trusted, but bounded, as it may hang or return nonsense.

It is called in a worker, so that it can neither stop nor crash a run.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from penjing.errors import BadCommand
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.worker_child import load
from penjing.tasks.workers import Failure, Workers

LIMIT_S = 30.0  # of one grading
MEMORY_BYTES = 16 << 30  # of address space, of which libraries take much and use little
PARAMETERS = ("question", "reference", "response", "metadata")


class UserJudge:
    """``spelled`` is ``path.py:function``; the function takes ``PARAMETERS`` and returns a bool.

    What JSON cannot hold of the metadata, such as a date of parquet, it gets as text. Raises
    ``BadCommand`` where it cannot be had, or takes something else.
    """

    def __init__(self, spelled: str, *, limit_s: float = LIMIT_S) -> None:
        path, colon, name = spelled.rpartition(":")
        if not colon or not path.endswith(".py") or not name.isidentifier():
            raise BadCommand(f"the judge {spelled!r} is not spelled path.py:function")
        if not Path(path).is_file():
            raise BadCommand(f"the judge's file {path} is not there; check the path")
        self._target = f"{Path(path).resolve()}:{name}"
        self._spelled = spelled
        self._workers = Workers(
            "penjing.tasks.user_judge:judged", limit_s=limit_s, memory_bytes=MEMORY_BYTES
        )
        found = self._workers.ask({"target": self._target})
        if isinstance(found, Failure):
            raise BadCommand(f"the judge {spelled} cannot be loaded: {found.message}")

    def __call__(self, problem: Problem, response: str) -> Grade:
        asked = {
            "target": self._target,
            "question": problem.prompt,
            "reference": problem.reference,
            "response": response,
            "metadata": json.loads(json.dumps(dict(problem.metadata), default=str)),
        }
        found = self._workers.ask(asked)
        if isinstance(found, Failure):
            reason = f"the judge {self._spelled} failed on {problem.id}: {found.message}"
            return Grade(verdict=Verdict.UNGRADABLE, reason=reason, is_fault=True)
        return Grade(
            verdict=Verdict.CORRECT if found else Verdict.WRONG,
            reason=f"{self._spelled} says so",
        )


def judged(question: Mapping[str, Any]) -> bool:
    """In a worker: loads the function where nothing is asked, and calls it where something is."""
    function = _loaded(question["target"])
    if "response" not in question:
        return True
    return verdict(function(*(question[name] for name in PARAMETERS)))


def verdict(returned: object) -> bool:
    """Raises ``TypeError`` for what is neither yes nor no; there is no part of a point."""
    if isinstance(returned, bool):
        return returned
    if isinstance(returned, int | float) and returned in (0, 1):
        return returned == 1
    hint = "; there is no partial credit" if isinstance(returned, float) else ""
    raise TypeError(f"it returned {returned!r:.60}; return True or False{hint}")


@cache
def _loaded(target: str) -> Callable[..., object]:
    function = load(target)
    try:
        inspect.signature(function).bind(*PARAMETERS)
    except TypeError as error:
        takes = ", ".join(PARAMETERS)
        raise TypeError(f"it must take ({takes}), in this order: {error}") from None
    return function
