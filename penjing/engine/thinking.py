"""The thinking budget: tokens between ``<think>`` and ``</think>``, counted and capped by id.

The cap acts before a token is drawn, so it holds however tokens come about: drawn, forced, or
proposed by a draft.
"""

from collections.abc import Sequence

from penjing.errors import BadQuantity


class Thinking:
    """Where one sample stands, a function of its prompt and generated ids alone.

    A block is open where the last opening tag of the prompt has no closing one behind it. Only
    generated tokens count, each once: strictly inside a block ``num_thinking``, tags that open or
    close one ``num_tags``, the rest ``num_answer``. A second opening tag inside a block is
    thinking, a closing tag outside one is answer: neither is a way around the budget.

    ``closing_ids`` end a block that would outgrow ``budget``: what precedes their closing tag is
    forced early enough to fit (its last part, where it is longer than what is left), then the tag,
    then the rest, which counts as answer. A block that the model opens again draws on the same
    budget. Nothing is forced on a model that closes in time.

    After a preemption, observe the ids again, or keep the object; ``copy.copy`` is a fork.
    """

    def __init__(
        self,
        *,
        begin_id: int,
        end_id: int,
        budget: int | None,
        closing_ids: Sequence[int] = (),
        prompt_ids: Sequence[int] = (),
    ) -> None:
        """``budget`` None only counts.

        Raises ``BadQuantity`` for a budget whose closing text does not close one block.
        """
        self._begin_id, self._end_id, self._budget = begin_id, end_id, budget
        closing = tuple(closing_ids)
        if budget is not None and (closing.count(end_id) != 1 or begin_id in closing):
            raise BadQuantity(
                f"thinking_close is {list(closing)} as ids: must hold the closing tag {end_id} "
                rf"once and not the opening tag {begin_id}; try '\n</think>\n\n'"
            )
        at = closing.index(end_id) if budget is not None else 0
        self._before, self._from_tag = closing[:at], closing[at:]
        self._pending: tuple[int, ...] = ()  # what is forced next, in order
        self.num_thinking = self.num_answer = self.num_tags = 0
        tags = (token for token in reversed(prompt_ids) if token in (begin_id, end_id))
        self.is_open = next(tags, None) == begin_id
        self._plan()

    def forced(self) -> int | None:
        """The id that must come next; None: the model chooses."""
        return self._pending[0] if self._pending else None

    def observe(self, token: int) -> None:
        """Take in the next token; it must be the forced one where there is one."""
        if self._pending:
            assert token == self._pending[0], (token, self._pending)
            self._pending = self._pending[1:]
        if token == (self._end_id if self.is_open else self._begin_id):
            self.is_open = not self.is_open
            self.num_tags += 1
        elif self.is_open:
            self.num_thinking += 1
        else:
            self.num_answer += 1
        self._plan()

    def _plan(self) -> None:
        if self._budget is None or not self.is_open:
            return
        left = self._budget - self.num_thinking
        if left <= len(self._before):
            self._pending = self._before[len(self._before) - left :] + self._from_tag
