"""Whether a final answer is worth the reference: by form where that tells, else by algebra.

Algebra may take as long as a tower of powers is high, so a worker does it, within limits; most
answers are numbers, and never get there.
"""

from functools import cache

from penjing.tasks.answer import final_answer
from penjing.tasks.math_match import Match, match
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.task import Judge
from penjing.tasks.template import AnswerFormat
from penjing.tasks.workers import Failure, Why, Workers

LIMIT_S = 1.0  # of algebra; with the worker's end, no answer takes two seconds
_ALGEBRA = "penjing.tasks.math_algebra:judged"


def math_judge(answer_format: AnswerFormat) -> Judge:
    """An answer that is no value, or leaves something to work out, is WRONG.

    What algebra cannot decide within its limits is UNGRADABLE, and no fault: whoever answers with
    a tower of powers has not been misjudged.
    """

    def judge(problem: Problem, response: str) -> Grade:
        answer = final_answer(response, answer_format)
        if isinstance(answer, Grade):
            return answer
        return grade(answer, problem.reference, problem.prompt)

    return judge


def grade(answer: str, reference: str, question: str = "") -> Grade:
    """Of a final answer in LaTeX or plain text."""
    found = match(answer, reference, question=question)
    if found.verdict is None:
        given = {"answer": answer, "reference": reference, "question": question}
        asked = _workers().ask(given)
        if isinstance(asked, Failure):
            return _undecided(asked, answer)
        verdict = asked["verdict"]
        found = Match(None if verdict is None else Verdict(verdict), asked["why"])
    if found.verdict is None:
        reason = "whether it equals the reference cannot be told by values"
        return Grade(verdict=Verdict.UNGRADABLE, reason=reason, answer=answer)
    return Grade(verdict=found.verdict, reason=found.reason, answer=answer)


def _undecided(failure: Failure, answer: str) -> Grade:
    is_bounded = failure.why in (Why.TIMEOUT, Why.MEMORY)
    return Grade(
        verdict=Verdict.UNGRADABLE,
        reason=f"algebra failed: {failure.message}",
        answer=answer,
        is_fault=not is_bounded,
    )


@cache
def _workers() -> Workers:
    """One pool for all judges; a process that is forked makes its own workers in it."""
    return Workers(_ALGEBRA, limit_s=LIMIT_S, memory_bytes=1 << 30)
