"""Figures in the documents are those of the last run that was written down."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from penjing.cli.validate import percent

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def first_of_each_name(text: str) -> dict[str, list[str]]:
    return {row[0]: row for row in reversed(rows(text))}


def test_the_readme_has_the_measured_errors() -> None:
    found = rows(read("README.md"))
    for name, score in result("validate")["summary"]["headline"].items():
        assert [
            name,
            str(score["leak_groups"]),
            percent(score["median_error"]),
            percent(score["mean_error"]),
            percent(score["bias"], signed=True),
            percent(score["interval_coverage"]),
        ] in found
    summary = result("validate")["summary"]
    scored, families = summary["coverage"]["scored"], len(summary["by_chip_family"])
    said = f"beside {scored:,} public measurements on {families} families of chips"
    assert said in read("README.md")


def test_the_summary_is_printed_as_it_is() -> None:
    summary, text = result("validate")["summary"], read("docs/results.md")
    found = first_of_each_name(text)
    for group in ("headline", "by_metric"):
        for name, score in summary[group].items():
            assert found[name][1:4] == [str(score[k]) for k in ("rows", "mapped", "leak_groups")]
            assert found[name][4] == percent(score["median_error"])
    assert f"({percent(summary['coverage']['share'])})" in text


def test_the_bars_of_the_first_release_are_met() -> None:
    """Coverage 80 %; 30 % median error of serving throughput, TPOT and pretraining."""
    summary = result("validate")["summary"]
    assert summary["coverage"]["share"] >= 0.8
    for name in ("serving throughput", "serving throughput, saturated", "TPOT"):
        assert summary["headline"][name]["median_error"] <= 0.30
    assert summary["headline"]["pretraining throughput"]["median_error"] <= 0.30


def test_the_table_of_plans_is_the_one_that_was_made() -> None:
    plans = result("plans")["plans"]
    found = first_of_each_name(read("docs/results.md"))
    assert len(plans) == 18
    for budget, plan in plans.items():
        shown = found[budget]
        if plan["fits"]:
            assert shown[1:3] == [plan["layout"], f"{plan['tokens_per_s']:,.0f}"]
        else:
            assert shown[1].startswith("does not fit")


@pytest.mark.parametrize("name", sorted(f.stem for f in RESULTS.glob("*.json")))
def test_a_result_says_where_and_when_and_of_what(name: str) -> None:
    found = result(name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
    assert found["commit_is_complete"] is True
    assert found["machine"]["cores"] >= 1


def test_the_contests_are_those_that_were_run() -> None:
    """A rate that is shown is the median that was measured, and what did not run says why."""
    found = [row for row in rows(read("docs/results.md")) if len(row) == 11]
    for contest in result("engine")["contests"]:
        named = [contest["model"], contest["requests"]]
        shown = next(
            row
            for row in found
            if row[:2] == named
            and row[3] == contest["dtype"]
            and contest["version"] in ("", row[2])
            and (contest["version"] or row[2] == contest["engine"])
        )
        if "not_run" in contest:
            assert shown[4] == f"not run: {contest['not_run']}"
        else:
            ratio = contest["ratio"]
            assert shown[8:] == [f"{ratio[k]:.2f}" for k in ("median", "min", "max")]


def test_parity_is_within_its_bars() -> None:
    variants = result("parity")["variants"]
    found = first_of_each_name(read("docs/results.md"))
    assert len(variants) > 20
    for name, figures in variants.items():
        assert name in found
        assert figures["logits, exact"] <= 1e-5
        assert figures["logits, exact, torch"] <= 1e-5
        assert figures.get("expanded, exact", 0) <= 1e-5
        assert figures["token by token"] == 0


def test_no_attack_pays_and_honest_answers_do() -> None:
    attacks, shown = result("attacks"), first_of_each_name(read("docs/results.md"))
    judges = attacks["judges"]
    assert all(not one["false_rewards"] and not one["refused_controls"] for one in judges)
    assert min(one["attacks"] for one in judges) >= 60
    assert not any(one["faults"] or one["stopped"] for one in judges)
    assert attacks["sandbox"]["attacks"] >= 50
    assert attacks["sandbox"]["succeeded"] == attacks["checker"]["succeeded"] == []
    assert shown["all"][2:4] == [f"{sum(one['tried'] for one in judges):,}", "0"]


def test_the_judge_of_mathematics_is_within_its_bars() -> None:
    found = result("judge")
    assert found["problems"] == 1319
    assert found["worked_solutions_accepted"] >= 0.995
    honest = [one for one in found["answers"] if one["is_honest"]]
    assert all(one["accepted"] >= 0.995 for one in honest)
    assert all(one["p99_s"] <= 0.05 for one in found["latency"])
    assert all(one["wall_s"] <= 2 for one in found["hostile"])
    many = found["parallel"]
    assert many["right"] == many["gradings"] == 1000
    assert many["workers_left"] == many["descriptors_left"] == 0


def test_memory_is_within_five_percent_of_its_plan() -> None:
    settings = result("memory")["settings"]
    assert len(settings) >= 6
    for one in settings:
        assert abs(one["error"]) <= 0.05
        assert one["error"] == one["planned_bytes"] / one["measured_bytes"] - 1
