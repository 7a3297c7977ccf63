"""Splits that never meet, and orders that are the same everywhere."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.problem import Problem, Split
from penjing.tasks.source import (
    Drawn,
    FileSource,
    GeneratedSource,
    file_split,
    normalised,
    split_of,
)

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"
SEEDS = st.integers(0, 2**64)


def problem(number: int) -> Problem:
    prompt = f"What is {number} + 1?"
    return Problem(
        id=f"p{number}", prompt=prompt, reference=str(number + 1), split=split_of(prompt)
    )


def draw_below(end: int) -> Callable[[int], Drawn]:
    return lambda number: Drawn(prompt=f"{number % end} + 1?", reference=str(number % end + 1))


FILE = FileSource([problem(number) for number in range(300)])
WIDE = GeneratedSource("sums", draw_below(10**12))
NARROW = GeneratedSource("few", draw_below(100))


def ids(
    source: FileSource | GeneratedSource, split: Split | None, seed: int, size: int
) -> list[str]:
    return [p.id for p in source.problems(split, seed=seed, size=size)]


# What every machine gives. Changing how splits or orders are made breaks runs that resume.
def test_golden_orders() -> None:
    assert ids(FILE, None, 0, 5) == ["p20", "p9", "p263", "p163", "p206"]
    assert ids(FILE, Split.HELD_OUT, 1, 4) == ["p275", "p37", "p223", "p212"]
    assert ids(WIDE, Split.HELD_OUT, 0, 3) == [
        "sums-e4ce2f6c338fc26a",
        "sums-53aaec12841cfeff",
        "sums-650c5db033de1006",
    ]


def test_the_same_in_another_process_with_other_hashes() -> None:
    here = [ids(WIDE, Split.TRAIN, 7, 20), ids(FILE, None, 7, 20)]
    code = (
        "import sys; sys.path[:0] = sys.argv[1:2]; from test_source import *; "
        "print([ids(WIDE, Split.TRAIN, 7, 20), ids(FILE, None, 7, 20)])"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(here)


@given(SEEDS, SEEDS, st.integers(1, 40), st.integers(1, 20))
def test_no_seeds_let_a_held_out_problem_into_training(
    one: int, other: int, train: int, held_out: int
) -> None:
    for source in (WIDE, FILE):
        trained = source.problems(Split.TRAIN, seed=one, size=train)
        measured = source.problems(Split.HELD_OUT, seed=other, size=held_out)
        assert not {normalised(p.prompt) for p in trained} & {
            normalised(p.prompt) for p in measured
        }
        assert not {p.id for p in trained} & {p.id for p in measured}
        assert {p.split for p in trained} == {Split.TRAIN}
        assert {p.split for p in measured} == {Split.HELD_OUT}


@given(SEEDS, st.sampled_from([None, *Split]), st.integers(1, 18), st.integers(1, 18))
def test_a_smaller_size_is_the_beginning_of_a_bigger(
    seed: int, split: Split | None, size: int, more: int
) -> None:
    for source in (WIDE, FILE):
        assert ids(source, split, seed, size) == ids(source, split, seed, size + more)[:size]


@given(SEEDS, st.integers(1, 60))
def test_no_problem_comes_twice(seed: int, size: int) -> None:
    for source in (WIDE, NARROW, FILE):
        assert len(set(ids(source, None, seed, size))) == size


def test_seeds_give_other_orders_of_the_same_problems() -> None:
    one, other = (FILE.problems(None, seed=seed, size=None) for seed in (0, 1))
    assert one != other
    assert set(one) == set(other)
    assert not set(ids(WIDE, None, 0, 20)) & set(ids(WIDE, None, 1, 20))


def test_an_order_does_not_hang_on_that_of_the_file() -> None:
    backwards = FileSource([problem(number) for number in reversed(range(300))])
    assert ids(backwards, None, 5, 300) == ids(FILE, None, 5, 300)


def test_one_in_eight_is_held_out() -> None:
    held_out = [split_of(f"question {n}") for n in range(20_000)].count(Split.HELD_OUT)
    assert 2_350 < held_out < 2_650  # three standard deviations of a binomial around 2,500


@given(st.text())
def test_a_split_does_not_see_case_and_white_space(prompt: str) -> None:
    spread = normalised(prompt).replace(" ", " \n ")
    assert split_of(prompt) is split_of(f"  {spread}\t")


@pytest.mark.parametrize("text", ["two  Cubes\n", "ＴＷＯ cubes", "two\u00a0cubeſ", "TWO CUBES"])  # noqa: RUF001
def test_spellings_of_one_question(text: str) -> None:
    assert normalised(text) == "two cubes"


def test_half_a_surrogate_pair_has_a_split_too() -> None:
    assert split_of("\ud800") in Split


def test_a_file_gives_all_it_has_when_no_size_is_asked() -> None:
    parts = [FILE.problems(split, seed=0, size=None) for split in Split]
    assert sum(map(len, parts)) == 300
    assert min(map(len, parts)) > 10
    assert FileSource([]).problems(None, seed=0, size=None) == ()


@pytest.mark.parametrize("size", [0, -1, 301])
def test_a_file_gives_no_more_and_no_less_than_it_has(size: int) -> None:
    with pytest.raises(BadQuantity, match=rf"^{size} problems cannot .* 300 .* ask for 1 to 300$"):
        FILE.problems(None, seed=0, size=size)


def test_an_empty_split_is_named() -> None:
    source = FileSource([Problem(id="a", prompt="p", reference="r", split=Split.TRAIN)])
    with pytest.raises(BadQuantity, match="no problems of the held_out split here, and 1 of"):
        source.problems(Split.HELD_OUT, seed=0, size=1)


def test_ids_that_stand_twice_are_named() -> None:
    with pytest.raises(BadFile, match=r"several: 'p2', 'p5'$"):
        FileSource([problem(number) for number in (1, 2, 5, 2, 3, 5, 2)])


def test_one_question_in_both_splits_is_refused() -> None:
    with pytest.raises(BadFile, match=r"^a and b ask the same"):
        FileSource(
            [
                Problem(id="a", prompt="What?", reference="1", split=Split.TRAIN),
                Problem(id="b", prompt="what? ", reference="1", split=Split.HELD_OUT),
            ]
        )


def test_a_generated_problem_carries_all_that_was_drawn() -> None:
    source = GeneratedSource(
        "pairs", lambda n: Drawn(prompt=f"{n}?", reference="r", metadata={"number": n})
    )
    (found,) = source.problems(None, seed=0, size=1)
    assert found.prompt == f"{found.metadata['number']}?"
    assert 0 <= found.metadata["number"] < 2**63
    assert (found.reference, found.split) == ("r", split_of(found.prompt))
    assert found.id.startswith("pairs-")


def test_an_id_belongs_to_a_question_not_to_a_draw() -> None:
    one, other = ({p.prompt: p.id for p in NARROW.problems(None, seed=s, size=80)} for s in (0, 1))
    both = one.keys() & other.keys()
    assert len(both) > 50
    assert all(one[prompt] == other[prompt] for prompt in both)


@pytest.mark.parametrize("seed", range(5))
def test_a_small_space_is_found_whole(seed: int) -> None:
    assert len(ids(NARROW, None, seed, 100)) == 100


@pytest.mark.parametrize("split", [None, *Split])
def test_asking_more_than_a_small_space_has_ends_and_says_how_many(split: Split | None) -> None:
    there = [split_of(f"{n} + 1?") for n in range(100)]
    count = len(there) if split is None else there.count(split)
    with pytest.raises(BadQuantity, match=f"few makes no more than {count} different .* 100 in"):
        NARROW.problems(split, seed=0, size=count + 1)


def test_a_generator_that_never_ends_stops_all_the_same() -> None:
    train = (f"{n}?" for n in range(10**9) if split_of(f"{n}?") is Split.TRAIN)
    source = GeneratedSource("train only", lambda n: Drawn(prompt=next(train), reference=""))
    with pytest.raises(BadQuantity, match="no more than 0 different problems of the held_out"):
        source.problems(Split.HELD_OUT, seed=0, size=1)


@pytest.mark.parametrize("size", [None, 0, -3])
def test_a_generator_needs_a_size(size: int | None) -> None:
    with pytest.raises(BadQuantity, match=r"give a size$|ask for 1 or more$"):
        WIDE.problems(None, seed=0, size=size)


def test_an_unknown_file_is_split_by_question(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("{}")
    found = {file_split(path, f"{n}?") for n in range(100)}
    assert found == set(Split)


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks' files are not here")
def test_a_known_file_is_one_split() -> None:
    gsm8k = BENCHMARKS / "gsm8k"
    for n in range(50):
        assert file_split(gsm8k / "test.jsonl", f"{n}?") is Split.HELD_OUT
        assert file_split(gsm8k / "train.jsonl", f"{n}?") is Split.TRAIN
