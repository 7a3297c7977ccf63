"""Rows and outcomes to test with.

``measurements.csv`` holds 43 rows of public tables whose sources are under Apache-2.0 or MIT; each
names its own.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penjing.cost.interval import Metric
from penjing.plan.validate.outcome import Outcome
from penjing.plan.validate.row import Row

SERVED = Row(
    id="lab-1",
    source_url_or_repo_path="example.org/table",
    date="2025-06",
    model="Llama-3.1-8B",
    params_note="",
    precision_weights="BF16",
    precision_kv="",
    chip="H100 SXM",
    chips_total="1",
    nodes="1",
    engine="vLLM",
    engine_version="0.9",
    parallelism="tp1",
    phase="serving-online",
    input_len="1000",
    output_len="200",
    concurrency_or_batch="32",
    metric_name="output_tok_s_total",
    value=1000.0,
    unit="tok/s",
    notes="",
    source_key="lab",
    trust="A",
    leak_group="lab-1",
    chip_family="H100",
    model_family="Llama",
)


@pytest.fixture(scope="session")
def row() -> Callable[..., Row]:
    """A serving run of an 8B model on one H100 with 32 clients, changed as asked."""

    def build(**changes: Any) -> Row:
        return replace(SERVED, **changes)

    return build


@pytest.fixture(scope="session")
def outcome() -> Callable[..., Outcome]:
    """An outcome with ``predicted`` = ``ratio`` x measured; None: not predicted."""

    def build(
        ratio: float | None,
        *,
        metric: Metric = Metric.OFFLINE,
        within: bool = True,
        chip: str = "H100 SXM",
        derived: bool = False,
        **changes: Any,
    ) -> Outcome:
        names = {Metric.TPOT: "tpot_ms", Metric.TTFT: "ttft_ms"}
        changes = {"metric_name": names.get(metric, "output_tok_s_total"), **changes}
        measured = replace(SERVED, **{"phase": "serving-offline", **changes})
        if ratio is None:
            return Outcome(row=measured, metric=metric, reason="no such chip")
        predicted = ratio * measured.value
        reach = measured.value if within else measured.value * 2
        return Outcome(
            row=measured,
            metric=metric,
            predicted=predicted,
            low=reach * 0.9,
            high=reach * 1.1,
            chip=chip,
            derived=derived,
        )

    return build


@pytest.fixture(scope="session")
def measurements() -> Path:
    return Path(__file__).with_name("measurements.csv")
