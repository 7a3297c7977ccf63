"""The table covers the library, and says why."""

import re

import pytest

from penjing.errors import RequestError, UnknownName
from penjing.tasks.reasoning_gym_checks import CHECKS
from penjing.tasks.reasoning_gym_draws import REPAIRS
from penjing.tasks.reasoning_gym_families import Status, families, usable_family

REFUSED = {"codeio", "composite", "propositional_logic"}


def test_the_table_has_every_family_of_the_library() -> None:
    datasets = pytest.importorskip("reasoning_gym.factory").DATASETS
    assert families().keys() == datasets.keys()
    for name, (made, _) in datasets.items():
        assert families()[name].group in made.__module__


def test_every_repair_and_refusal_has_a_reason() -> None:
    by_status = {s: {n for n, f in families().items() if f.status is s} for s in Status}
    assert by_status[Status.REFUSED] == REFUSED
    assert len(by_status[Status.AS_IS]) > 45
    assert len(by_status[Status.REPAIRED]) > 45
    for family in families().values():
        assert bool(family.reason) == (family.status is not Status.AS_IS)
        assert "\n" not in family.reason


def test_the_table_names_only_what_there_is() -> None:
    used = {f.judge for f in families().values()}
    assert used == CHECKS.keys()
    assert {f.draw for f in families().values()} - {""} == REPAIRS


def test_scorers_that_run_the_answer_are_never_asked() -> None:
    """Found by reading the library: eval, exec, sympy's parse_expr."""
    runs = {"binary_matrix", "codeio", "countdown", "intermediate_integration", "n_queens"}
    runs |= {"polynomial_multiplication", "puzzle24", "simple_integration", "spiral_matrix"}
    runs |= {"string_insertion"}
    assert not {n for n in runs - REFUSED if families()[n].judge in ("library", "plan", "coloring")}


def test_refused_and_unknown() -> None:
    with pytest.raises(RequestError, match=r"codeio is refused: it runs programs .*; take another"):
        usable_family("codeio")
    with pytest.raises(UnknownName, match="nearest: chain_sum"):
        usable_family("chain_sums")
    assert usable_family("chain_sum").status is Status.REPAIRED
    assert usable_family("basic_arithmetic").status is Status.AS_IS


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("sokoban", "LLRUD", "LLRUDx"),
        ("quantum_lock", "A \N{RIGHTWARDS ARROW} B", "ABC or any cab"),
        ("rubiks_cube", "U R' Fw", "R999999999"),
        ("rush_hour", "A+1 B-4", "A+9"),
        ("cryptarithm", "A=1,B=2", "A=1,B=2,A=3"),
        ("fraction_simplification", r"\frac{1}{2}", r"\frac{1}{2} or so"),
        ("knights_knaves", "Ann is a knight, and Bob is a knave.", "Ann said: Bob is a knave"),
        ("advanced_geometry", "(1.5, -2)", "(1.5, -2), (3, 4)"),
        ("kakurasu", "1 0\n0 1", "1 0 0 1 2"),
        ("tower_of_hanoi", "Move disk 1 from Peg 2 to Peg 3", "x Move disk 1 from Peg 2 to Peg 3"),
    ],
)
def test_shapes(name: str, right: str, wrong: str) -> None:
    shape = families()[name].shape
    assert isinstance(shape, re.Pattern)
    assert shape.fullmatch(right)
    assert not shape.fullmatch(wrong)
