import os
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.tasks.benchmark_files import BENCHMARK_FILES, benchmark_of
from penjing.tasks.problem import Split


def test_figures_are_those_of_the_publishers() -> None:
    """openai/grade-school-math: 7.5K training and 1K test problems; HumanEval: 164."""
    found = {(f.name, f.split): f.rows for f in BENCHMARK_FILES.values()}
    assert found[("gsm8k", Split.TRAIN)] == 7473
    assert found[("gsm8k", Split.HELD_OUT)] == 1319
    assert found[("humaneval", Split.HELD_OUT)] == 164
    assert all(len(digest) == 64 for digest in BENCHMARK_FILES)


def test_a_file_that_changes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("a")
    # sha256 of "b"
    digest = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
    known = next(iter(BENCHMARK_FILES.values()))
    monkeypatch.setitem(BENCHMARK_FILES, digest, known)
    assert benchmark_of(path) is None
    path.write_text("b")
    os.utime(path, ns=(1, 1))
    assert benchmark_of(path) is known


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"none\.jsonl cannot be read: No such file"):
        benchmark_of(tmp_path / "none.jsonl")
