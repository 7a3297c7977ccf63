"""DeepSeek-R1 on what people can get, and how long a plan takes.

    python benchmarks/plans.py

Plans R1 on 8, 16 and 32 of six chips, times the searches in seconds of one processor, and writes
`benchmarks/results/plans.json` (with machine, commit and date) and the tables of docs/results.md.
"""

import os
import subprocess
import sys
import time

from result import ROOT, publish, save, table

from penjing.cli.answer import Json
from penjing.errors import DoesNotFit
from penjing.hardware.budget import parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.plan.explain import quantity
from penjing.plan.job import ServeJob
from penjing.plan.plan import OperatorClass, Plan, ServeFigures, ServingGroup
from penjing.plan.planner import Terms, make_plan
from penjing.plan.price import prices
from penjing.plan.serving.search import search_serving

CHIPS = ("H20", "H800", "H200", "910B", "MI300X", "A800")
COUNTS = (8, 16, 32)
TIMED = ("8xH20", "16xH20", "32xH20", "64xH20", "512xH20", "16xH20+16x910B")
RUNS = 3
JOB = ServeJob(model="DeepSeek-R1", input_tokens=4096, output_tokens=1536, tpot_limit_s=0.050)
HEADERS = ("chips", "layout", "tok/s", "a chip", "TPOT", "TTFT", "decode is limited by", "+10 %")


def main() -> None:
    model = load_model(JOB.model)
    cells = {f"{n}x{chip}": plan_on(model, f"{n}x{chip}") for chip in CHIPS for n in COUNTS}
    timings = {budget: timed(model, budget) for budget in TIMED}
    save(
        "plans",
        {
            "job": "4,096 tokens in, 1,536 out, TPOT within 50 ms",
            "plans": {budget: cell(outcome) for budget, outcome in cells.items()},
            "seconds": timings,
        },
    )
    publish("plans", [table(HEADERS, [row(b, outcome) for b, outcome in cells.items()])])
    headers = ("chips", "search, CPU s", "whole command, CPU s", "whole command, wall s")
    seconds = ((b, *(f"{value:.2f}" for value in t.values())) for b, t in timings.items())
    publish("seconds", [table(headers, seconds)])


def plan_on(model: ModelConfig, chips: str) -> Plan | DoesNotFit:
    budget = parse_budget(chips, load_catalogue())
    try:
        return make_plan(model, JOB, budget, Terms(prices=prices(budget, {})))
    except DoesNotFit as error:
        return error


def cell(outcome: Plan | DoesNotFit) -> Json:
    if isinstance(outcome, DoesNotFit):
        return {"fits": False, "shortfall_bytes": outcome.shortfall_bytes}
    figures = outcome.figures
    assert isinstance(figures, ServeFigures)
    return {
        "fits": True,
        "layout": layout(outcome),
        "tokens_per_s": figures.tokens_per_s.value,
        "tokens_per_s_interval": [figures.tokens_per_s.low, figures.tokens_per_s.high],
        "tpot_s": figures.tpot_s.value,
        "ttft_s": figures.ttft_s.value,
        "basis": figures.tokens_per_s.basis,
        "gains": outcome.gains,
    }


def row(budget: str, outcome: Plan | DoesNotFit) -> list[str]:
    if isinstance(outcome, DoesNotFit):
        lacks = f"does not fit: {outcome.shortfall_bytes / 2**30:.1f} GiB short a chip"
        return [budget, lacks, *[""] * (len(HEADERS) - 2)]
    figures = outcome.figures
    assert isinstance(figures, ServeFigures)
    held = "; ".join(limit(r) for r in decode(outcome)[:2])
    rate, gain = max(outcome.gains.items(), key=lambda item: item[1])
    return [
        budget,
        layout(outcome),
        f"{figures.tokens_per_s.value:,.0f}",
        f"{figures.tokens_per_s_per_chip.value:,.0f}",
        quantity(figures.tpot_s.value, "s"),
        quantity(figures.ttft_s.value, "s"),
        held,
        f"{rate} {gain:+.1%}",
    ]


def layout(plan: Plan) -> str:
    groups = [g for g in plan.groups if isinstance(g, ServingGroup)]
    parts = []
    for g in groups:
        role = "" if g.role == "serve" else f"{g.role} "
        parts.append(
            f"{role}{g.instances} x [{g.layout}] {g.weights}/{g.cache}, {g.draft_depth} drafted"
        )
    return "; ".join(parts)


def decode(plan: Plan) -> list[OperatorClass]:
    return [r for r in plan.operators if r.phase == "decode"]


def limit(operators: OperatorClass) -> str:
    return f"{operators.name} {operators.share:.0%} ({operators.bound})"


def timed(model: ModelConfig, chips: str) -> dict[str, float]:
    """Least of a few runs: CPU seconds of the search and of the whole command, wall time of it."""
    runs = [timed_once(model, chips) for _ in range(RUNS)]
    return {part: min(run[part] for run in runs) for part in runs[0]}


def timed_once(model: ModelConfig, chips: str) -> dict[str, float]:
    budget = parse_budget(chips, load_catalogue())
    started = time.process_time()
    search_serving(model, JOB, budget, Terms().limits, {})
    search = time.process_time() - started
    command = [sys.executable, "-m", "penjing", "plan", "--model", JOB.model, "--chips", chips]
    command += ["--input", "4096", "--output", "1536", "--tpot", "50ms", "--json"]
    wall, spent = time.monotonic(), children_s()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return {
        "search": search,
        "command": children_s() - spent,
        "wall": time.monotonic() - wall,
    }


def children_s() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


if __name__ == "__main__":
    main()
