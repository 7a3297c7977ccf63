"""The same problems in every process, without noise, and none whose reference is none."""

import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest

from penjing.errors import BadQuantity, RequestError, UnknownName
from penjing.tasks import reasoning_gym_draws
from penjing.tasks.expression import parse
from penjing.tasks.reasoning_gym_draws import Generator
from penjing.tasks.reasoning_gym_families import Status, families, usable_family

pytest.importorskip("reasoning_gym")

USABLE = sorted(n for n, f in families().items() if f.status is not Status.REFUSED)
NUMBERS = (12_345, 2**63 - 99)


def generator(name: str, **options: object) -> Generator:
    return Generator(usable_family(name), options)


def digest(entry: dict[str, Any]) -> str:
    """Of all that a problem is made of, the metadata in their order too."""
    return hashlib.sha256(repr(entry).encode()).hexdigest()[:12]


def all_digests() -> dict[str, list[str]]:
    """For every family; run in other processes too."""
    generators = {name: generator(name) for name in USABLE}
    return {n: [digest(g.draw(number)) for number in NUMBERS] for n, g in generators.items()}


_CODE = """
import json, random, sys
sys.path.insert(0, sys.argv[1])
from test_reasoning_gym_draws import all_digests
state = random.getstate()
digests = all_digests()
assert random.getstate() == state, "Python's global generator was used"
print(json.dumps(digests))
"""


def test_no_problem_hangs_on_the_process() -> None:
    """Sets of texts iterate in another order for every value of PYTHONHASHSEED."""
    here = os.path.dirname(__file__)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _CODE, here],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (json.loads(run.communicate(timeout=300)[0]) for run in runs)
    assert first.keys() == set(USABLE)
    assert {n for n in USABLE if first[n] != second[n]} == set()


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("chain_sum", "60 + 93 - 16 + 19 =", "156"),
        ("isomorphic_strings", "", "False"),
        ("word_ladder", "'DRUM' to 'NOUN'", "DRUM,DRAM,CRAM,CRAP,CROP,COOP,COON,NOON,NOUN"),
        (
            "polynomial_multiplication",
            "(19 - 71*y**3)*(-8*y - 153)",
            "568*y**4 + 10863*y**3 - 152*y - 2907",
        ),
        ("pool_matrix", "", "5.75 6.25\n7.0 5.25\n3.75 7.25\n6.0 0.0"),
    ],
)
def test_problems_as_they_were(name: str, question: str, answer: str) -> None:
    """Our own, kept: the same on every machine."""
    entry = generator(name).draw(7)
    assert question in entry["question"]
    assert entry["answer"] == answer


@pytest.mark.parametrize("name", ["arc_agi", "word_ladder", "zebra_puzzles", "group_anagrams"])
def test_a_data_set_that_is_reused_keeps_nothing(name: str) -> None:
    shared = generator(name)
    drawn = [shared.draw(number) for number in (5, 6, 5)]
    assert drawn[0] == drawn[2] == generator(name).draw(5)
    assert drawn[0] != drawn[1]


def test_every_integral_has_an_elementary_reference() -> None:
    """One reference in eight of the library's is an unsolved Integral(...)."""
    made = generator("intermediate_integration")
    assert all(parse(made.draw(number)["answer"]) for number in range(25))


def test_grids_change_and_equations_have_roots() -> None:
    for name in ("rearc", "arc_1d"):
        made = generator(name)
        for number in range(40):
            example = made.draw(number)["metadata"]
            example = example.get("test_example", example)
            assert example["input"] != example["output"]
    made = generator("polynomial_equations", operators=["+"], min_degree=2, max_degree=2)
    assert all(made.draw(number)["answer"] for number in range(20))


def test_a_problem_with_an_empty_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """In ab all tokens may go."""
    made = generator("ab")
    answers = iter(("", "", "A#"))
    monkeypatch.setattr(made, "_entry", lambda seed: {"answer": next(answers)})
    assert made.draw(1)["answer"] == "A#"


def test_references_that_the_library_leaves_out() -> None:
    colors = json.loads(generator("graph_color").draw(1)["answer"])
    assert len(colors) == 10
    assert generator("rubiks_cube").draw(1)["answer"]
    for number in range(3):
        entry = generator("knight_swap").draw(number)
        assert entry["metadata"]["is_possible"]
        assert json.loads(entry["answer"])


def test_no_global_generator_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    made = [generator("list_functions"), generator("pool_matrix")]
    monkeypatch.setattr(random, "randint", None)
    before = np.random.get_state(legacy=True)
    for number in range(60):
        for one in made:
            one.draw(number)
    after = np.random.get_state(legacy=True)
    assert str(before) == str(after)


def test_pooling_is_as_the_library_draws_it() -> None:
    import numpy as np

    state = np.random.get_state(legacy=True)
    dataset = type(generator("pool_matrix").dataset).__mro__[1]
    config = sys.modules[dataset.__module__].PoolMatrixConfig(seed=9, size=1)
    assert generator("pool_matrix").draw(9)["question"] == dataset(config)[0]["question"]
    np.random.set_state(state)


def test_options_are_those_of_the_library() -> None:
    entry = generator("chain_sum", min_terms=5, max_terms=5).draw(1)
    assert entry["metadata"]["difficulty"]["num_terms"] == (5, 5)


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("chain_sum", {"min_term": 3}, UnknownName, "option of reasoning_gym/chain_sum 'min_term'"),
        ("chain_sum", {"seed": 3}, RequestError, "seed is no option"),
        ("chain_sum", {"size": 3}, RequestError, "size is no option"),
        ("chain_sum", {"min_terms": 0}, BadQuantity, "refuses its options: min_terms"),
        ("chain_sum", {"min_terms": "x"}, BadQuantity, "refuses its options: '>' not"),
        ("boxnet", {"colour_list": 5}, BadQuantity, "refuses its options: 'int'"),
        ("knight_swap", {"impossible_ratio": 0.5}, RequestError, "stays 0.0: puzzles called"),
        ("rush_hour", {"min_moves": 99, "max_moves": 99}, BadQuantity, "No puzzles found"),
        ("rearc", {"rng_difficulty_weights": 5}, BadQuantity, "refuses its options"),
    ],
)
def test_bad_options(name: str, options: dict[str, object], error: type, said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        generator(name, **options)
    assert "\n" not in str(caught.value)


def test_options_that_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = generator("time_intervals")
    monkeypatch.setattr(made, "_entry", lambda seed: {"answer": "-1 days"})
    with pytest.raises(RequestError, match="made nothing in 200 tries: nothing it makes has a"):
        made.draw(1)

    def fail(seed: int) -> None:
        raise ValueError("no board")

    monkeypatch.setattr(made, "_entry", fail)
    with pytest.raises(RequestError, match="made nothing in 200 tries: no board; change"):
        made.draw(1)


def test_another_version_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasoning_gym_draws, "version", lambda name: "0.1.26")
    with pytest.raises(RequestError, match=r"is 0\.1\.26 here, .* pip install reasoning-gym==0\.1"):
        generator("gcd")

    def missing(name: str) -> str:
        raise ImportError(name)

    monkeypatch.setattr(reasoning_gym_draws, "version", missing)
    with pytest.raises(RequestError, match="cannot be imported"):
        generator("gcd")


def test_drawing_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("bf", "rectangle_count", "sokoban"):
        generator(name).draw(3)
    hanoi = generator("tower_of_hanoi")
    entry = hanoi.draw(3)
    hanoi.dataset.score_answer("Move disk 1 from Peg 9 to Peg 9", entry)
    assert capfd.readouterr() == ("", "")
