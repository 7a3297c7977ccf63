"""One GRPO step of ours beside TRL's, in rounds: ours, theirs, ours, theirs.

    python benchmarks/grpo.py --trl-python PATH [--rounds N] [--case tiny|half-billion] [--quick]

Both sides have the same random weights, tokenizer, prompts, judge, loss, optimizer and lengths of
answers. Each runs in a process of its own: one short step to warm up, then the one that counts,
from prompts to new weights. TRL's GRPOTrainer generates by transformers. Writes
`benchmarks/results/grpo.json`, with machine, commit and date.

bfloat16 means products in bf16 with masters in fp32: weights in bf16 beside their masters on our
side, fp32 weights under autocast on TRL's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from grpo_case import CASES, Case, setup, write_model
from result import ROOT, circumstances, table, write

from penjing.cli.answer import Json
from penjing.hardware.host import read_host
from penjing.units import format_bytes

PEERS = Path(__file__).parent / "peers"
DTYPES = ("float32", "bfloat16")
LIMIT_S = 7200.0
# fp32 weights, gradients and two moments, and about half as much again for everything else.
BYTES_PER_WEIGHT = 4 * 4 * 1.5
HEADERS = (
    *("case", "dtype", "side", "CPU s a step", "s a step", "rollout tok/s", "rollout CPU s"),
    "peak",
)


@dataclass(frozen=True, kw_only=True)
class Took:
    """What one side took for one step. ``rollout_s`` of ours has judging in it, TRL's has not."""

    version: str
    tokens: int
    step_s: float
    step_cpu_s: float
    rollout_s: float
    rollout_cpu_s: float
    peak_bytes: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.rollout_s


@dataclass(frozen=True, kw_only=True)
class Round:
    ours: Took
    theirs: Took
    lengths: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Contest:
    case: Case
    dtype: str
    rounds: Sequence[Round]

    def document(self) -> dict[str, Json]:
        case, lengths = self.case, [n for r in self.rounds for n in r.lengths]
        return {
            "case": case.name,
            "model": case.model,
            "dtype": self.dtype,
            "problems": case.problems,
            "group_size": case.group_size,
            "longest_allowed": case.longest,
            "lengths": {"mean": sum(lengths) / len(lengths), "max": max(lengths)},
            "our_tokens_a_pass": case.our_tokens,
            "trl_rows_a_pass": case.trl_rows,
            "recomputes_activations": case.recomputes,
            "cpu_s_ours_over_theirs": self.ratio("step_cpu_s"),
            "step_s_ours_over_theirs": self.ratio("step_s"),
            "rollout_tokens_per_s_ours_over_theirs": self.ratio("tokens_per_s"),
            "peak_ours_over_theirs": self.ratio("peak_bytes"),
            "rounds": [
                {"ours": document(r.ours), "theirs": document(r.theirs)} for r in self.rounds
            ],
        }

    def ratio(self, name: str) -> dict[str, Json]:
        found = [getattr(r.ours, name) / getattr(r.theirs, name) for r in self.rounds]
        return {"min": min(found), "median": median(found), "max": max(found)}

    def rows(self) -> list[list[str]]:
        sides = ([r.ours for r in self.rounds], [r.theirs for r in self.rounds])
        return [[self.case.name, self.dtype, *cells(side)] for side in sides]


def main() -> None:
    arguments = parsed()
    contests = []
    for case in CASES:
        if arguments.case in (None, case.name):
            chosen = case.smaller() if arguments.quick else case
            contests += [contest(chosen, dtype, arguments) for dtype in arguments.dtypes]
    rows = [row for one in contests for row in one.rows()]
    print(table(HEADERS, rows))
    found: Json = {
        **circumstances(),
        "threads": arguments.threads,
        "is_quick": arguments.quick,
        "contests": [one.document() for one in contests],
    }
    if arguments.out is not None:
        write(arguments.out, json.dumps(found, indent=1, allow_nan=False) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl-python", metavar="PATH", required=True, help="one that has trl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=[case.name for case in CASES])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--quick", action="store_true", help="few and short answers, no file")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/grpo.json")
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.quick:
        arguments.out = ROOT / "benchmarks" / "results" / "grpo.json"
    return arguments


def contest(case: Case, dtype: str, arguments: argparse.Namespace) -> Contest:
    """One side at a time: memory has room for one."""
    rounds = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_model(Path(scratch) / "model", case)
        check_memory(folder)
        for number in range(arguments.rounds):
            given = setup(folder, case, dtype, arguments.threads, number)
            file = Path(scratch) / "setup.json"
            file.write_text(json.dumps(given), encoding="utf-8")
            ours = took(sys.executable, "grpo_ours.py", file, arguments.threads)
            theirs = took(arguments.trl_python, "grpo_trl.py", file, arguments.threads)
            flat = [n for group in given["lengths"][1] for n in group]
            rounds.append(Round(ours=ours, theirs=theirs, lengths=flat))
            print(case.name, dtype, *cells([ours]), *cells([theirs]), sep=" | ", flush=True)
    return Contest(case=case, dtype=dtype, rounds=rounds)


def check_memory(folder: Path) -> None:
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))  # two bytes each
    needed, free = stored / 2 * BYTES_PER_WEIGHT, read_host().available_bytes
    if free < needed:
        raise SystemExit(
            f"a step takes about {format_bytes(needed)} and {format_bytes(free)} are free; end "
            "other programs, or choose --case tiny"
        )


def took(python: str, script: str, setup_file: Path, threads: int) -> Took:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(PEERS / script), str(setup_file)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} fails:\n{done.stderr[-2000:]}")
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def document(took: Took) -> Mapping[str, Json]:
    return {**vars(took), "rollout_tokens_per_s": took.tokens_per_s}


def cells(side: Sequence[Took]) -> list[str]:
    def middle(name: str) -> float:
        return median(getattr(one, name) for one in side)

    return [
        side[0].version,
        f"{middle('step_cpu_s'):,.2f}",
        f"{middle('step_s'):,.2f}",
        f"{middle('tokens_per_s'):,.1f}",
        f"{middle('rollout_cpu_s'):,.2f}",
        format_bytes(middle("peak_bytes")),
    ]


if __name__ == "__main__":
    main()
