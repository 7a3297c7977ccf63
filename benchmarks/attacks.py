"""Attacks on every judge, on the sandbox, and on the checker of code inside it.

    python benchmarks/attacks.py --gsm8k FOLDER --humaneval FOLDER [--problems N] [--families N]

Writes `benchmarks/results/attacks.json` and a part of docs/results.md. Tasks without a file here
are attacked on problems made up below.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from result import publish, save, table

from penjing.cli.answer import Json
from penjing.tasks.attack import AttackReport, attack
from penjing.tasks.catalogue import load_task
from penjing.tasks.code_attacks import run_checker_attacks
from penjing.tasks.reasoning_gym_families import Status, families
from penjing.tasks.sandbox.attacks import ATTACK_LIMITS, run_attacks
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.sandbox import Sandbox
from penjing.tasks.task import Task

MADE_UP: Mapping[str, Sequence[Mapping[str, Json]]] = {
    "math": [
        {"problem": "Half of seven?", "answer": r"\frac{7}{2}"},
        {"problem": "The root of twelve?", "answer": r"2\sqrt{3}"},
        {"problem": "Where is x squared below four?", "answer": "(-2,2)"},
        {"problem": "Expand x + 1 squared.", "answer": "x^2+2x+1"},
        {"problem": "How many ways?", "answer": "42"},
    ],
    "aime": [{"problem": f"How many ways are there, case {n}?", "answer": n} for n in (7, 42, 731)],
    "choice": [
        {"question": "Which is a prime?", "choices": ["4", "6", "7", "9"], "answer": 2},
        {"question": "Which is even?", "choices": ["1", "2", "3", "5"], "answer": 1},
    ],
    "jsonl": [
        {"question": "What is six times seven?", "answer": "42"},
        {"question": "Which city is the capital of France?", "answer": "Paris"},
        {"question": "What is the largest animal?", "answer": ["the blue whale", "blue whale"]},
    ],
    "programs": [
        {
            "question": "Read two numbers and print their sum.",
            "input_output": json.dumps(
                {"inputs": ["1 2\n", "30 12\n"], "outputs": ["3\n", "42\n"]}
            ),
            "solutions": json.dumps(["print(sum(map(int, input().split())))"]),
        }
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gsm8k", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--humaneval", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--problems", type=int, default=3, help="of each task")
    parser.add_argument("--families", type=int, default=0, help="of reasoning_gym; 0: all")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for task, size in tasks(arguments, Path(scratch)):
            rows.append(attacked(task, size))
            print(rows[-1]["task"], rows[-1]["tried"], rows[-1]["wall_s"], file=sys.stderr)
    document: dict[str, Json] = {"judges": rows, "sandbox": sandbox(), "checker": checker()}
    save("attacks", document)
    publish("attacks", parts(document))


def tasks(arguments: argparse.Namespace, scratch: Path) -> Iterator[tuple[Task, int]]:
    many = arguments.problems
    yield load_task("gsm8k", str(arguments.gsm8k / "test.jsonl")), many
    yield load_task("humaneval", str(arguments.humaneval / "HumanEval.jsonl.gz")), 1
    for name, problems in MADE_UP.items():
        path = scratch / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in problems), encoding="utf-8")
        yield load_task(name, str(path)), min(many, len(problems))
    yield load_task("countdown"), many
    yield load_task("instruction"), many
    usable = [n for n, f in families().items() if f.status is not Status.REFUSED]
    for name in usable[: arguments.families or None]:
        yield load_task(f"reasoning_gym/{name}"), many


def attacked(task: Task, size: int) -> dict[str, Json]:
    began = time.perf_counter()
    report: AttackReport = attack(task, task.problems(None, seed=1, size=size))
    summary = report.summary()
    kept = ("task", "problems", "attacks", "tried", "controls", "stopped", "is_clean")
    lists = ("false_rewards", "refused_controls", "faults", "slow")
    return {
        **{name: summary[name] for name in kept},  # type: ignore[misc]
        **{name: list(summary[name]) for name in lists},  # type: ignore[call-overload]
        "slowest_s": report.slowest.wall_s,
        "wall_s": time.perf_counter() - began,
    }


def sandbox() -> dict[str, Json]:
    made = Sandbox(ATTACK_LIMITS)
    report = run_attacks(made, parallel=4)
    return {
        "attacks": len(report.results),
        "succeeded": [f"{r.attack.group}: {r.attack.name}" for r in report.succeeded],
        "control": report.control,
        "groups": {
            g: sum(r.attack.group == g for r in report.results) for g in groups(report.results)
        },
    }


def groups(results: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(r.attack.group for r in results))  # type: ignore[attr-defined]


def checker() -> dict[str, Json]:
    report = run_checker_attacks(Sandbox(Limits(wall_s=15, cpu_s=1)))
    wrong = [name for name, grade in report.controls.items() if not grade.is_correct]
    return {
        "attacks": len(report.results),
        "succeeded": [str(a.name) for a, grade in report.results if grade.is_correct],
        "refused_controls": wrong,
    }


def parts(document: Mapping[str, Json]) -> list[str]:
    judges = document["judges"]
    assert isinstance(judges, list)
    alone = [r for r in judges if not r["task"].startswith("reasoning_gym/")]
    gym = [r for r in judges if r["task"].startswith("reasoning_gym/")]
    rows = [row(r["task"], [r]) for r in alone]
    rows += [row(f"reasoning_gym, {len(gym)} families", gym), row("all", judges)]
    box, code = document["sandbox"], document["checker"]
    assert isinstance(box, dict)
    assert isinstance(code, dict)
    return [
        table(
            (
                "task",
                "attacks",
                "tried",
                "paid",
                "honest refused",
                "faults",
                "slower than 2 s",
                "slowest, s",
            ),
            rows,
        ),
        f"Sandbox: {box['attacks']} programs, {len(box['succeeded'])} succeed. "
        f"Checker of code: {code['attacks']} programs, {len(code['succeeded'])} earn a point.",
    ]


def row(name: str, found: Sequence[Mapping[str, Json]]) -> tuple[str, ...]:
    def count(key: str) -> str:
        return str(sum(len(r[key]) for r in found))  # type: ignore[arg-type]

    tried = sum(r["tried"] for r in found)  # type: ignore[misc]
    fewest = min(r["attacks"] for r in found)  # type: ignore[type-var]
    slowest = max(r["slowest_s"] for r in found)  # type: ignore[type-var]
    return (name, str(fewest), f"{tried:,}", count("false_rewards"), count("refused_controls"),
            count("faults"), count("slow"), f"{slowest:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
