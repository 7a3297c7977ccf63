"""Rejection sampling: what a model got right becomes what the next one learns from.

DeepSeek-R1 (arXiv 2501.12948, 2.3.3) keeps right answers only, and drops what is hard to read; here
the shortest of the right ones that think are kept.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from penjing.evaluate.sample import Sample
from penjing.tasks.format import Structure, structure
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task


def kept(
    task: Task,
    samples: Sequence[Sample],
    problems: Mapping[str, Problem],
    keep: int,
    *,
    must_think: bool,
) -> list[dict[str, object]]:
    """Rows of ``prompt``, ``response`` and ``problem``, problem by problem."""
    rows: list[dict[str, object]] = []
    for id, problem in problems.items():
        right = [s for s in samples if s.problem == id and _is_good(s, task, must_think)]
        texts = {s.response: s for s in sorted(right, key=lambda s: (s.num_tokens, s.index))}
        for response in list(texts)[:keep]:
            prompt = task.prompt(problem)
            written = prompt if isinstance(prompt, str) else [dict(m) for m in prompt]
            rows.append({"prompt": written, "response": response, "problem": id})
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _is_good(sample: Sample, task: Task, must_think: bool) -> bool:
    if not sample.grade.is_correct or sample.is_truncated:
        return False
    found = structure(sample.response, task.template.answer_format)
    return not must_think or found is Structure.GOOD
