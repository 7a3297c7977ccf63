"""``penjing report``: from a folder to a page."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.cli import main
from penjing.report import at_scale
from tests.report.conftest import change, folder  # noqa: F401, fixtures


def test_a_folder_becomes_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert main(["report", str(folder), "--no-cost"]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "R1\u2019s size" not in text


def test_the_document_says_what_was_read(
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (folder / "zero" / "done.json").write_text("{")
    out = tmp_path / "page.html"
    assert main(["report", str(folder), "--no-cost", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(out)
    assert (found["stages"], found["done"]) == (5, 4)
    assert len(found["complaints"]) == 1
    assert out.is_file()
    assert not (folder / "report.html").exists()
    assert [f.name for f in tmp_path.glob(".page*")] == []


def test_costs_are_planned_unless_left_out(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(at_scale, "CHIPS", ())
    path = folder / "recipe.toml"
    path.write_text("", encoding="utf-8")  # nothing to plan
    assert main(["report", str(folder)]) == 0
    assert "nothing can be priced" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_can_be_written_again(
    folder: Path,  # noqa: F811
    change: Callable[..., None],  # noqa: F811
) -> None:
    assert main(["report", str(folder), "--no-cost"]) == 0
    change("run.json", seed=7)
    assert main(["report", str(folder), "--no-cost"]) == 0
    assert "seed 7" in (folder / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_written_leaves_nothing_behind(
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(folder.iterdir())
    assert main(["report", str(folder), "--no-cost", "--out", str(folder / "zero")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("words", [[], ["--out", "nowhere/page.html"]])
def test_wrong_commands_are_one_line(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = folder if words else tmp_path
    assert main(["report", str(run), "--no-cost", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("penjing report: ")
    assert error.count("\n") == 1
    assert ("cannot be written" if words else "holds no run") in error
