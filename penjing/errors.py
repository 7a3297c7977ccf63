"""What can go wrong for a user, as types.

PenjingError
├── RequestError            the request is wrong: exit status 2
│   ├── BadCommand          a command line that does not parse
│   ├── UnknownName         a chip, model, engine or key that nobody knows; names the nearest
│   ├── BadQuantity         a number without a unit, with a wrong one, negative or absurd
│   ├── BadFile             a path that is not there, or text that does not parse
│   ├── Contradiction       two fields that cannot both be true
│   └── Unpublished         a figure the answer needs and the vendor does not publish
└── DoesNotFit              the request is fine, the answer is no: exit status 1

A bug of ours is an ``AssertionError``, never one of these.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PenjingError(Exception):
    """Base of every error meant for the user; ``str()`` is one line: what, limit, what to try."""

    exit_status = 2


class RequestError(PenjingError):
    """The request itself is wrong."""


class BadCommand(RequestError):
    """A command line with an unknown word, a value that lacks, or one too many."""


class BadQuantity(RequestError):
    """A quantity that does not parse or lies outside what can be meant."""


class BadFile(RequestError):
    """A file that is missing, unreadable or malformed."""


class Contradiction(RequestError):
    """Two statements in one request or config that cannot both hold."""


class Unpublished(RequestError):
    """A figure that the answer rests on was never published, and is not guessed."""


class UnknownName(RequestError):
    """A name outside a known set; the message offers the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(set(known))
        self.nearest = nearest_names(name, names)
        offer = f"nearest: {', '.join(self.nearest)}" if self.nearest else f"known: {_some(names)}"
        super().__init__(f"unknown {kind} {name!r}; {offer}" + (f"; {hint}" if hint else ""))


class DoesNotFit(PenjingError):
    """Nothing feasible: says by how much, and what the nearest thing is that would do.

    ``shortfall_bytes`` is what the best layout lacks on its fullest chip (0 where the limit that
    failed is not memory).
    """

    exit_status = 1

    def __init__(self, message: str, *, shortfall_bytes: float = 0.0, nearest: str = "") -> None:
        self.shortfall_bytes = shortfall_bytes
        self.nearest = nearest
        super().__init__(message)


def nearest_names(name: str, known: Iterable[str], limit: int = 4) -> tuple[str, ...]:
    """Known names most like ``name``, best first, compared without case, spaces or dashes."""
    folded = {_fold(k): k for k in known}
    exact = [k for f, k in folded.items() if _fold(name) and _fold(name) in f]
    close = [folded[f] for f in get_close_matches(_fold(name), folded, n=limit, cutoff=0.6)]
    return tuple(dict.fromkeys(sorted(exact, key=len) + close))[:limit]


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _some(names: list[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
