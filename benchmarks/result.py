"""What every benchmark does with its result: a JSON file, and tables in docs/results.md."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tabulate import tabulate

from penjing.cli.answer import Json
from penjing.hardware.host import read_host

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "results.md"


def save(name: str, result: Mapping[str, Json]) -> None:
    """``benchmarks/results/NAME.json``, with machine, commit and date."""
    document = {**circumstances(), **result}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write(ROOT / "benchmarks" / "results" / f"{name}.json", text)


def publish(name: str, parts: Iterable[str]) -> None:
    """Puts ``parts`` between ``<!-- name -->`` and ``<!-- end name -->`` of docs/results.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{DOCUMENT} has no part {name!r}")
    body = "".join(f"\n{part}\n" for part in parts)
    write(DOCUMENT, f"{before}{begin}{body}\n{end}{after}")


def circumstances() -> dict[str, Json]:
    host = read_host()
    return {
        "date": today(),
        "commit": git("rev-parse", "HEAD"),
        "commit_is_complete": not git("status", "--porcelain", "--", "penjing"),
        "machine": {"cpu": host.cpu, "cores": host.cores},
    }


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return tabulate(list(rows), headers=headers, tablefmt="github", disable_numparse=True)
