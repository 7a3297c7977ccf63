import gzip
import json
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.tasks.rows import read_rows

TWO = [{"question": "1 + 1?", "answer": "2"}, {"question": "é\nü?", "answer": "3"}]


def written(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\n".join(json.dumps(row) for row in TWO)),
        ("a.jsonl", "\ufeff" + "\r\n\r\n".join(json.dumps(row) for row in TWO) + "\r\n"),
        ("a.json", json.dumps(TWO, indent=2, ensure_ascii=False)),
        ("a.csv", 'question,answer\r\n1 + 1?,2\r\n"é\nü?",3\r\n'),
        ("a.tsv", 'question\tanswer\n1 + 1?\t2\n\n"é\nü?"\t3\n'),
    ],
)
def test_every_kind_gives_the_same_rows(
    name: str, content: str, packed: str, tmp_path: Path
) -> None:
    rows = read_rows(written(tmp_path / f"{name}{packed}", content), ("question", "answer"))
    assert [dict(row.values) for row in rows] == TWO


def test_numbers_are_lines_or_positions(tmp_path: Path) -> None:
    lines = written(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": [1, {"b": null}]}\n')
    assert [(row.number, row.values["a"]) for row in read_rows(lines)] == [
        (1, 1),
        (3, [1, {"b": None}]),
    ]
    assert [row.number for row in read_rows(written(tmp_path / "a.json", "[{}, {}]"))] == [1, 2]
    table = written(tmp_path / "a.csv", 'a\n"1\n2"\n3\n')
    assert [row.number for row in read_rows(table)] == [2, 4]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", "", "holds no rows"),
        ("a.json", " ", "holds no rows"),
        ("a.json", '{"a": 1}', "holds an object; it must hold a list"),
        ("a.json", "[1]", "item 1 is a number"),
        ("a.jsonl", '{"a": 1}\n[]\n', "line 2 is a list; each row must be an object"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2 is not JSON: "),
        ("a.json", '[\n{"a": 1},\n]', "line 3 is not JSON: "),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "line 2 is not UTF-8 (byte 8 of it is 0xff)"),
        ("a.jsonl", '{"a": "\\ud800"}\n', "line 1 escapes half a surrogate pair"),
        ("a.jsonl", '{"b": 1}\n', "row 1 has nothing in 'a'; its columns: 'b'"),
        ("a.jsonl", '{"a": null}\n', "row 1 has nothing in 'a'"),
        ("a.csv", "a,a\n1,2\n", "line 1 names 'a' twice"),
        ("a.csv", "a,b\n1\n", "line 2 has 1 fields, the header has 2"),
        ("a.txt", "a", "is of no kind that is known"),
        ("a.parquet.gz", "a", "is of no kind that is known"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    name: str, content: str | bytes, line: str, tmp_path: Path
) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(BadFile) as caught:
        read_rows(path, ("a",))
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is a folder"):
        read_rows(tmp_path)
    with pytest.raises(BadFile, match="cannot be read: No such file"):
        read_rows(tmp_path / "none.jsonl")
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-12])
    with pytest.raises(BadFile, match="is not a whole gzip file"):
        read_rows(torn)
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(b'{"a": 1}\n')
    with pytest.raises(BadFile, match="is not a whole gzip file"):
        read_rows(plain)
