"""One measurement as its file spells it."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from penjing.errors import BadFile


@dataclass(frozen=True, kw_only=True)
class Row:
    """The columns of a measurements file; only ``value`` is a number, the rest is as written."""

    id: str
    source_url_or_repo_path: str
    date: str
    model: str
    params_note: str
    precision_weights: str
    precision_kv: str
    chip: str
    chips_total: str
    nodes: str
    engine: str
    engine_version: str
    parallelism: str
    phase: str
    input_len: str
    output_len: str
    concurrency_or_batch: str
    metric_name: str
    value: float
    unit: str
    notes: str
    source_key: str
    trust: str
    leak_group: str
    chip_family: str
    model_family: str


COLUMNS = tuple(field.name for field in fields(Row))


def read_rows(path: Path) -> list[Row]:
    """All rows of a CSV file with exactly ``COLUMNS``; raises ``BadFile`` naming the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            _check_header(path, lines.fieldnames)
            return [_row(path, lines.line_num, raw) for raw in lines]
    except FileNotFoundError:
        raise BadFile(f"{path}: no such file; give a CSV file of measurements") from None
    except IsADirectoryError:
        raise BadFile(f"{path}: is a folder; give a CSV file of measurements") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path}: not a readable CSV file: {error}") from None


def _check_header(path: Path, header: object) -> None:
    found = list(header) if isinstance(header, list) else []
    if found == list(COLUMNS):
        return
    missing = [c for c in COLUMNS if c not in found]
    extra = [c for c in found if c not in COLUMNS]
    what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(extra)}"
    if not missing and not extra:
        what = "has them in another order"
    raise BadFile(f"{path}: the columns are those of a measurements file, but it {what}")


def _row(path: Path, line: int, raw: dict[str, str]) -> Row:
    if None in raw or None in raw.values():
        raise BadFile(f"{path} line {line}: {len(COLUMNS)} fields are needed")
    try:
        value = float(raw["value"])
    except ValueError:
        raise BadFile(f"{path} line {line}: value {raw['value']!r} is not a number") from None
    if not 0 < value < float("inf"):
        raise BadFile(f"{path} line {line}: value {raw['value']!r} must be above zero and finite")
    return Row(**{**raw, "value": value})  # type: ignore[arg-type]
