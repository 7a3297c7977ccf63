"""Which tokens the next pass computes: continuous batching, prompts in chunks.

Two queues, both in order of arrival, and every running sequence arrived before every queued one:
only the head of the queue is started, and only the last running sequence is preempted. So the
earliest sequence is computed in every step. It runs if any does; it finds pages, as those of all
others can be taken from them and ``fits`` says that it can be alone; and it finds a token, as the
others that run are fewer than ``max_batch_tokens``. Nobody starves, and nothing spins.

Siblings of a leader wait outside the queue, holding nothing, and places are kept for them while
it runs. Once its prompt is computed they run on its pages, in order of arrival, as far as
``max_sequences`` goes; the rest goes to the front of the queue. Those find the full pages of the
prompt in the index, or compute them anew; they depend on no other sequence.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass, field
from operator import attrgetter

from penjing.engine.pages import PagePool
from penjing.engine.sequence import Sequence, Status
from penjing.errors import BadQuantity, Contradiction


@dataclass(slots=True)  # not frozen: that would double the time to make one
class Chunk:
    """Compute ``ids[start : start + count]``; the last chunk of known ids gives new logits."""

    sequence: Sequence
    start: int
    count: int
    is_last: bool


@dataclass(slots=True)
class Step:
    """One pass, single tokens first.

    ``copies`` are (from, to) pages, due before the pass. A page may be read by one of them and
    written by a later one, never the other way round: copy in order, or read all before writing.
    """

    chunks: list[Chunk] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return sum(chunk.count for chunk in self.chunks)


class Scheduler:
    """``schedule``, run the pass, ``commit`` and ``fork`` leaders, append ids, and again.

    Sequences may be added, aborted and finished, and all preempted, before and after each of these.
    """

    def __init__(
        self, pool: PagePool, *, max_batch_tokens: int, max_sequences: int, max_length: int
    ) -> None:
        """Raises ``BadQuantity`` and ``Contradiction``."""
        limits = {"max_sequences": max_sequences, "max_length": max_length}
        for name, value in limits.items():
            if value < 1:
                raise BadQuantity(f"{name} is {value}; it must be at least 1")
        if max_batch_tokens < max_sequences:
            raise Contradiction(
                f"max_batch_tokens {max_batch_tokens} is below max_sequences {max_sequences}, but "
                "each running sequence needs a token a step; raise the first or lower the second"
            )
        self.num_preemptions = 0
        self._pool = pool
        self._max_batch_tokens = max_batch_tokens
        self._max_sequences = max_sequences
        self._max_length = max_length
        self._sequences: dict[int, Sequence] = {}
        self._running: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._last_key = -1
        self._refused = (-1, 0)  # key, and the pages there were to spare when it did not fit

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Siblings that wait for their leader are counted too."""
        return len(self._sequences) - len(self._running)

    def fits(self, length: int) -> bool:
        """Whether a sequence may grow to ``length`` tokens; one that may not must not be added."""
        return length <= self._max_length and self._pages_for(length) <= self._pool.num_pages

    def add(self, sequence: Sequence, siblings: Iterable[Sequence] = ()) -> None:
        """Queues a sequence, with others of the same prompt that will fork from it."""
        sequence.siblings = list(siblings)
        for member in (sequence, *sequence.siblings):
            assert member.key > self._last_key, "keys must rise with arrival"
            assert member.ids == sequence.ids, "siblings must have the leader's prompt"
            assert member.ids, "an empty prompt gives no logits"
            assert self.fits(len(member.ids)), "the engine must refuse it"
            self._last_key = member.key
            self._sequences[member.key] = member
        for sibling in sequence.siblings:
            sibling.leader = sequence
        self._waiting.append(sequence)

    def abort(self, key: int) -> bool:
        """Ends a sequence; false if it has ended already, as may happen to any client."""
        sequence = self._sequences.get(key)
        if sequence is None:
            return False
        self.finish(sequence)
        return True

    def finish(self, sequence: Sequence) -> None:
        """Ends a sequence, wherever it stands; one that led a group is followed by a sibling."""
        del self._sequences[sequence.key]
        if sequence.leader is not None:
            sequence.leader.siblings.remove(sequence)
            sequence.leader = None
        elif sequence.siblings:
            self._hand_over(sequence)
        elif sequence.status is Status.RUNNING:
            self._running.remove(sequence)
        else:
            self._waiting.remove(sequence)
        self._drop_cache(sequence, Status.DONE)

    def schedule(self) -> Step:
        """The next pass; empty if no sequence has an id left to compute."""
        step = Step()
        running, chunks, is_shared = self._running, step.chunks, self._pool.is_shared
        page_size = self._pool.page_size
        several: list[Sequence] = []
        place = 0
        while place < len(running):  # it may shrink behind ``place``, never before
            sequence = running[place]
            place += 1
            start, known, pages = sequence.num_computed, len(sequence.ids), sequence.pages
            if start == known:
                continue
            needs_pages = known > len(pages) * page_size or is_shared(pages[start // page_size])
            if needs_pages and not self._make_room(sequence, step):
                break
            if known - start == 1:
                chunks.append(Chunk(sequence, start, 1, True))
            else:
                several.append(sequence)
        budget = self._max_batch_tokens - len(chunks)
        for sequence in several:
            budget = _add_chunk(step, sequence, budget)
        if self._waiting and not step.preempted:  # what was just preempted does not fit
            self._start_waiting(step, budget)
        return step

    def commit(self, step: Step) -> None:
        """Takes note that the pass ran. Sequences that ended or lost their pages are left out.

        May replace entries of ``pages`` by pages that hold the same.
        """
        page_size = self._pool.page_size
        for chunk in step.chunks:
            sequence = chunk.sequence
            if sequence.status is not Status.RUNNING:
                continue
            assert sequence.num_computed == chunk.start, "one step at a time"
            end = sequence.num_computed = chunk.start + chunk.count
            first, last = chunk.start // page_size, end // page_size
            if first < last:
                self._pool.publish(sequence.ids, sequence.pages, first, last)

    def fork(self, leader: Sequence) -> list[Sequence]:
        """Lets the siblings go, after the pass over the last of the leader's prompt.

        The first id of each is drawn from the logits of that pass, also of those that now wait.
        """
        assert leader.status is Status.RUNNING
        assert leader.num_computed == leader.num_prompt, "fork right after the commit"
        siblings, leader.siblings = leader.siblings, []
        places = self._num_places(leader)
        for sibling in siblings:
            sibling.leader = None
        for sibling in siblings[:places]:
            sibling.status = Status.RUNNING
            sibling.pages = self._pool.fork(leader.pages[: self._pages_for(leader.num_prompt)])
            sibling.num_computed = leader.num_prompt
            insort(self._running, sibling, key=attrgetter("key"))
        for sibling in reversed(siblings[places:]):
            self._put_first(sibling)
        return siblings

    def preempt_all(self) -> None:
        """For changed weights: what is cached is forgotten, by the pool too, and no id is lost."""
        while self._running:
            self._preempt_last()
        self._pool.forget()

    def _num_places(self, sequence: Sequence) -> int:
        """Places neither taken nor kept for siblings of those that arrived before."""
        kept = sum(len(s.siblings) for s in self._running if s.key < sequence.key)
        return self._max_sequences - len(self._running) - kept

    def _pages_for(self, length: int) -> int:
        return self._pool.num_pages_for(length)

    def _make_room(self, sequence: Sequence, step: Step) -> bool:
        """Pages for all known ids, or false if the sequence was the last and had to go itself."""
        while not self._reserve(sequence, step):
            assert len(self._running) > 1, "the engine let a sequence outgrow the pool"
            victim = self._preempt_last()
            step.preempted.append(victim.key)
            if victim is sequence:
                return False
        return True

    def _reserve(self, sequence: Sequence, step: Step) -> bool:
        """All or nothing, so that no copy is listed whose target somebody else gets."""
        pool, pages = self._pool, sequence.pages
        place = sequence.num_computed // pool.page_size
        is_shared = place < len(pages) and pool.is_shared(pages[place])
        num_fresh = self._pages_for(len(sequence.ids)) - len(pages)
        if num_fresh + is_shared > pool.num_available:
            return False
        if is_shared:
            copy = pool.unshare(pages[place])
            assert copy is not None
            step.copies.append((pages[place], copy))
            pages[place] = copy
        pages += pool.allocate(num_fresh) or ()
        return True

    def _start_waiting(self, step: Step, budget: int) -> None:
        places = self._num_places(self._waiting[0])
        while self._waiting and budget and places > 0 and self._start(self._waiting[0]):
            sequence = self._waiting.popleft()
            self._running.append(sequence)
            places -= 1 + len(sequence.siblings)
            budget = _add_chunk(step, sequence, budget)

    def _start(self, sequence: Sequence) -> bool:
        """Takes pages for all its ids, if each running sequence could still have one more.

        Starting with fewer would mean to preempt it again before it is of use.
        """
        num_running = len(self._running)
        to_spare = self._pool.num_available - num_running
        key, least = self._refused
        if num_running and key == sequence.key and to_spare <= least:
            return False  # without looking up a long prompt in every step
        known = sequence.reads_index
        begun = self._pool.begin(sequence.ids, spare=num_running, reads_index=known)
        if begun is None:
            assert num_running, "the engine let a sequence outgrow the pool"
            self._refused = (sequence.key, to_spare)
            return False
        sequence.pages, sequence.num_computed = begun
        sequence.status = Status.RUNNING
        return True

    def _preempt_last(self) -> Sequence:
        sequence = self._running.pop()
        self._drop_cache(sequence, Status.WAITING)
        self._put_first(sequence)
        self.num_preemptions += 1
        return sequence

    def _put_first(self, sequence: Sequence) -> None:
        assert not self._waiting or sequence.key < self._waiting[0].key
        self._waiting.appendleft(sequence)

    def _drop_cache(self, sequence: Sequence, status: Status) -> None:
        self._pool.release(sequence.pages)
        sequence.pages = []
        sequence.num_computed = 0
        sequence.status = status

    def _hand_over(self, leader: Sequence) -> None:
        """The next sibling takes the leader's place, and what it has computed of the prompt."""
        heir, *others = leader.siblings
        heir.leader, heir.siblings, leader.siblings = None, others, []
        for sibling in others:
            sibling.leader = heir
        heir.pages, leader.pages = leader.pages, []
        # The logits of the last token went to the leader; the heir needs its own.
        heir.num_computed = min(leader.num_computed, leader.num_prompt - 1)
        heir.status = leader.status
        is_running = leader.status is Status.RUNNING
        queue: MutableSequence[Sequence] = self._running if is_running else self._waiting
        queue[queue.index(leader)] = heir


def _add_chunk(step: Step, sequence: Sequence, budget: int) -> int:
    """As much of the known ids as the budget allows; returns what is left of it."""
    start = sequence.num_computed
    count = min(budget, sequence.num_pending)
    if count:
        is_last = count == sequence.num_pending
        step.chunks.append(Chunk(sequence, start, count, is_last))
    return budget - count
