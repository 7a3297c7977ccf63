"""Drawing from reasoning_gym's generators, the same problem for a number on every machine.

Some generators iterate over sets of strings, whose order hangs on the process, draw from a global
generator, or now and then make a problem whose reference is none. Such a problem is passed over.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from importlib.metadata import version
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from penjing.errors import BadQuantity, RequestError, UnknownName
from penjing.tasks import countdown
from penjing.tasks.expression import NotAnExpression, parse
from penjing.tasks.knight_swap import solve
from penjing.tasks.reasoning_gym_families import VERSION, Family

Entry = dict[str, Any]  # question, answer, metadata
MAX_ATTEMPTS = 200
_STEP = 0x9E3779B97F4A7C15 >> 1  # odd, so that all numbers come round
_ALL = 2**63

# These print as they go, over what a command of ours prints.
_CHATTY = (
    "reasoning_gym.code.contrib.bfit.Compiler.Optimizer",
    "reasoning_gym.cognition.rectangle_count",
    "reasoning_gym.games.contrib.sokoban.src.game",
    "reasoning_gym.games.contrib.sokoban.src.generator",
    "reasoning_gym.games.tower_of_hanoi",
)


class Generator:
    """One family with its options. Raises ``RequestError`` for options the library refuses."""

    def __init__(self, family: Family, options: Mapping[str, object]) -> None:
        known = _library()
        self._family = family
        self._class, self._config = known[family.name]
        self._options = _checked(family, options, {f.name for f in fields(self._config)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file of ARC's that is left open
            self.dataset = self._made(0)
        if options:
            self._try_out()

    def draw(self, number: int) -> Entry:
        """``answer`` is always a text. Raises ``RequestError`` where the options leave nothing."""
        failed = "nothing it makes has a usable reference"
        for attempt in range(MAX_ATTEMPTS):
            seed = (number + attempt * _STEP) % _ALL
            try:
                entry = self._entry(seed)
            except (ValueError, RuntimeError, LookupError) as error:  # it found none in its tries
                failed = f"{error!s:.200}"
                continue
            finished = _FINISH.get(self._family.draw, _as_it_is)(entry)
            if finished is not None:
                return finished
        raise RequestError(
            f"reasoning_gym/{self._family.name} made nothing in {MAX_ATTEMPTS} tries: {failed}; "
            "change its options"
        )

    def _try_out(self) -> None:
        """Some options are only looked at when a problem is drawn."""
        try:
            self.draw(0)
        except (ArithmeticError, AssertionError, AttributeError, TypeError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> RequestError:
        said = " ".join(f"{error!s:.200}".split())
        return BadQuantity(f"reasoning_gym/{self._family.name} refuses its options: {said}")

    def _entry(self, seed: int) -> Entry:
        if self._family.reuse:
            entry: Entry = self.dataset[seed]
            return entry
        return dict(self._made(seed)[0])

    def _made(self, seed: int) -> Any:
        try:
            config = self._config(**self._options, seed=seed, size=1)
            if hasattr(config, "validate"):
                config.validate()
            dataset = self._class(config)
        except (AssertionError, TypeError, ValueError) as error:
            raise self._refused(error) from None
        _PREPARE.get(self._family.draw, _leave)(dataset)
        return dataset


def _library() -> Mapping[str, tuple[Any, Any]]:
    """Class and config class of every family. Raises ``RequestError`` without the library."""
    try:
        found = version("reasoning_gym")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("reasoning_gym")
    except ImportError as error:
        raise RequestError(
            f"reasoning_gym cannot be imported ({error}); pip install reasoning-gym=={VERSION}"
        ) from None
    if found != VERSION:
        raise RequestError(
            f"reasoning_gym is {found} here, and its problems were checked in {VERSION}; "
            f"pip install reasoning-gym=={VERSION}"
        )
    for name in _CHATTY:
        vars(import_module(name))["print"] = _say_nothing
    datasets: Mapping[str, tuple[Any, Any]] = import_module("reasoning_gym.factory").DATASETS
    return datasets


def _checked(family: Family, options: Mapping[str, object], known: set[str]) -> dict[str, object]:
    for name in options:
        if name in ("seed", "size"):
            raise RequestError(f"{name} is no option of a family; ask the task for it")
        if name in family.defaults:
            raise RequestError(
                f"{name} of reasoning_gym/{family.name} stays {family.defaults[name]}: "
                f"{family.reason}"
            )
        if name not in known:
            what = f"option of reasoning_gym/{family.name}"
            raise UnknownName(what, name, known - {"seed", "size", *family.defaults})
    return {**family.defaults, **options}


def _say_nothing(*_: object, **__: object) -> None:
    pass


# Repairs of a data set before it draws.


class _Sorted(frozenset[Any]):
    """A set that iterates in one order everywhere, as does what is left of it."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=str))

    def __sub__(self, other: Any) -> "_Sorted":
        return _Sorted(super().__sub__(other))


