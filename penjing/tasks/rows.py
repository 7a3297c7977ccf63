"""Rows of tables: JSON lines, JSON lists, CSV, TSV, each also packed with gzip, and parquet."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from penjing.errors import BadFile

_MAX_BYTES = 4 << 30  # unpacked: a gigabyte of text takes several as objects
_MAX_LINE_BYTES = 64 << 20
_BOM = b"\xef\xbb\xbf"
_KINDS = ".jsonl, .json, .csv, .tsv (each also with .gz) or .parquet"


@dataclass(frozen=True, kw_only=True)
class Row:
    """``number`` counts from 1: the line a row begins on, or its position in a list."""

    number: int
    values: Mapping[str, Any]


def read_rows(path: Path, required: Sequence[str] = ()) -> list[Row]:
    """Every row has the ``required`` columns, with something in them; others may lack.

    Values of CSV and TSV are texts, those of the others what the file says. Raises ``BadFile``, in
    one line that names the file and the line, for whatever cannot be read as a whole.
    """
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if path.is_dir():
        raise BadFile(f"{path} is a folder; give a file that ends in {_KINDS}")
    if path.exists() and not path.is_file():
        raise BadFile(f"{path} is not a regular file; copy it into one first")
    try:
        rows = list(_rows(path, kind))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(f"{path} is not a whole gzip file: {error}; fetch it again") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}; check it") from None
    if not rows:
        raise BadFile(f"{path} holds no rows; give a file with one problem or more")
    for row in rows:
        _check_columns(path, row, required)
    return rows


def _rows(path: Path, kind: str) -> Iterable[Row]:
    match kind:
        case "jsonl" | "ndjson":
            return _json_lines(path)
        case "json":
            return _json_list(path)
        case "csv":
            return _table(path, ",")
        case "tsv":
            return _table(path, "\t")
        case "parquet" if not path.name.lower().endswith(".gz"):
            return _parquet(path)
        case _:
            raise BadFile(f"{path} is of no kind that is known; its name must end in {_KINDS}")


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if not line.isspace():
            found = _json(path, line.rstrip("\r\n"), number)
            yield Row(number=number, values=_object(path, f"line {number}", found))


def _json_list(path: Path) -> Iterator[Row]:
    text = "".join(line for _, line in _lines(path, max_line_bytes=_MAX_BYTES))
    if text.isspace() or not text:
        return
    found = _json(path, text, 1)
    if not isinstance(found, list):
        raise BadFile(f"{path} holds {_a(found)}; it must hold a list of objects")
    for number, item in enumerate(found, 1):
        yield Row(number=number, values=_object(path, f"item {number}", item))


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile(f"{path}: line {number}: {error}; quote it, or write .jsonl") from None
        if not fields:  # an empty line
            continue
        if header is None:
            header = _header(path, number, fields)
        elif len(fields) == len(header):
            yield Row(number=number, values=dict(zip(header, fields, strict=True)))
        else:
            raise BadFile(
                f"{path}: line {number} has {len(fields)} fields, the header has {len(header)}; "
                "quote fields that hold separators, quotes or line breaks"
            )


def _header(path: Path, number: int, fields: list[str]) -> list[str]:
    names = [name.strip() for name in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadFile(f"{path}: line {number} names {twice[0]!r} twice; rename one of the columns")
    return names


def _parquet(path: Path) -> Iterator[Row]:
    try:
        pyarrow = import_module("pyarrow")  # not among what Penjing installs
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise BadFile(
            f"{path}: to read parquet takes the package pyarrow; install it with "
            "`pip install pyarrow`, or convert the file to .jsonl"
        ) from None
    try:
        items: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise BadFile(f"{path} is not usable parquet: {_line_of(error)}; fetch it again") from None
    for number, item in enumerate(items, 1):
        yield Row(number=number, values=item)


def _lines(path: Path, max_line_bytes: int = _MAX_LINE_BYTES) -> Iterator[tuple[int, str]]:
    """Decoded with their ends, counted from 1; a byte order mark at the beginning is dropped."""
    left_bytes = _MAX_BYTES
    with _open(path) as file:
        number = 0
        while line := file.readline(max_line_bytes + 1):
            number += 1
            left_bytes -= len(line)
            if len(line) > max_line_bytes or left_bytes < 0:
                _refuse_size(path, number, max_line_bytes)
            if number == 1:
                line = line.removeprefix(_BOM)
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadFile(
                    f"{path}: line {number} is not UTF-8 (byte {error.start + 1} of it is "
                    f"0x{line[error.start]:02x}); save the file as UTF-8"
                ) from None


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _refuse_size(path: Path, number: int, max_line_bytes: int) -> NoReturn:
    if max_line_bytes < _MAX_BYTES:
        limit = f"a line may have {max_line_bytes >> 20} MiB, a file {_MAX_BYTES >> 30} GiB"
    else:
        limit = f"a file may have {_MAX_BYTES >> 30} GiB"
    raise BadFile(f"{path}: too much at line {number}: {limit}, unpacked; split it")


def _json(path: Path, text: str, first_line: int) -> Any:
    try:
        found = json.loads(text)
        if "\\u" in text:  # half of a surrogate pair can be escaped, and then never written again
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        more = "; name it .jsonl if each line is an object" if "Extra" in error.msg else ""
        raise BadFile(
            f"{path}: line {line} is not JSON: {error.msg}, at column {error.colno}{more}"
        ) from None
    except UnicodeEncodeError:
        raise BadFile(f"{path}: line {first_line} escapes half a surrogate pair; mend it") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: line {first_line} is not usable JSON: {_line_of(error)}") from None
    return found


def _object(path: Path, where: str, found: Any) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise BadFile(f"{path}: {where} is {_a(found)}; each row must be an object with columns")
    return found


def _check_columns(path: Path, row: Row, required: Sequence[str]) -> None:
    lacking = [name for name in required if row.values.get(name) is None]
    if lacking:
        has = ", ".join(map(repr, list(row.values)[:20])) or "none"
        raise BadFile(
            f"{path}: row {row.number} has nothing in {', '.join(map(repr, lacking))}; "
            f"its columns: {has}"
        )


def _a(found: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return names.get(type(found), "null" if found is None else "a number")


def _line_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
