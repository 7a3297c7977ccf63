"""Tasks made by reasoning_gym (Apache-2.0, arXiv 2505.24760), its judges mended.

Its scorers give parts of a point, and some pay for any text, run it, or hang. Here an answer is
right or wrong, and a family whose scorer cannot be trusted has a check of ours or is refused: see
``reasoning_gym_families``.
"""

from collections.abc import Mapping

from penjing.tasks.answer import final_answer
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.reasoning_gym_checks import CHECKS, Answered
from penjing.tasks.reasoning_gym_draws import Generator
from penjing.tasks.reasoning_gym_families import Family, usable_family
from penjing.tasks.source import Drawn, GeneratedSource, normalised
from penjing.tasks.task import Judge, Task
from penjing.tasks.template import AnswerFormat, Style, Template

MAX_ANSWER = 20_000  # characters, or twice the reference
_NOTHING: Mapping[str, object] = {}


def reasoning_gym(family: str, options: Mapping[str, object] = _NOTHING) -> Task:
    """``options`` are fields of the family's config in reasoning_gym.

    Raises ``UnknownName`` for a family or an option that nobody knows, ``RequestError`` for a
    refused family or refused options.
    """
    usable = usable_family(family)
    generator = Generator(usable, options)

    def draw(number: int) -> Drawn:
        entry = generator.draw(number)
        return Drawn(
            prompt=entry["question"], reference=entry["answer"] or "", metadata=entry["metadata"]
        )

    return Task(
        name=f"reasoning_gym/{family}",
        source=GeneratedSource(f"reasoning_gym/{family}", draw),
        judge=_judge(usable, generator),
        template=Template(style=Style.R1_ZERO, answer_format=AnswerFormat.TAGGED),
    )


def _judge(family: Family, generator: Generator) -> Judge:
    def judge(problem: Problem, response: str) -> Grade:
        answer = final_answer(response, AnswerFormat.TAGGED)
        if isinstance(answer, Grade):
            return answer
        wrong = _refused(problem, answer) or CHECKS[family.judge](asked(problem, answer))
        if wrong:
            return Grade(verdict=Verdict.WRONG, reason=" ".join(wrong.split()), answer=answer)
        return Grade(verdict=Verdict.CORRECT, reason="it is right", answer=answer)

    def asked(problem: Problem, answer: str) -> Answered:
        entry = {
            "question": problem.prompt,
            "answer": problem.reference,
            "metadata": dict(problem.metadata),  # some scorers write into it
        }
        return Answered(
            answer=answer,
            reference=problem.reference,
            metadata=problem.metadata,
            family=family,
            score=lambda: float(generator.dataset.score_answer(answer, entry)),
        )

    return judge


def _refused(problem: Problem, answer: str) -> str:
    """Why an answer is wrong before anybody looks at what it says."""
    if len(answer) > max(MAX_ANSWER, 2 * len(problem.reference)):
        return f"it has {len(answer)} characters"
    if normalised(problem.prompt) in normalised(answer):
        return "it repeats the question"
    known = {*problem.prompt, *problem.reference}
    strange = sorted({c for c in answer if not c.isascii()} - known)
    if strange:  # such as digits of another script, which Python reads as digits
        return f"it has characters that the question has not: {strange[:5]}"
    return ""
