"""The judge of mathematics: which honest answers it takes, which copies it refuses, how fast.

    python benchmarks/judge.py --gsm8k FOLDER

FOLDER holds GSM8K's test.jsonl, whose answers and worked solutions are graded in the ways people
write them. "Without the rule" is the same judge without its evaluated-form rule; math-verify is
asked too where it is installed. Writes `benchmarks/results/judge.json` and a part of
docs/results.md.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
from result import publish, save, table

from penjing.cli.answer import Json
from penjing.tasks import math_judge
from penjing.tasks.gsm8k import gsm8k
from penjing.tasks.math_algebra import same
from penjing.tasks.math_match import equal
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import NotAValue
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task

Write = Callable[[Problem, str], str | None]  # a final answer, from the problem and its last sum

HONEST: Mapping[str, Write] = {
    "the reference": lambda p, _: p.reference,
    "with a dollar sign": lambda p, _: rf"\${p.reference}",
    "with a unit": lambda p, _: f"{p.reference} dollars",
    "with a unit as text": lambda p, _: rf"{p.reference}\text{{ miles}}",
    "with two decimals": lambda p, _: f"{p.reference}.00" if "." not in p.reference else None,
    "with x =": lambda p, _: f"x = {p.reference}",
    "thousands set apart": lambda p, _: _apart(p.reference),
    "the last result of the worked solution": lambda _, calculation: calculation.partition("=")[2],
}
COPIES: Mapping[str, Write] = {
    "the last sum, not worked out": lambda _, calculation: calculation.partition("=")[0],
    "the last sum with its result": lambda _, calculation: calculation,
    "plus zero": lambda p, _: f"{p.reference}+0",
    "times one": lambda p, _: rf"{p.reference} \times 1",
}
_LAST = re.compile(r"<<([^<>=]+=[^<>=]+)>>(?!.*<<)", re.DOTALL)
_ROOTS = [2, 3, 5, 6, 7, 10, 11, 13]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gsm8k", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    task = gsm8k(arguments.gsm8k / "test.jsonl")
    problems, calculations = task.problems(None), last_calculations(arguments.gsm8k)
    rows = [
        written(name, write, task, problems, calculations, honest)
        for honest, kinds in ((True, HONEST), (False, COPIES))
        for name, write in kinds.items()
    ]
    whole = [solved(task, problem) for problem in problems]
    document: dict[str, Json] = {
        "problems": len(problems),
        "worked_solutions_accepted": float(np.mean(whole)),
        "answers": rows,
        "latency": latency(task, problems),
        "hostile": hostile(),
        "parallel": parallel(),
    }
    save("judge", document)
    publish("judge", parts(document))


def _apart(reference: str) -> str | None:
    plain = reference.replace(",", "")
    return f"{int(plain):,}" if plain.isdigit() and len(plain) > 3 else None


def last_calculations(folder: Path) -> dict[str, str]:
    """By question: what stands in the last ``<<...>>``."""
    lines = (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()
    found = {}
    for row in map(json.loads, lines):
        last = _LAST.search(row["answer"])
        found[row["question"].strip()] = last[1] if last else ""
    return found


def solved(task: Task, problem: Problem) -> bool:
    """The worked solution as a response: its text, and its number in a box."""
    response = f"{problem.metadata['solution']}\nSo the answer is $\\boxed{{{problem.reference}}}$."
    return task.grade(problem, response).is_correct


def written(
    name: str,
    write: Write,
    task: Task,
    problems: Sequence[Problem],
    calculations: Mapping[str, str],
    is_honest: bool,
) -> dict[str, Json]:
    """Of the problems where it can be written: how many it is accepted for, and by whom."""
    given = [(p, write(p, calculations[p.prompt])) for p in problems]
    pairs = [(p, text) for p, text in given if text]
    if name.startswith("the last result"):  # where the reference is what was calculated last
        pairs = [(p, text) for p, text in pairs if text.replace(",", "") == p.reference]
    ours = [task.grade(p, rf"\boxed{{{text}}}").is_correct for p, text in pairs]
    loose = [without_rule(text, p.reference) for p, text in pairs]
    peer = peer_accepts([(text, p.reference) for p, text in pairs])
    return {
        "name": name,
        "is_honest": is_honest,
        "tried": len(pairs),
        "accepted": float(np.mean(ours)),
        "accepted_without_the_rule": float(np.mean(loose)),
        "accepted_by_math_verify": peer,
    }


def without_rule(answer: str, reference: str) -> bool:
    try:
        return equal(read(answer), read(reference), same) is True
    except NotAValue:
        return False


def peer_accepts(pairs: Sequence[tuple[str, str]]) -> float | None:
    try:
        from math_verify import parse, verify
    except ImportError:
        return None
    found = [
        verify(parse(rf"\boxed{{{gold}}}"), parse(rf"\boxed{{{answer}}}")) for answer, gold in pairs
    ]
    return float(np.mean(found))


def latency(task: Task, problems: Sequence[Problem]) -> list[Json]:
    numbers = [timed(lambda p=p: task.grade(p, rf"\boxed{{{p.reference}}}")) for p in problems]
    pairs = algebra()
    for answer, reference in pairs[:8]:  # workers that have started and imported
        math_judge.grade(answer, reference)
    grades = [math_judge.grade(answer, reference).is_correct for answer, reference in pairs]
    algebraic = [timed(lambda p=p: math_judge.grade(*p)) for p in pairs]
    return [
        {**percentiles("numbers", numbers), "accepted": 1.0},
        {**percentiles("algebra", algebraic), "accepted": float(np.mean(grades))},
    ]


def algebra() -> list[tuple[str, str]]:
    """Answers in evaluated form, and an equal reference in another form."""
    roots = [
        (rf"\frac{{{a}\sqrt{{{r}}}}}{{{r}}}", rf"\frac{{{a}}}{{\sqrt{{{r}}}}}")
        for a, r in product((2, 4, 8), _ROOTS)
        if a % r and r % 2
    ]
    sums = [
        (rf"{a}+{b}\sqrt{{{r}}}", rf"{b}\sqrt{{{r}}}+{a}")
        for a, b, r in product((1, 2), (3, 5), _ROOTS)
    ]
    polynomials = [
        (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})") for a, b in product((1, 3, 5), (2, 4))
    ]
    angles = [
        (rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{\pi}}{{{b}}}\cdot {a}")
        for a, b in product((5, 7), (6, 12, 18))
    ]
    others = [
        (rf"[0,{a}\sqrt{{{r}}}]", rf"[0,\sqrt{{{a * a * r}}}]")
        for a, r in product((2, 3), _ROOTS[:4])
    ]
    matrices = [
        (rf"\begin{{pmatrix}}{a}\sqrt2&1\\0&{a}\end{{pmatrix}}",
         rf"\begin{{pmatrix}}\sqrt{{{2 * a * a}}}&1\\0&{a}\end{{pmatrix}}")
        for a in range(2, 10)
    ]  # fmt: skip
    return roots + sums + polynomials + angles + others + matrices


HOSTILE = (
    "9^{9^{9^{9^{9}}}}", "x^{9^{9^{9}}}", "(((x+1)^{999}+1)^{999}+1)^{999}", "999999999!",
    r"\sqrt{\sqrt{\sqrt{x^{1000}+1}+1}+1}", r"\sin(9^{9999})", "9" * 1900 + "x", "(" * 1900,
    "+".join(f"x^{{{n}}}" for n in range(300)), r"\frac{1}{x-x}", "2^" * 900 + "2",
    "x^{0.123456789123456789}" * 40, r"\binom{99999999}{5000000}", "+".join(["\\sqrt{2}"] * 200),
)  # fmt: skip


def hostile() -> list[Json]:
    found: list[Json] = []
    for answer in HOSTILE:
        math_judge.grade("x+1", "1+x")
        began = time.perf_counter()
        grade = math_judge.grade(answer, r"\pi x+9^{9999}")
        wall_s = time.perf_counter() - began
        found.append({"answer": answer[:40], "wall_s": wall_s, "verdict": str(grade.verdict)})
    return found


def parallel(gradings: int = 1000, threads: int = 16) -> dict[str, Json]:
    """Algebra from many threads at once; and what is left when the workers are closed."""
    pairs = [(f"{n % 97 + 1}+x", f"x+{n % 97 + 1}") for n in range(gradings)]
    math_judge._workers().close()
    before = len(os.listdir("/proc/self/fd"))
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        right = list(pool.map(lambda p: math_judge.grade(*p).is_correct, pairs))
    wall_s = time.perf_counter() - began
    workers = len(children())
    math_judge._workers().close()
    return {
        "gradings": gradings,
        "threads": threads,
        "wall_s": wall_s,
        "right": sum(right),
        "workers": workers,
        "workers_left": len(children()),
        "descriptors_left": len(os.listdir("/proc/self/fd")) - before,
    }


def children() -> list[str]:
    found = Path("/proc/self/task").glob("*/children")
    return [pid for one in found for pid in one.read_text().split()]


def timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def percentiles(name: str, seconds: Sequence[float]) -> dict[str, Json]:
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"name": name, "count": len(seconds), "p50_s": float(p50), "p99_s": float(p99)}


def parts(document: Mapping[str, Json]) -> list[str]:
    def percent(share: float | None) -> str:
        return "" if share is None else f"{share:.1%}".replace("%", " %")

    rows = [
        ("honest" if r["is_honest"] else "a copy", r["name"], f"{r['tried']:,}",
         percent(r["accepted"]), percent(r["accepted_without_the_rule"]),
         percent(r["accepted_by_math_verify"]))
        for r in document["answers"]  # type: ignore[union-attr]
    ]  # fmt: skip
    times = [
        (
            t["name"],
            str(t["count"]),
            percent(t["accepted"]),
            f"{1e3 * t['p50_s']:.2f}",
            f"{1e3 * t['p99_s']:.1f}",
        )
        for t in document["latency"]  # type: ignore[union-attr]
    ]
    worst = max(h["wall_s"] for h in document["hostile"])  # type: ignore[union-attr]
    many = document["parallel"]
    assert isinstance(many, dict)
    return [
        f"Of {document['problems']:,} worked solutions with their number in a box, "
        f"{percent(document['worked_solutions_accepted'])} are accepted.",  # type: ignore[arg-type]
        table(
            (
                "kind",
                "what stands in the box",
                "tried",
                "accepted",
                "without the rule",
                "math-verify 0.9",
            ),
            rows,
        ),
        table(("answers", "count", "accepted", "p50, ms", "p99, ms"), times),
        f"{len(document['hostile'])} hostile answers take {worst:.2f} s at most. "  # type: ignore[arg-type]
        f"{many['gradings']:,} gradings by algebra from {many['threads']} threads take "
        f"{many['wall_s']:.1f} s on {many['workers']} workers; {many['right']:,} are right, and "
        f"{many['workers_left']} workers and {many['descriptors_left']} file descriptors are left.",
    ]


if __name__ == "__main__":
    main()
