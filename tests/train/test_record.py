"""What is written of each step, and how much of it stays."""

import json
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.train.record import Record, read_record


def test_facts_and_times_go_to_files_of_their_own(tmp_path: Path) -> None:
    record = Record(tmp_path / "run")
    record.append({"step": 0, "loss": 1.5}, {"wall_s": 0.25})
    record.append({"step": 1, "loss": float("nan")}, {"wall_s": 0.5})
    record.sync()
    assert read_record(tmp_path / "run") == [{"step": 0, "loss": 1.5}, {"step": 1, "loss": "nan"}]
    times = (tmp_path / "run" / "times.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in times] == [
        {"wall_s": 0.25, "step": 0},
        {"wall_s": 0.5, "step": 1},
    ]


def test_what_came_after_the_snapshot_is_dropped(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.append({"step": 0}, {})
    size = record.size_bytes
    record.append({"step": 1}, {})
    again = Record(tmp_path, size)
    assert read_record(tmp_path) == [{"step": 0}]
    again.append({"step": 1}, {})
    assert len(read_record(tmp_path)) == 2
    assert Record(tmp_path).size_bytes == 0  # anew


def test_a_record_that_is_too_short_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    Record(tmp_path).append({"step": 0}, {})
    with pytest.raises(BadFile, match="fewer than when the snapshot was taken"):
        Record(tmp_path, 10_000)
    assert len(read_record(tmp_path)) == 1
    (tmp_path / "record.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(BadFile, match="cannot be read"):
        read_record(tmp_path)
    with pytest.raises(BadFile, match="cannot be written"):
        Record(tmp_path / "record.jsonl" / "below")
