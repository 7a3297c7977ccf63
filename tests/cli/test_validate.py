import json
import sys
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main
from penjing.plan.validate.row import COLUMNS, read_rows

MEASUREMENTS = Path(__file__).parents[1] / "plan" / "validate" / "measurements.csv"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["validate", *words])
    out, err = capsys.readouterr()
    return status, out, err


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    status, out, _ = run(capsys, *words, "--json")
    assert status == 0
    parsed: dict[str, Any] = json.loads(out)
    return parsed


@pytest.fixture
def empty(tmp_path: Path) -> str:
    file = tmp_path / "empty.csv"
    file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    return str(file)


def test_every_row_is_answered_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, str(MEASUREMENTS))
    rows = read_rows(MEASUREMENTS)
    assert list(found) == ["rows", "summary"]
    assert [r["id"] for r in found["rows"]] == [r.id for r in rows]
    assert [r["measured"] for r in found["rows"]] == [r.value for r in rows]
    for one in found["rows"]:
        assert list(one) == ["id", "predicted", "low", "high", "measured", "error", "reason"]
        if one["predicted"] is None:
            assert one["low"] is one["high"] is one["error"] is None
            assert one["reason"]
        else:
            assert one["reason"] is None
            assert one["error"] == pytest.approx(one["predicted"] / one["measured"] - 1)
            assert 0 < one["low"] < one["high"]


def test_the_summary_counts_what_the_rows_say(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, str(MEASUREMENTS))
    rows, summary = found["rows"], found["summary"]
    predicted = sum(r["predicted"] is not None for r in rows)
    assert list(summary) == [
        *("coverage", "headline", "by_metric", "by_chip_family", "by_model_family"),
        *("by_source", "by_engine", "unmapped"),
    ]
    assert summary["coverage"]["rows"] == len(rows) == 43
    assert sum(summary["unmapped"].values()) + predicted == 43
    assert summary["coverage"]["mapped"] == predicted  # none of them ambiguous
    assert sum(g["rows"] for g in summary["by_source"].values()) == 41
    h20 = summary["by_chip_family"]["H20"]
    assert h20["rows"] == sum(m["rows"] for m in h20["by_metric"].values()) == 4
    assert h20["bias"] is not None


def test_folds_come_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "folds" not in document(capsys, str(MEASUREMENTS))["summary"]
    folds = document(capsys, str(MEASUREMENTS), "--folds")["summary"]["folds"]
    assert list(folds) == ["leave_one_source_out", "leave_one_chip_out"]
    offline = folds["leave_one_source_out"]["offline-throughput"]
    assert offline["overall"]["leak_groups"] == 6
    assert "trtllm-perf-v1.0" in offline["parts"]
    assert "B200" in folds["leave_one_chip_out"]["offline-throughput"]["parts"]


def test_the_text_has_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, str(MEASUREMENTS), "--worst", "2", "--folds")
    assert (status, err) == (0, "")
    assert out.startswith("43 rows: 1 of single kernels, 1 ambiguous (trust C), 41 scored; ")
    firsts = [line.split("  ")[0] for line in out.splitlines()]
    for table in ("headline", "metric", "chip family", "model family", "source", "engine"):
        assert table in firsts
    assert "number of chips not stated" in out
    assert sum(" too fast  " in line or " too slow  " in line for line in out.splitlines()) == 2
    assert "leave one source out" in firsts
    assert "leave one chip out" in firsts


@pytest.mark.parametrize("worst", ["0", "-3"])
def test_the_worst_may_be_left_out(capsys: pytest.CaptureFixture[str], worst: str) -> None:
    _, out, _ = run(capsys, str(MEASUREMENTS), "--worst", worst)
    assert "worst runs" not in out


def test_an_empty_file_is_a_clear_answer(capsys: pytest.CaptureFixture[str], empty: str) -> None:
    assert run(capsys, empty) == (0, f"{empty} has no rows: nothing to compare\n", "")
    found = document(capsys, empty, "--folds")
    assert found["rows"] == []
    assert found["summary"]["coverage"]["share"] is None
    assert found["summary"]["headline"]["TPOT"]["median_error"] is None


def test_other_columns_are_a_wrong_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    status, out, err = run(capsys, str(file), "--json")
    assert status == 2
    assert json.loads(out)["error"]["type"] == "BadFile"
    assert err.startswith(f"penjing validate: {file}: the columns are those of a measurements file")


def test_progress_is_told_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penjing.cli.validate._PROGRESS_ROWS", 20)
    assert run(capsys, str(MEASUREMENTS))[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(capsys, str(MEASUREMENTS))[2] == "20 of 43 rows\n40 of 43 rows\n"
