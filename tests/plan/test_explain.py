import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from penjing.plan.explain import (
    explain,
    figure_rows,
    group_line,
    headline,
    memory_rows,
    quantity,
)
from penjing.plan.job import Objective, RlJob, ServeJob, TrainJob
from penjing.plan.plan import Basis, Plan, Predicted, ServeFigures, ServingGroup, TrainingGroup

KINDS = ["together", "apart", "side by side", "train", "rl in turn", "rl apart"]


@pytest.fixture(params=KINDS)
def plan(plans: dict[str, Plan], request: pytest.FixtureRequest) -> Plan:
    return plans[request.param]


def line_of(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_no_figure_is_nonsense_and_no_line_is_ragged(plan: Plan) -> None:
    text = explain(plan)
    assert not re.search(r"\b(nan|inf|None|Predicted|e[+-]\d\d)\b", text)
    assert not re.search(r"[a-z]+_(bytes|s|w|usd)\b", text)
    assert "\n\n\n" not in text
    assert text == text.strip("\n")


def test_everything_a_plan_says_is_in_its_text(plan: Plan) -> None:
    text = explain(plan)
    assert text.startswith(headline(plan) + "\n")
    lines = text.splitlines()
    for group in plan.groups:
        assert group_line(group) in lines
        assert str(group.layout) in group_line(group)
    for reason in (*plan.reasons, *plan.provenance):
        assert f"- {reason}" in lines
    for other in plan.alternatives:
        row = line_of(text, f"{other.layout}  ")
        assert f"{other.tokens_per_s:,.0f} tok/s" in row
        assert row.endswith(f"{other.behind:.1%}")
    assert f"{plan.layouts_tried:,} layouts tried" in text
    for reason, count in plan.infeasible.items():
        assert f"{count:,}: {reason}" in text


def test_every_figure_stands_with_its_interval_and_basis(plan: Plan) -> None:
    _, _, table, *_ = explain(plan).split("\n\n")
    for name, value, interval, basis in figure_rows(plan):
        row = line_of(table, f"{name}  ".removeprefix("  "))
        assert str(value) in row
        assert str(interval) in row
        assert str(basis) in row


def test_every_predicted_field_has_a_row(plan: Plan) -> None:
    """A figure added to a plan and forgotten here would be invisible."""
    fields = vars(plan.figures)
    shown = [f for f in fields.values() if isinstance(f, Predicted)]
    parts = [s for s in fields.get("parts_s", {}).values() if s > 0]
    rows = figure_rows(plan)
    assert len(rows) == len(shown) + len(parts)
    assert len({row[0] for row in rows}) == len(rows)


def test_every_pass_and_operator_of_weight_is_in_the_table(plan: Plan) -> None:
    text = explain(plan)
    for row in plan.operators:
        found = re.findall(
            rf"^{row.phase} +{row.name} .* {row.share:.1%} +{row.bound}\b", text, re.M
        )
        assert bool(found) == (row.share >= 0.005), row


def test_the_largest_part_and_the_gains_are_told_in_a_sentence(plan: Plan) -> None:
    first, text = plan.operators[0], explain(plan)
    assert (
        f"The largest part of {first.phase} is {first.name} ({first.share:.0%}), "
        f"bound by {first.bound}." in text
    )
    gains = ", ".join(f"{rate} {gain:+.1%}" for rate, gain in plan.gains.items())
    assert f"Throughput with 10 % more of: {gains}." in text


def test_memory_leaves_out_what_nobody_uses(plans: dict[str, Plan]) -> None:
    assert [row[0] for row in memory_rows(plans["together"])] == [
        *("weights", "cache", "activations", "reserved", "free", "capacity")
    ]
    train = [row[0] for row in memory_rows(plans["train"])]
    assert "cache" not in train
    assert {"gradients", "optimizer"} <= set(train)
    both = memory_rows(plans["rl apart"])
    assert all(len(row) == 3 for row in both)
    assert line_of(explain(plans["rl apart"]), "memory of").split()[-2:] == ["rollout", "train"]


def test_an_offloaded_optimizer_is_shown_in_host_memory(plans: dict[str, Plan]) -> None:
    plan = plans["train"]
    (group,) = plan.groups
    assert isinstance(group, TrainingGroup)
    memory = replace(group.memory, optimizer_bytes=0.0, host_bytes=3 * 2.0**30)
    moved = replace(plan, groups=(replace(group, offload=True, memory=memory),))
    assert line_of(explain(moved), "host ").split() == ["host", "3.0", "GiB"]
    assert "optimizer in host memory" in explain(moved)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            ServeJob(
                model="m",
                input_tokens=4096,
                output_tokens=1536,
                tpot_limit_s=0.05,
                ttft_limit_s=2.0,
                objective=Objective.USD,
            ),
            "serve 4,096 tokens in, 1,536 out, TPOT within 50 ms, TTFT within 2 s, best usd",
        ),
        (
            TrainJob(model="m", tokens=14.8e12, sequence=4096, batch=15360),
            "train on 14.8T tokens, 15,360 x 4,096 a step, best throughput",
        ),
        (
            TrainJob(model="m", tokens=1e9, sequence=128, batch=8),
            "train on 1B tokens, 8 x 128 a step, best throughput",
        ),
        (
            RlJob(
                model="m",
                prompts=64,
                group=16,
                input_tokens=1,
                output_tokens=1536,
                longest_output=6144,
            ),
            "GRPO, 64 prompts x 16 responses a step of 1,536 tokens, up to 6,144, best throughput",
        ),
    ],
)
def test_the_headline_says_what_was_asked(
    plans: dict[str, Plan], job: ServeJob | TrainJob | RlJob, expected: str
) -> None:
    assert headline(replace(plans["together"], job=job)) == f"m on 16xH20: {expected}"


