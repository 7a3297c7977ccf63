"""From any row to a number, or to the reason why there is none."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.predict import predict
from penjing.plan.validate.row import COLUMNS, Row, read_rows

MakeRow = Callable[..., Row]
TEXTS = [column for column in COLUMNS if column != "value"]
# What tables hold where nobody expects it, and what breaks a number.
ODD = (
    *("", "0", "-1", "1e9", "1e400", "nan", ".", ",", "\u0663", "1.2.3", "\x00", "x.toml", "a/b"),
    *("TP0", "tp3pp5", "DEP7", "0P1D tp1", "layer split over 0", "cp64", "mtp-9", "vp0"),
    *("GBS 0 MBS 0", "0 micro-batches", "5 prompts @ 0 qps", "0 requests, rate inf", "QPS ."),
    *("avg total seq 0", "gen [TP,PP]=[0,0]", "G-GBS 0", "max 0", "0 bpw", "TPOT < 0"),
    *("DeepSeek-R1 (truncated to 0 layers)", "measured mean .", "avg KV ,", "not in summary"),
)
EXAMPLES = read_rows(Path(__file__).with_name("measurements.csv"))


@st.composite
def mutated(draw: st.DrawFn) -> Row:
    """A real row with one to four of its texts replaced by another row's, or by an odd one."""
    row = draw(st.sampled_from(EXAMPLES))
    columns = draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4, unique=True))
    changes: dict[str, Any] = {}
    for column in columns:
        texts = st.sampled_from([getattr(example, column) for example in EXAMPLES])
        changes[column] = draw(texts | st.sampled_from(ODD) | st.text(max_size=12))
    return replace(row, **changes)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_any_text_gives_a_finite_number_or_a_reason(row: Row) -> None:
    found = number_or_reason(row)
    assert found if isinstance(found, str) else 0 < found < math.inf


def number_or_reason(row: Row) -> float | str:
    try:
        return predict(row)
    except Unmapped as unmapped:
        return str(unmapped)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"phase": "kernel"}, "single kernels are what the efficiency curves were fitted to"),
        ({"phase": "singing"}, "phase 'singing' is not modelled"),
        ({"chip": "MetaX C500", "chips_total": "8", "parallelism": "tp8"}, "MetaX C500: "),
        ({"phase": "decode-only", "concurrency_or_batch": "0"}, "number of requests of zero"),
    ],
)
def test_why_a_row_has_no_prediction(row: MakeRow, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Unmapped, match=reason):
        predict(row(**changes))


def test_a_bug_is_not_taken_for_a_row_without_prediction(
    row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr("penjing.plan.validate.predict.serving", broken)
    with pytest.raises(ZeroDivisionError):
        predict(row())


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
def test_no_finite_number_is_no_prediction(
    row: MakeRow, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr("penjing.plan.validate.predict.serving", lambda _: value)
    with pytest.raises(Unmapped, match="no finite prediction"):
        predict(row())


def test_hiding_curves_matters_only_to_chips_that_have_some(row: MakeRow) -> None:
    own, relative = row(chip="H20"), row(chip="MI300X")
    assert predict(own) != predict(own, hide_own_curves=True)
    assert predict(relative) == predict(relative, hide_own_curves=True)


def test_real_rows_come_out_near_what_was_measured() -> None:
    found = [(number_or_reason(row), row.value) for row in EXAMPLES]
    errors = sorted(abs(math.log(p / value)) for p, value in found if isinstance(p, float))
    assert len(errors) > 0.8 * len(EXAMPLES)
    assert errors[len(errors) // 2] < 0.35
