"""``penjing eval --attack``: whether a judge, or the sandbox, lets anything through."""

import argparse

from penjing.cli.answer import Answer, Json, table
from penjing.cli.progress import Progress
from penjing.cli.tasks import SPLITS
from penjing.tasks.attack import COLUMNS, attack
from penjing.tasks.catalogue import load_task

SANDBOX = "sandbox"
_PROBLEMS = 3


def attacked(arguments: argparse.Namespace) -> Answer:
    """Exit status 1 where anything got through, an honest answer was refused, or it was slow."""
    return _sandbox() if arguments.attack == SANDBOX else _judge(arguments)


def _judge(arguments: argparse.Namespace) -> Answer:
    task = load_task(arguments.attack, arguments.data, arguments.judge)
    size = _PROBLEMS if arguments.size is None else arguments.size
    problems = task.problems(SPLITS[arguments.split or "all"], seed=arguments.seed, size=size)
    progress = Progress()
    report = attack(
        task, problems, progress=lambda done, total: progress.show(f"{done} of {total} problems")
    )
    progress.end()
    wrong = [*report.false_rewards, *report.refused_controls, *report.faults, *report.slow]
    lines = [table((task.name, *COLUMNS), report.rows())]
    lines += [str(trial) for trial in dict.fromkeys(wrong)]
    lines.append(report.stopped or ("nothing got through" if report.is_clean else "NOT CLEAN"))
    return Answer(
        document=dict(report.summary()),  # type: ignore[arg-type]
        text="\n".join(lines),
        exit_status=0 if report.is_clean else 1,
    )


def _sandbox() -> Answer:
    from penjing.tasks.sandbox.attacks import ATTACK_LIMITS, run_attacks
    from penjing.tasks.sandbox.sandbox import Sandbox

    report = run_attacks(Sandbox(ATTACK_LIMITS))
    document: dict[str, Json] = {
        "attacks": len(report.results),
        "succeeded": [f"{r.attack.group}: {r.attack.name}" for r in report.succeeded],
        "control": report.control,
    }
    is_clean = not report.succeeded and report.control is None
    return Answer(document=document, text=str(report), exit_status=0 if is_clean else 1)
