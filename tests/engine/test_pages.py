"""Pages by hand, and random lives of sequences against a record of what each page holds."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.engine.pages import PagePool


def computed(pool: PagePool, ids: list[int]) -> list[int]:
    """Pages of a sequence that was begun and computed to its end."""
    begun = pool.begin(ids)
    assert begun is not None
    pages, _ = begun
    pool.publish(ids, pages)
    return pages


def test_it_gives_what_there_is() -> None:
    pool = PagePool(3, 4)
    assert pool.allocate(0) == []
    first = pool.allocate(2)
    assert first is not None
    assert len(set(first)) == 2
    assert pool.allocate(2) is None
    assert pool.num_available == 1
    pool.check([first])
    pool.release(first)
    pool.check([])
    assert pool.num_available == 3


def test_a_later_prompt_finds_the_beginning() -> None:
    pool = PagePool(8, 2)
    pages = computed(pool, [1, 2, 3, 4, 5])
    assert pool.match([1, 2, 3, 4, 9]) == pages[:2]
    assert pool.match([1, 2, 9, 4, 5]) == pages[:1]
    assert pool.match([9, 2, 3, 4, 5]) == []
    assert pool.match([3, 4, 3, 4, 5]) == []  # a page is known by all that came before it
    pool.check([pages, pages[:2], pages[:1]])
    assert pool.num_queried_tokens == 5 * 5
    assert pool.num_hit_tokens == 4 + 2


def test_the_last_token_is_always_computed() -> None:
    pool = PagePool(8, 2)
    pages = computed(pool, [1, 2, 3, 4])
    assert pool.match([1, 2, 3, 4]) == pages[:1]
    assert pool.match([1, 2]) == []
    assert pool.match([1]) == []


def test_a_partly_filled_page_is_not_kept() -> None:
    pool = PagePool(8, 2)
    pool.release(computed(pool, [1, 2, 3]))
    assert pool.num_kept == 1
    assert pool.num_available == 8


def test_begin_counts_only_what_it_does() -> None:
    pool = PagePool(4, 2)
    kept = computed(pool, [1, 2, 3, 4])
    pool.release(kept)
    assert pool.begin([1, 2, 3, 4, 5, 6], spare=2) is None
    assert (pool.num_queried_tokens, pool.num_kept) == (4, 2)
    assert pool.begin([1, 2, 3, 4, 5, 6], spare=1) == ([*kept, 2], 4)
    assert (pool.num_queried_tokens, pool.num_hit_tokens) == (10, 4)
    pool.check([[*kept, 2]])


def test_begin_does_not_count_on_pages_it_wakes() -> None:
    """Kept pages that match are available before, but not to the same sequence twice."""
    pool = PagePool(2, 2)
    pool.release(computed(pool, [1, 2, 3, 4]))
    assert pool.begin([1, 2, 3, 4, 5]) is None
    pool.check([])


def test_the_least_recently_used_goes_first_and_its_end_before_its_beginning() -> None:
    pool = PagePool(5, 1)
    pool.release(computed(pool, [1, 2]))
    pool.release(computed(pool, [3, 4]))
    again = pool.match([1, 9])
    pool.release(again)
    assert pool.allocate(3) is not None  # one page is free, so 2 and 4 have to go
    assert pool.num_kept == 2
    assert pool.allocate(1) is not None  # and now 3, as 1 was asked for later
    assert pool.match([3, 4, 9]) == []
    assert pool.match([1, 2, 9]) == again


def test_equal_pages_become_one() -> None:
    pool = PagePool(8, 2)
    one, other = pool.allocate(3), pool.allocate(3)
    assert one is not None
    assert other is not None
    pool.publish([1, 2, 3, 4, 5], one)
    pool.publish([1, 2, 3, 4, 5], other)
    assert other[:2] == one[:2]
    assert other[2] != one[2]
    assert pool.num_available == 4
    pool.check([one, other])


def test_a_page_is_published_only_behind_published_ones() -> None:
    pool = PagePool(4, 2)
    pages = pool.allocate(2)
    assert pages is not None
    pool.publish([1, 2, 3, 4], pages, 1, 2)
    pool.check([pages])
    pool.publish([1, 2, 3, 4], pages, 0, 1)
    pool.publish([1, 2, 3, 4], pages, 1, 2)
    assert pool.match([1, 2, 3, 4, 5]) == pages


def test_a_shared_page_is_copied_before_writing() -> None:
    pool = PagePool(4, 2)
    pages = computed(pool, [1, 2, 3])
    twin = pool.fork(pages)
    assert twin == pages
    assert twin is not pages
    assert pool.is_shared(pages[1])
    copy = pool.unshare(twin[1])
    assert copy is not None
    twin[1] = copy
    assert not pool.is_shared(pages[1])
    pool.check([pages, twin])


def test_nothing_to_copy_into() -> None:
    pool = PagePool(1, 2)
    pages = computed(pool, [1])
    twin = pool.fork(pages)
    assert pool.unshare(pages[0]) is None
    pool.check([pages, twin])


def test_forgotten_pages_are_never_matched() -> None:
    pool = PagePool(8, 2)
    pool.release(computed(pool, [7, 8, 9]))
    running = computed(pool, [1, 2, 3])
    twin = pool.fork(running)
    pool.forget()
    assert pool.match([1, 2, 3]) == pool.match([7, 8, 9]) == []
    copy = pool.unshare(twin[1])
    assert copy is not None
    twin[1] = copy
    for pages in (running, twin):  # old keys and values, filled up under the new weights
        pool.publish([1, 2, 3, 4], pages)
        pool.publish([1, 2, 3, 4], pages, 1, 2)
        pool.publish([3, 4], pages[1:])
    pool.check([running, twin])
    assert pool.match([1, 2, 3, 4, 5]) == pool.match([3, 4, 5]) == []
    pool.release(running)
    pool.release(twin)
    assert (pool.num_available, pool.num_kept) == (8, 0)
    fresh = computed(pool, [1, 2, 3])
    assert pool.match([1, 2, 3]) == fresh[:1]


def test_no_key_comes_to_mean_another_prefix() -> None:
    """Even if a beginning is given up before its end, and its page gets other ids."""
    pool = PagePool(3, 1)
    first, second = computed(pool, [1, 2])
    pool.release([first])
    pool.release([second])
    taken = pool.allocate(2)  # a free one and the beginning
    assert taken is not None
    assert first in taken
    pool.release([first])
    assert computed(pool, [5]) == [first]
    assert pool.match([5, 2, 9]) == [first]


def break_count(pool: PagePool) -> None:
    pool._references[0] += 1


def break_partition(pool: PagePool) -> None:
    pool._free.append(0)


def break_index(pool: PagePool) -> None:
    pool._index.clear()


@pytest.mark.parametrize("damage", [break_count, break_partition, break_index])
def test_check_notices(damage: Callable[[PagePool], None]) -> None:
    pool = PagePool(4, 2)
    pages = computed(pool, [1, 2, 3])
    pool.check([pages])
    damage(pool)
    with pytest.raises(AssertionError):
        pool.check([pages])


def test_release_of_what_is_not_held_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        PagePool(4, 2).release([0])


@given(
    num_pages=st.integers(1, 12),
    page_size=st.integers(1, 3),
    acts=st.lists(
        st.tuples(
            st.sampled_from(["begin", "begin", "grow", "grow", "fork", "release", "forget"]),
            st.integers(0, 20),
            st.lists(st.integers(0, 1), min_size=1, max_size=9),
        ),
        max_size=60,
    ),
)
def test_a_page_always_holds_what_its_sequences_think(
    num_pages: int, page_size: int, acts: list[tuple[str, int, list[int]]]
) -> None:
    """``held`` says which ids, from the very first, and which weights each page was made of."""
    pool = PagePool(num_pages, page_size)
    held: dict[int, tuple[int, list[int]]] = {}
    live: list[tuple[list[int], list[int], int]] = []  # ids, pages, version
    version = 0

    def fill(ids: list[int], pages: list[int], first: int, made_by: int) -> None:
        for i in range(first, len(pages)):
            held[pages[i]] = (made_by, ids[: (i + 1) * page_size])
        pool.publish(ids, pages, first)

    for act, pick, some in acts:
        ids, pages, made_by = live[pick % len(live)] if live else ([], [], -1)
        if act == "begin" and (begun := pool.begin(some)):
            fresh, num_known = begun
            fill(some, fresh, num_known // page_size, version)
            live.append((some, fresh, version))
        elif act == "forget":
            pool.forget()
            version += 1
        elif act == "release" and live:
            pool.release(pages)
            live.pop(pick % len(live))
        elif act == "fork" and live:
            live.append((list(ids), pool.fork(pages), made_by))
        elif act == "grow" and live:
            last = len(ids) // page_size
            if last < len(pages) and pool.is_shared(pages[last]):
                copy = pool.unshare(pages[last])
                if copy is None:
                    continue
                pages[last] = copy
            added = pool.allocate(pool.num_pages_for(len(ids) + len(some)) - len(pages))
            if added is not None:
                ids += some
                pages += added
                fill(ids, pages, last, made_by)
        pool.check([pages for _, pages, _ in live])
        for ids, pages, made_by in live:
            for i in range(len(ids) // page_size):
                assert held[pages[i]] == (made_by, ids[: (i + 1) * page_size])
