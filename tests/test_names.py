"""No junk drawers: a file is named for the one thing it holds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAY_NOTHING = {"util", "utils", "common", "helper", "helpers", "misc"}


def says_nothing(name: str) -> bool:
    return not SAY_NOTHING.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def test_no_file_or_folder_is_a_junk_drawer() -> None:
    tops = [f for f in ROOT.iterdir() if not f.name.startswith(".")]
    inside = [f for top in tops if top.is_dir() for f in top.rglob("*")]
    assert len(inside) > 100
    found = [str(f.relative_to(ROOT)) for f in (*tops, *inside) if says_nothing(f.name)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["utils", "misc.py", "string_utils.py", "test-helpers", "Common"])
def test_names_that_are_refused(name: str) -> None:
    assert says_nothing(name)


@pytest.mark.parametrize("name", ["commonwealth.py", "utility_curve.toml", "chip.py"])
def test_names_that_are_not(name: str) -> None:
    assert not says_nothing(name)