def _leave(dataset: Any) -> None:
    pass


def _sort_letters(dataset: Any) -> None:
    dataset.letters = _Sorted(dataset.letters)


def _sort_monomials(dataset: Any) -> None:
    unsorted = dataset._get_monomials
    dataset._get_monomials = lambda rng: sorted(unsorted(rng), key=str)


def _sort_neighbors(dataset: Any) -> None:
    unsorted = dataset._get_neighbors
    dataset._get_neighbors = lambda word, words: sorted(unsorted(word, words))
    dataset.size = _ALL  # it checks the index of what it draws


def _leave_a_rule_out(dataset: Any) -> None:
    """The fourteenth; its place in ``task_indices`` stays empty and is passed over."""
    dataset.generators.pop(14)


def _use_own_random(dataset: Any) -> None:
    """Instead of numpy's global one: the same draws, and nobody else's are moved."""
    from numpy.random import RandomState

    random = RandomState()
    own = SimpleNamespace(seed=lambda seed: random.seed(seed % 2**32), randint=random.randint)
    draw = type(dataset).__getitem__
    scope = {**draw.__globals__, "np": SimpleNamespace(random=own)}
    drawing = MethodType(FunctionType(draw.__code__, scope), dataset)
    dataset.__class__ = type("Own", (type(dataset),), {"__getitem__": lambda _, i: drawing(i)})


_PREPARE: Mapping[str, Callable[[Any], None]] = {
    "letters": _sort_letters,
    "monomials": _sort_monomials,
    "neighbors": _sort_neighbors,
    "numpy": _use_own_random,
    "rules": _leave_a_rule_out,
}


# Repairs of a problem; None passes it over.


def _as_it_is(entry: Entry) -> Entry | None:
    return None if entry["answer"] == "" else entry  # an empty answer is no answer


def _without_unordered(entry: Entry) -> Entry:
    return entry | {"metadata": entry["metadata"] | {"variables": None}}


def _changed(entry: Entry) -> Entry | None:
    example = entry["metadata"].get("test_example", entry["metadata"])
    return None if example["input"] == example["output"] else entry


def _pooled(entry: Entry) -> Entry | None:
    return None if entry["metadata"]["pool_size"] == 1 else entry


def _elementary(entry: Entry) -> Entry | None:
    try:
        parse(entry["answer"])
    except NotAnExpression:  # such as Integral(...)
        return None
    return entry


def _expressed(entry: Entry) -> Entry | None:
    """Passes over what begins with a minus, as sympy likes to write, and our judge refuses."""
    known = entry["metadata"]
    grade = countdown.grade(entry["answer"], known["numbers"], known.get("target", 24))
    return entry if grade.is_correct else None


def _positive(entry: Entry) -> Entry | None:
    return None if "-" in entry["answer"] else entry


def _with_roots(entry: Entry) -> Entry | None:
    return entry if entry["answer"] else None


def _colored(entry: Entry) -> Entry | None:
    possible = entry["metadata"]["possible_answer"]
    return entry | {"answer": json.dumps(possible)} if possible else None


def _solved_cube(entry: Entry) -> Entry | None:
    """Nothing to do is no problem; cubes of other sizes than three come without a solution."""
    moves = entry["metadata"]["example_correct_answer"]
    is_small = entry["metadata"]["cube_size"] == 3
    return None if is_small and not moves else entry | {"answer": moves}


def _swapped(entry: Entry) -> Entry:
    """The library's solution is as short, but one of several, picked by the order of sets."""
    known = entry["metadata"]
    moves = solve(known["board"], known["pieces"], known["start_turn"])
    assert moves is not None
    assert len(moves) == len(known["solution"])
    answer = json.dumps([",".join(move) for move in moves])
    return entry | {"answer": answer, "metadata": known | {"solution": moves, "board_states": None}}


_FINISH: Mapping[str, Callable[[Entry], Entry | None]] = {
    "changed": _changed,
    "colored": _colored,
    "elementary": _elementary,
    "expressed": _expressed,
    "monomials": _without_unordered,
    "numpy": _pooled,
    "positive": _positive,
    "roots": _with_roots,
    "solved": _solved_cube,
    "swapped": _swapped,
}

REPAIRS = _PREPARE.keys() | _FINISH.keys()
"""Names for ``draw`` in ``reasoning_gym.toml``."""
