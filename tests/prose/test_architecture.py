"""Every path that a document or a comment names is there, down to the test it names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md")
FOUND = (str(f.relative_to(ROOT)) for f in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
DOCUMENTS = sorted({*NEEDED, *FOUND})
PATH = re.compile(r"(?<![\w/.-])(?:penjing|tests|docs|benchmarks)/(?:[\w./*-]*[\w/*])?(?:::\w+)?")


def named(text: str) -> list[str]:
    """Paths in inline code and in links."""
    spans = re.findall(r"`([^`\n]+)`|\]\(([^)\s]+)\)", text)
    return [path for span in spans for part in span for path in PATH.findall(part)]


def missing(path: str) -> str:
    """What of ``penjing/room/file.py`` or ``tests/test_x.py::test_y`` is not there."""
    file, _, test = path.partition("::")
    if not any(ROOT.glob(file)):
        return path
    there = not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
    return "" if there else path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_named_in_documents_exist(document: str) -> None:
    file = ROOT / document
    assert file.is_file(), f"{document} is missing"
    gone = [m for m in map(missing, named(file.read_text(encoding="utf-8"))) if m]
    assert not gone, f"{document} names {', '.join(gone)}"


def test_paths_named_in_code_exist() -> None:
    gone = []
    for file in sorted((ROOT / "penjing").rglob("*.py")):
        found = PATH.findall(file.read_text(encoding="utf-8"))
        gone += [f"{file.relative_to(ROOT)} names {m}" for m in map(missing, found) if m]
    assert not gone, "\n".join(gone)


def test_paths_are_found_and_missed() -> None:
    text = "`penjing/units.py`, `python benchmarks/no.py X`, [legend](docs/notation.md), tests/no"
    text += " and `see docs/help.md.`"
    there = ["penjing/units.py", "benchmarks/no.py", "docs/notation.md", "docs/help.md"]
    assert named(text) == there
    assert missing("penjing/units.py") == ""
    assert missing("penjing/hardware/chips/*.toml") == ""
    assert missing("penjing/hardware/") == ""
    assert missing("penjing/hardware/*.json") == "penjing/hardware/*.json"
    here = "tests/prose/test_architecture.py"
    assert missing(f"{here}::test_paths_are_found_and_missed") == ""
    assert missing(f"{here}::test_no_such") == f"{here}::test_no_such"
