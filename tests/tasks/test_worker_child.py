"""What a worker does with a question, in this very process; and how it loads functions."""

import os
from pathlib import Path
from typing import Any

import pytest

from penjing.tasks.worker_child import answer, line_of, load, read_line


def test_answers_and_failures() -> None:
    assert answer(lambda q: q["a"] + 1, {"a": 1}, 5.0) == {"answer": 2}
    assert answer(lambda q: q["x"], {}, 5.0) == {"failure": "raised", "message": "KeyError: 'x'"}
    assert answer(lambda q: object(), {}, 5.0)["failure"] == "raised"
    assert answer(lambda q: exit(3), {}, 5.0) == {"failure": "raised", "message": "SystemExit: 3"}

    def eats(question: Any) -> None:
        raise MemoryError

    assert answer(eats, {}, 5.0)["failure"] == "memory"


def test_functions_are_loaded_from_modules_and_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import beside\ndef f(q): return beside.g(q)\nnumber = 3\n", encoding="utf-8")
    (tmp_path / "beside.py").write_text("def g(q): return q * 2\n", encoding="utf-8")
    assert load(f"{file}:f")(4) == 8
    assert load("math:sqrt")(9) == 3
    with pytest.raises(AttributeError):
        load(f"{file}:lacking")
    with pytest.raises(TypeError, match="number is no function"):
        load(f"{file}:number")
    with pytest.raises(FileNotFoundError):
        load(f"{tmp_path / 'nothing.py'}:f")


def test_lines_come_in_parts_and_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"ab")
    os.write(writing, b"c\n")
    assert read_line(reading, os.getppid()) == b"abc\n"
    assert read_line(reading, parent=-1, watch_s=0.01) is None  # whoever started it is gone
    os.close(writing)
    assert read_line(reading, os.getppid()) is None
    os.close(reading)


def test_an_error_is_one_line() -> None:
    assert line_of(ValueError("a\nb" + "x" * 999)).count("\n") == 0
    assert len(line_of(ValueError("x" * 999))) < 350
