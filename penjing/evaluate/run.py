"""All samples of all problems: asked for, graded, kept."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from penjing.evaluate.generator import Ask, Generator, Missing, Reply, sample_seed
from penjing.evaluate.sample import Sample
from penjing.evaluate.store import Store
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.task import Task

GRADERS = 2  # beside the engine; most judges take no time, and code runs in a sandbox
_MOST_UNGRADED = 256  # then generation waits


@dataclass(frozen=True, kw_only=True)
class Progress:
    """``num_tokens`` were generated in ``wall_s`` by this process, which found ``num_before``."""

    num_done: int
    num_before: int
    num_all: int
    num_correct: int
    num_missing: int
    num_tokens: int
    wall_s: float

    @property
    def left_s(self) -> float | None:
        """To go, at the pace so far."""
        done = self.num_done - self.num_before + self.num_missing
        return self.wall_s / done * (self.num_all - self.num_done) if done else None


Show = Callable[[Progress], None]


def evaluate(
    task: Task,
    problems: Sequence[Problem],
    generator: Generator,
    store: Store,
    *,
    samples: int,
    seed: int,
    show: Show = lambda progress: None,
) -> list[Missing]:
    """Fills ``store`` up to ``samples`` of each problem; returns what could not be had.

    What the store has is not asked for again. Grading goes on beside generation.
    """
    have = {(sample.problem, sample.index) for sample in store.samples}
    asks = [
        Ask(problem=problem, index=index, seed=sample_seed(seed, problem.id, index))
        for problem in problems
        for index in range(samples)
        if (problem.id, index) not in have
    ]
    began, before, missing = time.perf_counter(), len(store.samples), list[Missing]()
    num_tokens, num_correct = 0, sum(sample.grade.is_correct for sample in store.samples)
    for graded in _graded(task, generator.replies(asks)):
        if isinstance(graded, Missing):
            missing.append(graded)
        else:
            store.append(graded)
            num_tokens += graded.num_tokens
            num_correct += graded.grade.is_correct
        show(
            Progress(
                num_done=len(store.samples),
                num_before=before,
                num_all=before + len(asks),
                num_correct=num_correct,
                num_missing=len(missing),
                num_tokens=num_tokens,
                wall_s=time.perf_counter() - began,
            )
        )
    return missing


def _graded(task: Task, replies: Iterator[Reply | Missing]) -> Iterator[Sample | Missing]:
    """In the order they are graded; the judge runs in threads while the engine goes on.

    Where generating fails or is interrupted, what was generated is graded first; a second
    interrupt waits for nothing.
    """
    waiting: set[Future[Sample]] = set()
    failed: Exception | KeyboardInterrupt | None = None
    pool = ThreadPoolExecutor(GRADERS)
    try:
        try:
            for reply in replies:
                if isinstance(reply, Missing):
                    yield reply
                    continue
                waiting.add(pool.submit(_sample, task, reply))
                yield from _taken(waiting, 0 if len(waiting) <= _MOST_UNGRADED else None)
        except (Exception, KeyboardInterrupt) as error:
            failed = error
        while waiting:
            yield from _taken(waiting, None)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if failed is not None:
        raise failed


def _taken(waiting: set[Future[Sample]], timeout: float | None) -> Iterator[Sample]:
    """Those that are done, out of ``waiting``; without a timeout, at least one."""
    for done in wait(waiting, timeout=timeout, return_when=FIRST_COMPLETED).done:
        waiting.remove(done)
        yield done.result()


def _sample(task: Task, reply: Reply) -> Sample:
    return Sample(
        problem=reply.ask.problem.id,
        index=reply.ask.index,
        seed=reply.ask.seed,
        response=reply.response,
        finish_reason=reply.finish_reason,
        num_prompt_tokens=reply.num_prompt_tokens,
        num_tokens=reply.num_tokens,
        num_thinking_tokens=reply.num_thinking_tokens,
        wall_s=reply.wall_s,
        grade=_grade(task, reply),
    )


def _grade(task: Task, reply: Reply) -> Grade:
    problem = reply.ask.problem
    try:
        return task.grade(problem, reply.response, begins_in_thinking=reply.begins_in_thinking)
    except SystemExit:  # no ``Exception``, so that it would end the run without a word
        reason = f"the judge of {task.name} called exit on {problem.id}"
        return Grade(verdict=Verdict.UNGRADABLE, reason=reason, is_fault=True)
