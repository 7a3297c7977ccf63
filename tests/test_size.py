"""Short files, short functions, and a budget of lines for the whole package."""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
FILE_LINES = 400
FUNCTION_LINES = 60  # docstring and signature included
MEDIAN_FUNCTION_LINES = 10  # of the package
PACKAGE_LINES = 43_000  # raising it needs a line in docs/decisions.md


def sources(*folders: str) -> list[Path]:
    return sorted(f for folder in folders for f in (ROOT / folder).rglob("*.py"))


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def function_lines(file: Path) -> dict[str, int]:
    """Lines of every function and method, by file, name and line."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }


def test_files_are_short() -> None:
    found = {str(f.relative_to(ROOT)): lines(f) for f in sources("penjing", "tests", "benchmarks")}
    long = [f"{file} has {n} lines" for file, n in found.items() if n > FILE_LINES]
    assert not long, "\n".join(long)


def test_functions_are_short() -> None:
    files = sources("penjing", "tests", "benchmarks")
    found = {name: n for f in files for name, n in function_lines(f).items()}
    assert len(found) > 500
    long = [f"{name} has {n} lines" for name, n in found.items() if n > FUNCTION_LINES]
    assert not long, "\n".join(long)


def test_most_functions_are_very_short() -> None:
    found = [n for f in sources("penjing") for n in function_lines(f).values()]
    assert median(found) <= MEDIAN_FUNCTION_LINES


def test_the_package_stays_within_its_budget() -> None:
    total = sum(lines(f) for f in sources("penjing"))
    assert total <= PACKAGE_LINES, f"{total} lines; make room, or raise the budget with a reason"
