"""The rooms open downwards only, and planning needs no torch."""

import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS_TORCH = frozenset(  # modules and whole packages that may import it
    {
        "penjing.engine",
        "penjing.evaluate.local",
        "penjing.models.arithmetic",
        "penjing.models.attention",
        "penjing.models.checkpoint",
        "penjing.models.decoder",
        "penjing.models.feed_forward",
        "penjing.models.fp8",
        "penjing.models.kernels",
        "penjing.models.packed",
        "penjing.models.parameter",
        "penjing.models.rope",
        "penjing.models.router",
        "penjing.models.run",
        "penjing.models.safetensors_files",
        "penjing.models.saving",
        "penjing.models.shard_files",
        "penjing.train",
    }
)
FREE_BY_NATURE = ("penjing.cli", "penjing.__main__")  # they reach torch late, inside a verb

LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_logo=True))"
IMPORT_ALL = """
import importlib, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "starlette", "fastapi"):
            raise ImportError(f"{name} is not needed for planning")
sys.meta_path.insert(0, NoTorch())
for name in sys.argv[1:]:
    importlib.import_module(name)
print("torch" in sys.modules)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def modules() -> list[str]:
    files = (f.relative_to(ROOT).with_suffix("") for f in ROOT.glob("penjing/**/*.py"))
    return sorted(".".join(f.parts) for f in files if f.name != "__init__")


def modules_without_torch() -> list[str]:
    return [m for m in modules() if not any(f"{m}.".startswith(f"{p}.") for p in NEEDS_TORCH)]


def test_the_contracts_of_the_rooms_are_kept() -> None:
    done = run("-c", LINT)
    assert done.returncode == 0, done.stdout
    assert "Contracts: 3 kept, 0 broken." in done.stdout


def test_every_module_comes_without_torch() -> None:
    free = modules_without_torch()
    assert len(free) > 50
    done = run("-c", IMPORT_ALL, *free)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False\n"


def test_the_contract_covers_every_module_that_needs_no_torch() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = {c["name"]: c for c in tool["importlinter"]["contracts"]}
    covered = (*contracts["Planning needs no torch"]["source_modules"], *FREE_BY_NATURE)
    free = modules_without_torch()
    bare = [m for m in free if not any(f"{m}.".startswith(f"{c}.") for c in covered)]
    gone = [c for c in covered if not any(f"{m}.".startswith(f"{c}.") for m in free)]
    assert not bare, f"add to the contract in pyproject.toml: {', '.join(bare)}"
    assert not gone, f"take out of the contract in pyproject.toml: {', '.join(gone)}"


def cpu_seconds(code: str) -> float:
    """Least CPU time of three processes that run ``code``: machines are noisy."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


@pytest.mark.parametrize(("module", "most"), [("penjing", 0.3), ("penjing.cli", 1.0)])
def test_the_package_starts_fast(module: str, most: float) -> None:
    assert cpu_seconds(f"import {module}") - cpu_seconds("pass") < most