def test_drafts_are_told_where_there_are_some(plans: dict[str, Plan]) -> None:
    (group,) = plans["together"].groups
    assert isinstance(group, ServingGroup)
    assert group.draft_depth > 0
    assert f", {group.draft_depth} drafted tokens a step, " in group_line(group)
    assert "drafted" not in group_line(replace(group, draft_depth=0))


def test_a_figure_nobody_knows_has_no_row(plans: dict[str, Plan]) -> None:
    plan = plans["together"]
    assert isinstance(plan.figures, ServeFigures)
    bare = replace(
        plan,
        figures=replace(
            plan.figures, power_w=None, joules_per_token=None, usd_per_million_tokens=None
        ),
    )
    assert len(figure_rows(bare)) == len(figure_rows(plan)) - 3
    assert not {"USD", "J", "W"} & set(
        re.split(r"\s", "\n".join(str(r) for r in figure_rows(bare)))
    )


def test_a_plan_without_runners_up_or_misfits_says_so(plans: dict[str, Plan]) -> None:
    alone = replace(plans["together"], alternatives=(), infeasible={}, points_tried=0)
    text = explain(alone)
    assert "runners-up" not in text
    assert f"\n{alone.layouts_tried} layouts tried. Fell: none.\n" in text


def test_columns_that_would_be_empty_are_left_out(plans: dict[str, Plan]) -> None:
    served, trained = explain(plans["together"]), explain(plans["train"])
    assert line_of(served, "runners-up").split()[1:] == [
        *("throughput", "TPOT", "TTFT", "behind", "by")
    ]
    assert line_of(trained, "runners-up").split()[1:] == ["throughput", "step", "behind", "by"]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1234.5, "tok/s", "1,234 tok/s"),
        (99.94, "tok/s", "99.9 tok/s"),
        (1.234, "/s", "1.23 /s"),
        (0.0471, "s", "47.1 ms"),
        (7200.0, "s", "2 h"),
        (0.537, "USD", "0.54 USD"),
        (12345.6, "USD", "12,345.60 USD"),
        (0.486, "%", "48.6%"),
        (82.2, "", "82.2"),
    ],
)
def test_a_quantity_has_the_digits_it_deserves(value: float, unit: str, expected: str) -> None:
    assert quantity(value, unit) == expected


def test_a_figure_without_an_interval_leaves_the_cell_empty(plans: dict[str, Plan]) -> None:
    plan = plans["together"]
    assert isinstance(plan.figures, ServeFigures)
    bare = Predicted(value=5.0, basis=Basis.ASSUMED)
    rows = figure_rows(replace(plan, figures=replace(plan.figures, tpot_s=bare)))
    assert ("time per output token", "5 s", "", Basis.ASSUMED) in rows


MakePlan = Callable[..., Plan]


@pytest.mark.parametrize("objective", Objective)
def test_every_objective_reads_well(planned: MakePlan, objective: Objective) -> None:
    job = ServeJob(
        model="R1-Distill-Qwen-1.5B", input_tokens=512, output_tokens=512, objective=objective
    )
    text = explain(planned(job, "1xH20"))
    assert text.splitlines()[0].endswith(f"best {objective}")
    assert not re.search(r"\b(nan|inf|None)\b", text)
