"""What a verb gives back: one document for programs, the same facts as text for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``document`` is printed under ``--json``, ``text`` otherwise; ``exit_status`` 1 means no."""

    document: Json
    text: str
    exit_status: int = 0


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A plain text table: numbers right, words left, no rules."""
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)
