"""What is kept of many samples."""

import json
from pathlib import Path

from penjing.evaluate.sample import Sample
from penjing.tasks.problem import Grade, Verdict
from penjing.train.journey import made_task
from penjing.train.recipe import load_recipe
from penjing.train.reject import kept, write_rows

TASK = made_task(load_recipe("quickstart").tasks["sums"])
PROBLEMS = {problem.id: problem for problem in TASK.problems(None, size=2)}
FIRST, SECOND = PROBLEMS
GOOD = "<think>1+2=3 3+4=7</think><answer>7</answer>"


def sample(problem: str, index: int, response: str, tokens: int, *, right: bool = True) -> Sample:
    verdict = Verdict.CORRECT if right else Verdict.WRONG
    return Sample(
        problem=problem,
        index=index,
        seed=0,
        response=response,
        finish_reason="stop",
        num_prompt_tokens=1,
        num_tokens=tokens,
        num_thinking_tokens=None,
        wall_s=0.0,
        grade=Grade(verdict=verdict, reason="r"),
    )


def test_the_shortest_right_ones_that_think() -> None:
    samples = [
        sample(FIRST, 0, "<answer>7</answer>", 3),  # no thinking
        sample(FIRST, 1, GOOD + " ", 9),
        sample(FIRST, 2, GOOD, 8),
        sample(FIRST, 3, GOOD, 8),  # the same again
        sample(FIRST, 4, GOOD.replace("1", "2"), 2, right=False),
        sample(SECOND, 0, GOOD, 8, right=False),
    ]
    rows = kept(TASK, samples, PROBLEMS, 2, must_think=True)
    assert [(row["problem"], row["response"]) for row in rows] == [
        (FIRST, GOOD),
        (FIRST, GOOD + " "),
    ]
    assert rows[0]["prompt"] == PROBLEMS[FIRST].prompt
    assert len(kept(TASK, samples, PROBLEMS, 1, must_think=True)) == 1
    any_form = kept(TASK, samples, PROBLEMS, 1, must_think=False)
    assert [row["response"] for row in any_form] == ["<answer>7</answer>"]


def test_truncated_ones_are_not_kept() -> None:
    from dataclasses import replace

    cut = replace(sample(FIRST, 0, GOOD, 8), finish_reason="length")
    assert kept(TASK, [cut], PROBLEMS, 1, must_think=True) == []


def test_rows_are_written_whole(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "é", "response": "a\nb"}]
    write_rows(tmp_path / "data.jsonl", rows)
    text = (tmp_path / "data.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
