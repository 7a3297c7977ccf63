"""Reading a file of measurements: exact columns, and errors that name the line."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.plan.validate.row import COLUMNS, Row, read_rows


def written(path: Path, rows: list[Mapping[str, object]], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        lines = csv.DictWriter(file, COLUMNS)
        lines.writeheader()
        lines.writerows(rows)
    return path


def test_rows_come_back_as_written(row: Callable[..., Row], tmp_path: Path) -> None:
    rows = [row(), row(id="2", value=0.5, notes='a, "b"\nc')]
    assert read_rows(written(tmp_path / "m.csv", [asdict(r) for r in rows])) == rows


def test_a_byte_order_mark_is_no_part_of_the_first_column(
    row: Callable[..., Row], tmp_path: Path
) -> None:
    file = written(tmp_path / "m.csv", [asdict(row())], encoding="utf-8-sig")
    assert read_rows(file) == [row()]


def test_a_header_alone_is_an_empty_file(tmp_path: Path) -> None:
    assert read_rows(written(tmp_path / "m.csv", [])) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fast", "line 3: value 'fast' is not a number"),
        ("0", "line 3: value '0' must be above zero and finite"),
        ("-1", "line 3: value '-1' must be above zero and finite"),
        ("nan", "line 3: value 'nan' must be above zero and finite"),
        ("inf", "line 3: value 'inf' must be above zero and finite"),
    ],
)
def test_a_bad_value_names_its_line(
    value: str, message: str, row: Callable[..., Row], tmp_path: Path
) -> None:
    file = written(tmp_path / "m.csv", [asdict(row()), {**asdict(row()), "value": value}])
    with pytest.raises(BadFile) as caught:
        read_rows(file)
    assert str(caught.value) == f"{file} {message}"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (COLUMNS[1:], "it lacks id"),
        ((*COLUMNS, "mood"), "it has unknown mood"),
        (tuple(reversed(COLUMNS)), "it has them in another order"),
        ((), "it lacks id, source_url_or_repo_path"),
    ],
)
def test_other_columns_are_refused(header: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text(",".join(header) + "\n", encoding="utf-8")
    with pytest.raises(BadFile, match=message):
        read_rows(file)


def test_a_short_line_names_itself(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text(",".join(COLUMNS) + "\na,b\n", encoding="utf-8")
    with pytest.raises(BadFile, match="line 2: 26 fields are needed"):
        read_rows(file)


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_what_is_no_file_is_said_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"no such file|is a folder"):
        read_rows(tmp_path / name)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_bytes(b"\xff\xfe\x00id")
    with pytest.raises(BadFile, match="not a readable CSV file"):
        read_rows(file)
