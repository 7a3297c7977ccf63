"""One sample as the engine sees it: its tokens, and where their keys and values lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(kw_only=True, eq=False, slots=True)
class Sequence:
    """``ids`` begins as the prompt and grows by what was drawn; the scheduler sets all the rest.

    Keys are unique and rise with arrival. The first ``num_computed`` ids have keys and values, the
    one at position p in page ``pages[p // page_size]``; there may be more pages than that takes.
    Only a running sequence has pages.
    """

    key: int
    ids: list[int] = field(repr=False)
    state: object = field(default=None, repr=False)
    num_prompt: int = field(init=False)
    num_computed: int = field(init=False, default=0)
    pages: list[int] = field(init=False, default_factory=list, repr=False)
    status: Status = field(init=False, default=Status.WAITING)
    reads_index: bool = True  # whether cached pages may stand in for computing its tokens
    # A group is one prompt with several samples. The first computes the prompt, the others wait
    # for it; both fields are empty again once that is done.
    leader: Sequence | None = field(init=False, default=None, repr=False)
    siblings: list[Sequence] = field(init=False, default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.num_prompt = len(self.ids)

    @property
    def num_pending(self) -> int:
        """Known ids without keys and values."""
        return len(self.ids) - self.num_computed

    @property
    def num_generated(self) -> int:
        return len(self.ids) - self.num_prompt
