"""What people are shown of a run, and of two."""

from penjing.evaluate.compare import compare
from penjing.evaluate.measures import measure
from penjing.evaluate.sample import Sample
from penjing.evaluate.table import comparison_text, measures_text
from penjing.tasks.problem import Grade, Verdict


def samples(*right: int, of: int = 2, faults: int = 0) -> list[Sample]:
    """Of each problem so many right ones."""
    found = []
    for place, count in enumerate(right):
        for index in range(of):
            is_fault = index >= of - faults
            verdict = Verdict.CORRECT if index < count else Verdict.WRONG
            grade = Grade(
                verdict=Verdict.UNGRADABLE if is_fault else verdict,
                reason="r",
                answer=str(index < count),
                is_fault=is_fault,
            )
            found.append(
                Sample(
                    problem=f"p{place}",
                    index=index,
                    seed=0,
                    response="r",
                    finish_reason="stop" if index else "length",
                    num_prompt_tokens=10,
                    num_tokens=100 * (index + 1),
                    num_thinking_tokens=50,
                    wall_s=1.5,
                    grade=grade,
                )
            )
    return found


def test_a_run() -> None:
    text = measures_text(measure(samples(2, 1, 0)))
    lines = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)
    assert lines["pass@1"].strip().startswith("50.0 %  95 % interval ")
    assert lines["pass@2"].strip().startswith("66.7 %")
    assert "cons@2" in lines
    for fact in (
        "3, 6 samples",
        "truncated         50.0 %",
        "mean 150, median 150",
        "900 generated",
    ):
        assert fact in text
    assert "300 tokens" in text  # for each of three correct ones
    assert "FAILED" not in text
    assert "incomplete" not in text


def test_what_went_wrong_is_loud() -> None:
    text = measures_text(measure([*samples(1, 1, faults=1), *samples(1, of=1)[:0]]))
    assert "THE JUDGE FAILED on 2 samples" in text
    ragged = [one for one in samples(1, 1) if one.index == 0 or one.problem == "p0"]
    assert "incomplete: problems have 1 to 2 samples" in measures_text(measure(ragged))


def test_two_runs() -> None:
    text = comparison_text(compare(samples(0, 1, 0), samples(2, 1, 1, 1)))
    assert "first   16.7 %" in text
    assert "second  66.7 %" in text
    assert "difference +50.0 points" in text
    assert "2 problems better, 0 worse, 1 equal" in text
    assert "left out: 1 problems only in the second" in text
    assert "p0" in text
