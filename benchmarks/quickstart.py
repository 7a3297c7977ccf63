"""The quickstart from several seeds: what every stage can do, and whether the orderings hold.

    python benchmarks/quickstart.py [--seeds 5] [--runs runs/quickstart-seeds] [--side-by-side 2]

Runs `penjing train quickstart` for each seed, on one thread each, and goes on with runs that were
stopped. Writes `benchmarks/results/quickstart.json` (with machine, commit and date) and the tables
of docs/results.md. Intervals are Student's t over seeds, 95 %.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from result import publish, save, table

from penjing.cli.answer import Json

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
BAR_POINTS = 25.0  # of R1-Zero over its base, on every seed

Figures = Mapping[str, float]
Stages = Mapping[str, Figures]
Holds = Callable[[Stages], bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/quickstart-seeds"))
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.side_by_side) as pool:
        found = list(pool.map(lambda seed: run(arguments.runs, seed), range(arguments.seeds)))
    document = summary(found)
    document["side_by_side"] = arguments.side_by_side
    save("quickstart", document)
    publish("quickstart", parts(document))


def run(runs: Path, seed: int) -> Stages:
    folder = runs / str(seed)
    command = [sys.executable, "-m", "penjing", "train", "quickstart", "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--run-dir", str(folder), "--resume", "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"seed {seed}: {done.stderr.splitlines()[-1]}")
    paths = sorted(folder.glob("*/done.json"), key=lambda path: path.stat().st_mtime)
    return {path.parent.name: figures(json.loads(path.read_text())) for path in paths}


def figures(done: Mapping[str, Json]) -> Figures:
    """Of a stage: shares in percent, lengths in tokens."""
    found: dict[str, float] = {
        "wall_s": float(str(done["wall_s"])),
        "peak_bytes": float(str(done["peak_bytes"])),
    }
    predicted = done["predicted"]
    assert isinstance(predicted, dict)
    found["predicted_s"] = float(predicted["seconds"])
    found["predicted_bytes"] = float(predicted["bytes"])
    measures = done["measures"]
    if isinstance(measures, dict) and done["kind"] != "reject":
        found["pass@1"] = 100 * measures["pass_at_k"]["1"]["value"]
        found["cons@16"] = 100 * measures["consensus"]["value"]
        found["tokens"] = measures["lengths"]["mean"]
        others = done["others"]
        assert isinstance(others, dict)
        for name, other in others.items():
            found[name] = 100 * other["pass_at_k"]["1"]["value"]
    return found


def summary(found: Sequence[Stages]) -> dict[str, Json]:
    stages: dict[str, Json] = {}
    for name in found[0]:
        stages[name] = {key: interval([one[name][key] for one in found]) for key in found[0][name]}
    return {
        "seeds": len(found),
        "stages": stages,
        "orderings": {name: [holds(one) for one in found] for name, holds in ORDERINGS.items()},
        "runs": [{name: dict(one) for name, one in stages.items()} for stages in found],
    }


def interval(values: Sequence[float]) -> dict[str, Json]:
    middle = fmean(values)
    if len(values) < 2:
        return {"mean": middle, "low": None, "high": None}
    half = _T[len(values) - 2] * stdev(values) / sqrt(len(values))
    return {"mean": middle, "low": middle - half, "high": middle + half}


def above(better: str, worse: str, key: str = "pass@1", by: float = 0.0) -> Holds:
    return lambda stages: stages[better][key] >= stages[worse][key] + by


ORDERINGS: Mapping[str, Holds] = {
    f"R1-Zero is {BAR_POINTS:.0f} points above its base": above("zero", "base", by=BAR_POINTS),
    "R1-Zero writes longer than its base": above("zero", "base", "tokens"),
    "R1-Zero: consensus of 16 above one sample": (
        lambda stages: stages["zero"]["cons@16"] > stages["zero"]["pass@1"]
    ),
    "rejection, SFT and RL 2 reach RL 1": above("rl2", "rl1"),
    "distillation is above RL alone, on the student": above("student_distilled", "student_rl"),
}


def parts(document: Mapping[str, Json]) -> list[str]:
    stages, orderings = document["stages"], document["orderings"]
    assert isinstance(stages, dict)
    assert isinstance(orderings, dict)
    keys = ("pass@1", "cons@16", "tokens", "words", "countdown")
    rows = [
        (name, *(shown(one[key]) for key in keys), f"{one['wall_s']['mean']:.0f} s")
        for name, one in stages.items()
        if "pass@1" in one
    ]
    held = [(name, f"{sum(each)} of {len(each)}") for name, each in orderings.items()]
    return [
        f"{document['seeds']} seeds, each stage measured on 100 held-out problems with 16 samples "
        "each, at temperature 1; in percent but for tokens, means over seeds with 95 % intervals.",
        table(("stage", *keys, "time"), rows),
        table(("what should hold", "seeds"), held),
    ]


def shown(found: Mapping[str, float | None]) -> str:
    low, high = found["low"], found["high"]
    said = f"{found['mean']:.1f}"
    return said if low is None or high is None else f"{said} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
