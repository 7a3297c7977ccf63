"""What a verb hands to the front door, and the one kind of table there is."""

import dataclasses

import pytest

from penjing.cli.answer import Answer, table


def test_an_answer_is_yes_unless_it_says_no() -> None:
    assert Answer(document={}, text="").exit_status == 0
    assert Answer(document={}, text="", exit_status=1).exit_status == 1


def test_nobody_changes_an_answer_on_its_way_out() -> None:
    answer = Answer(document={"chips": 16}, text="16 chips")
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.text = "17 chips"  # type: ignore[misc]


def test_a_table_keeps_cells_as_they_are_written() -> None:
    text = table(["chip", "memory GiB"], [["H20", "96"], ["H20-3e", "1e3"], ["0012", "-"]])
    assert [line.split() for line in text.splitlines()] == [
        ["chip", "memory", "GiB"],
        ["------", "------------"],
        ["H20", "96"],
        ["H20-3e", "1e3"],
        ["0012", "-"],
    ]


def test_a_table_has_aligned_columns() -> None:
    header, _, *rows = table(["chip", "GiB"], [["H20-3e", "141"], ["L4", "24"]]).splitlines()
    assert [row.index(cell) for row, cell in zip(rows, ("141", "24"), strict=True)] == [
        header.index("GiB")
    ] * 2


def test_a_table_without_rows_is_its_header() -> None:
    assert table(["chip", "GiB"], []).splitlines()[0].split() == ["chip", "GiB"]
