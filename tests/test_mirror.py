"""Every module has a test file of its own, found by its path: no exceptions, and none left over."""

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def mirror(module: Path) -> Path:
    """``penjing/a/b.py`` is tested by ``tests/a/test_b.py``."""
    inside = module.relative_to(ROOT / "penjing")
    return ROOT / "tests" / inside.parent / f"test_{inside.name}"


def modules() -> list[Path]:
    return [f for f in ROOT.glob("penjing/**/*.py") if not f.name.startswith("__")]


def listed(files: Iterable[Path]) -> str:
    return "\n".join(sorted(str(f.relative_to(ROOT)) for f in files))


def test_every_module_has_its_test_file() -> None:
    missing = [mirror(m) for m in modules() if not mirror(m).is_file()]
    assert len(modules()) > 50
    assert not missing, listed(missing)


def test_every_test_file_of_a_room_has_its_module() -> None:
    rooms = [f for f in (ROOT / "penjing").iterdir() if (f / "__init__.py").is_file()]
    found = {f for room in rooms for f in ROOT.glob(f"tests/{room.name}/**/test_*.py")}
    stale = found - {mirror(m) for m in modules()}
    assert found
    assert not stale, listed(stale)


def test_every_test_file_tests_something() -> None:
    empty = [f for f in ROOT.glob("tests/**/test_*.py") if "def test_" not in f.read_text("utf-8")]
    assert not empty, listed(empty)
