"""Schedules by hand, and whole lives of an engine whose cache is a record of what was written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.engine.pages import PagePool
from penjing.engine.scheduler import Scheduler, Step
from penjing.engine.sequence import Sequence, Status
from penjing.errors import BadQuantity, Contradiction


@dataclass
class Simulation:
    """Computes what it is told, asserts every promise, and draws ids that depend on all before.

    ``written`` holds, for each place of the cache, the weights and the ids it was made of.
    ``progress`` is how far each sequence came since it last had no pages.
    """

    pool: PagePool
    scheduler: Scheduler
    targets: dict[int, int] = field(default_factory=dict)
    live: dict[int, Sequence] = field(default_factory=dict)
    done: dict[int, Sequence] = field(default_factory=dict)
    written: dict[tuple[int, int], tuple[int, list[int]]] = field(default_factory=dict)
    progress: dict[int, int] = field(default_factory=dict)
    version: int = 0
    num_tokens: int = 0
    num_copies: int = 0
    num_steps: int = 0

    def add(self, ids: list[int], target: int, group: int = 1) -> list[Sequence]:
        first = len(self.targets)
        members = [Sequence(key=first + i, ids=list(ids)) for i in range(group)]
        self.targets |= {m.key: target for m in members}
        self.live |= {m.key: m for m in members}
        self.scheduler.add(members[0], members[1:])
        return members

    def abort(self, key: int) -> None:
        assert self.scheduler.abort(key) == (key in self.live)
        if key in self.live:
            leader = self.live.pop(key)
            for heir in self.live.values():
                if heir.status is Status.RUNNING and heir.key not in self.progress:
                    assert heir.ids[: heir.num_prompt] == leader.ids[: leader.num_prompt]
                    self.progress[heir.key] = heir.num_computed

    def change_weights(self) -> None:
        self.scheduler.preempt_all()
        self.version += 1
        self.progress.clear()

    def step(self, meanwhile: Callable[[], None] | None = None) -> Step:
        ran = {key for key, s in self.live.items() if s.status is Status.RUNNING}
        step = self.scheduler.schedule()
        self.check_step(step, ran)
        self.execute(step)
        self.num_steps += 1
        if meanwhile:
            meanwhile()
        self.scheduler.commit(step)
        for chunk in step.chunks:
            if chunk.sequence.status is Status.RUNNING and chunk.is_last:
                for sequence in [chunk.sequence, *self.fork(chunk.sequence)]:
                    self.draw(sequence)
        self.check_rest()
        return step

    def check_step(self, step: Step, ran: set[int]) -> None:
        assert step.num_tokens <= self.scheduler._max_batch_tokens
        assert len({c.sequence.key for c in step.chunks}) == len(step.chunks)
        assert self.scheduler.num_running <= self.scheduler._max_sequences
        keys = [chunk.sequence.key for chunk in step.chunks]
        order = [(k not in ran, k in ran and self.live[k].num_pending > 1, k) for k in keys]
        assert order == sorted(order)
        if self.live:
            assert min(self.live) in keys, "the earliest always makes progress"
        for key in step.preempted:
            assert key not in keys
            del self.progress[key]
        for chunk in step.chunks:
            sequence = chunk.sequence
            assert sequence.status is Status.RUNNING
            assert chunk.count > 0
            assert chunk.is_last == (chunk.start + chunk.count == len(sequence.ids))
            begun = chunk.start // self.pool.page_size * self.pool.page_size
            assert chunk.start == self.progress.get(sequence.key, begun), "exactly once"

    def execute(self, step: Step) -> None:
        size = self.pool.page_size
        assert len({to for _, to in step.copies}) == len(step.copies)
        places = [((page, i), (to, i)) for page, to in step.copies for i in range(size)]
        self.written |= {to: self.written[at] for at, to in places if at in self.written}
        self.num_copies += len(step.copies)
        self.num_tokens += step.num_tokens
        for chunk in step.chunks:
            sequence, end = chunk.sequence, chunk.start + chunk.count
            for p in range(chunk.start, end):
                page = sequence.pages[p // size]
                assert not self.pool.is_shared(page)
                self.written[page, p % size] = self.version, sequence.ids[: p + 1]
            self.progress[sequence.key] = end
        for chunk in step.chunks:
            self.check_cache(chunk.sequence, chunk.start + chunk.count)

    def check_cache(self, sequence: Sequence, end: int) -> None:
        size = self.pool.page_size
        for p in range(end):
            found = self.written[sequence.pages[p // size], p % size]
            assert found == (self.version, sequence.ids[: p + 1])

    def fork(self, leader: Sequence) -> list[Sequence]:
        siblings = self.scheduler.fork(leader) if leader.siblings else []
        for sibling in siblings:
            if sibling.status is Status.RUNNING:
                self.progress[sibling.key] = sibling.num_prompt
        return siblings

    def draw(self, sequence: Sequence) -> None:
        sequence.ids.append((sum(sequence.ids) + sequence.key) % 2)
        if len(sequence.ids) >= self.targets[sequence.key]:
            self.scheduler.finish(sequence)
            self.done[sequence.key] = self.live.pop(sequence.key)

    def check_rest(self) -> None:
        self.pool.check([s.pages for s in self.live.values()])
        for sequence in self.live.values():
            if sequence.status is Status.RUNNING:
                self.check_cache(sequence, sequence.num_computed)
            else:
                assert not sequence.pages
                assert sequence.num_computed == 0
        running = [s.key for s in self.live.values() if s.status is Status.RUNNING]
        assert len(running) == self.scheduler.num_running
        assert len(self.live) - len(running) == self.scheduler.num_waiting

    def finish(self) -> None:
        """Runs to the end. Each step brings the earliest one on, which bounds their number."""
        most = self.num_steps + sum(self.targets[key] for key in self.live)
        while self.live:
            self.step()
            assert self.num_steps <= most
        assert not self.scheduler.schedule().chunks
        assert self.pool.num_available == self.pool.num_pages
        self.pool.check([])


def simulation(
    num_pages: int, page_size: int, max_batch_tokens: int, max_sequences: int, max_length: int = 64
) -> Simulation:
    limits = {"max_batch_tokens": max_batch_tokens, "max_sequences": max_sequences}
    pool = PagePool(num_pages, page_size)
    return Simulation(pool, Scheduler(pool, max_length=max_length, **limits))


def shape(step: Step) -> list[tuple[int, int, int, bool]]:
    return [(c.sequence.key, c.start, c.count, c.is_last) for c in step.chunks]


def test_single_tokens_first_then_chunks_in_order() -> None:
    run = simulation(64, 4, max_batch_tokens=6, max_sequences=4)
    run.add([1, 2, 3], 9)
    run.add([4] * 8, 20)
    run.add([5] * 3, 20)
    assert shape(run.step()) == [(0, 0, 3, True), (1, 0, 3, False)]
    assert shape(run.step()) == [(0, 3, 1, True), (1, 3, 5, True)]
    assert shape(run.step()) == [(0, 4, 1, True), (1, 8, 1, True), (2, 0, 3, True)]
    assert shape(run.step()) == [(0, 5, 1, True), (1, 9, 1, True), (2, 3, 1, True)]
    run.finish()


def test_several_known_ids_make_a_chunk() -> None:
    """As when the end of thinking is put into a sequence that runs."""
    run = simulation(64, 2, max_batch_tokens=8, max_sequences=4)
    (sequence,) = run.add([1, 2, 3], 12)
    run.step()
    sequence.ids += [7, 7, 7, 7]
    assert shape(run.step()) == [(0, 3, 5, True)]
    run.finish()


def test_the_latest_gives_its_pages_to_the_earlier() -> None:
    run = simulation(4, 2, max_batch_tokens=8, max_sequences=4)
    first, second = *run.add([1, 2], 8), *run.add([3, 4], 8)
    run.step()
    preempted = [run.step().preempted for _ in range(3)]
    assert preempted == [[], [], [1]]
    assert (second.status, second.num_computed, len(second.ids)) == (Status.WAITING, 0, 5)
    assert first.num_computed == 5
    assert run.scheduler.num_preemptions == 1
    run.finish()
    assert [len(s.ids) for s in run.done.values()] == [8, 8]
    assert not run.scheduler.abort(0)  # it has ended, which is no error


def test_a_page_is_not_shared_any_more_when_the_others_had_to_go() -> None:
    run = simulation(2, 4, max_batch_tokens=8, max_sequences=4)
    run.add([1, 2, 3, 4, 5, 6], 8, group=3)
    run.step()
    step = run.step()
    assert (step.preempted, step.copies, shape(step)) == ([2, 1], [], [(0, 6, 1, True)])
    run.finish()


def test_none_starts_that_would_soon_be_preempted() -> None:
    """Three free pages for four tokens would do, but not with one more for the one that runs."""
    run = simulation(4, 2, max_batch_tokens=8, max_sequences=4)
    run.add([1, 2], 3)
    run.add([1, 3, 1, 3, 3], 6)
    assert [c.sequence.key for c in run.step().chunks] == [0]
    assert [c.sequence.key for c in run.step().chunks] == [1]


def test_a_prompt_is_not_looked_up_again_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    run = simulation(7, 2, max_batch_tokens=8, max_sequences=4)
    begin, tried = run.pool.begin, list[int]()

    def recorded(ids: list[int], **how: int) -> tuple[list[int], int] | None:
        tried.append(len(ids))
        return begin(ids, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(run.pool, "begin", recorded)
    for ids, target in ([1], 8), ([2] * 4, 6), ([3] * 5, 6):
        run.add(ids, target)
    assert [[c.sequence.key for c in run.step().chunks] for _ in "123"] == [[0, 1], [0, 1], [0, 2]]
    assert tried == [1, 4, 5, 5]


def test_a_group_prefills_once_and_copies_the_last_page() -> None:
    run = simulation(64, 4, max_batch_tokens=16, max_sequences=8)
    members = run.add([1, 2, 3, 4, 5, 6], 9, group=4)
    assert run.step().num_tokens == 6
    assert len({tuple(m.pages) for m in members}) == 1
    step = run.step()
    assert step.num_tokens == 4
    assert len(step.copies) == 3  # the last to write keeps the original
    assert len({m.pages[1] for m in members}) == 4
    assert {m.pages[0] for m in members} == {members[0].pages[0]}
    run.finish()
    assert run.num_tokens == 6 + 4 * 2


def test_siblings_beyond_the_places_wait_in_front() -> None:
    run = simulation(64, 2, max_batch_tokens=16, max_sequences=3)
    run.add([9], 9)
    members = run.add([1, 2, 3, 4, 5], 8, group=4)
    run.add([7], 9)
    run.step()
    assert [m.status for m in members] == [Status.RUNNING] * 2 + [Status.WAITING] * 2
    assert all(len(m.ids) == 6 for m in members)  # all drawn from the logits of the leader
    run.finish()
    assert list(run.done) == [1, 2, 3, 4, 0, 5]
    assert run.num_tokens == 8 + (5 + 2 * 2) + 2 * (8 - 1 - 4) + 8  # two hit the full pages


def test_another_takes_over_from_an_aborted_leader() -> None:
    run = simulation(64, 2, max_batch_tokens=4, max_sequences=4)
    leader, heir, last = run.add([1, 2, 3, 4, 5, 6], 9, group=3)
    run.step()
    run.abort(leader.key)
    assert (heir.status, heir.num_computed, last.leader) == (Status.RUNNING, 4, heir)
    run.finish()
    assert run.num_tokens == 6 + 2 * 2
    assert sorted(run.done) == [1, 2]


def test_an_heir_gets_logits_of_its_own() -> None:
    """The leader ends between the commit of its prompt and the fork."""
    run = simulation(64, 2, max_batch_tokens=8, max_sequences=4)
    leader, heir = run.add([1, 2, 3, 4], 9, group=2)
    step = run.scheduler.schedule()
    run.execute(step)
    run.scheduler.commit(step)
    run.abort(leader.key)
    assert heir.num_pending == 1
    run.finish()


def test_places_are_kept_for_the_siblings_of_an_heir() -> None:
    """Its prompt ends after that of a later group, whose siblings must not take them."""
    run = simulation(64, 2, max_batch_tokens=16, max_sequences=6)
    leader, *heirs = run.add([1, 2, 3], 9, group=5)
    later = run.add([4, 5, 6], 9, group=4)
    run.step(partial(run.abort, leader.key))
    assert [m.status for m in later] == [Status.RUNNING] * 2 + [Status.WAITING] * 2
    run.step()
    assert all(m.status is Status.RUNNING for m in heirs)


def test_changed_weights_recompute_everything_and_lose_nothing() -> None:
    run = simulation(64, 2, max_batch_tokens=64, max_sequences=4)
    (sequence,) = run.add([1, 2, 3, 4, 5], 12)
    run.step()
    run.step()
    known = list(sequence.ids)
    run.change_weights()
    assert sequence.ids == known
    assert shape(run.step()) == [(0, 0, 7, True)]
    run.finish()
    assert run.pool.num_hit_tokens == 0


def test_what_fits() -> None:
    scheduler = simulation(4, 4, 8, 8, max_length=15).scheduler
    assert scheduler.fits(15)
    assert not scheduler.fits(16)
    assert not simulation(3, 4, 8, 8, max_length=15).scheduler.fits(13)


def test_limits_are_refused() -> None:
    with pytest.raises(BadQuantity, match="max_length is 0; it must be at least 1"):
        simulation(4, 4, 8, 8, max_length=0)
    with pytest.raises(BadQuantity, match="max_sequences"):
        simulation(4, 4, 8, 0)
    with pytest.raises(Contradiction, match="max_batch_tokens 7 is below max_sequences 8"):
        simulation(4, 4, 7, 8)


def test_a_step_of_64_is_scheduled_in_no_time() -> None:
    """About 40 microseconds on a quiet core; the limit leaves room for a busy one."""
    run = simulation(1024, 16, max_batch_tokens=4096, max_sequences=64, max_length=256)
    for key in range(64):
        run.scheduler.add(Sequence(key=key, ids=[key] * 8))
    least = 1.0
    for _ in range(100):
        before = time.perf_counter()
        step = run.scheduler.schedule()
        least = min(least, time.perf_counter() - before)
        run.scheduler.commit(step)
        for chunk in step.chunks:
            chunk.sequence.ids.append(1)
    assert least < 300e-6


LIMITS = st.tuples(st.integers(1, 4), st.integers(0, 10), st.integers(1, 5), st.integers(0, 12))
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)
ARRIVALS = st.tuples(st.just("add"), PROMPTS, st.integers(1, 10), st.integers(1, 5))
ABORTS = st.tuples(st.sampled_from(["abort", "abort in flight"]), st.integers(0, 12))
STEPS = st.tuples(st.just("step"), st.integers(1, 4))
WEIGHTS = st.sampled_from([("weights",), ("weights in flight",)])
EVENTS = st.lists(ARRIVALS | ARRIVALS | STEPS | STEPS | ABORTS | WEIGHTS, max_size=30)


@settings(max_examples=300, deadline=None)
@given(limits=LIMITS, events=EVENTS)
def test_whatever_happens_all_finish(
    limits: tuple[int, int, int, int], events: list[tuple[object, ...]]
) -> None:
    page_size, more_pages, max_sequences, more_tokens = limits
    num_pages = -(-24 // page_size) + more_pages
    run = simulation(num_pages, page_size, max_sequences + more_tokens, max_sequences, 24)
    aborted: set[int] = set()
    for event in events:
        match event:
            case "add", list(ids), int(more), int(group):
                run.add(ids, len(ids) + more, group)
            case "abort", int(key):
                aborted |= run.live.keys() & {key}
                run.abort(key)
            case "abort in flight", int(key):
                aborted |= run.live.keys() & {key}
                run.step(partial(run.abort, key))
            case "step", int(times):
                for _ in range(times):
                    run.step()
            case ("weights",):
                run.change_weights()
            case _:
                run.step(run.change_weights)
    run.finish()
    assert all(len(sequence.ids) == run.targets[key] for key, sequence in run.done.items())
    assert run.done.keys() ^ aborted == run.targets.keys()


@given(
    prompt=PROMPTS,
    more=st.integers(2, 10),
    group=st.integers(1, 8),
    page_size=st.integers(1, 5),
    budget=st.integers(8, 20),
)
def test_groups_prefill_once_when_memory_suffices(
    prompt: list[int], more: int, group: int, page_size: int, budget: int
) -> None:
    run = simulation(200, page_size, budget, max_sequences=8)
    run.add(prompt, len(prompt) + more, group)
    run.finish()
    assert run.num_tokens == len(prompt) + group * (more - 1)
    assert run.num_copies == (group - 1 if len(prompt) % page_size else 0)
    assert run.scheduler.num_preemptions == 0
