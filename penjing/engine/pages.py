"""Pages of the cache, counted by reference, and an index of what the full ones hold.

A page is a number; whoever owns the tensors knows where it lies. It is free, or referenced by the
sequences that read it, or kept, full and unreferenced, for a prompt that begins alike.

The index finds a page by the serial of the page before it and its own ids. No serial is given out
twice, so a key stands for a whole prefix without a hash that could collide: no prompt can be made
to read the cache of another.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

_Key = tuple[int, tuple[int, ...]]

# Serials of pages are above the root's; these two are below it.
_ROOT = 0
_UNPUBLISHED = -1
_STALE = -2  # referenced when the index was forgotten: never to be published


class PagePool:
    """``num_pages`` pages of ``page_size`` tokens."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        assert min(num_pages, page_size) > 0, (num_pages, page_size)
        self.num_pages = num_pages
        self.page_size = page_size
        self.num_queried_tokens = 0
        self.num_hit_tokens = 0
        self._free = list(range(num_pages - 1, -1, -1))
        self._kept: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._references = [0] * num_pages
        self._serials = [_UNPUBLISHED] * num_pages
        self._keys: list[_Key | None] = [None] * num_pages
        self._index: dict[_Key, int] = {}
        self._last_serial = _ROOT

    @property
    def num_available(self) -> int:
        """Pages that ``allocate`` could give: free ones, and kept ones it would evict."""
        return len(self._free) + len(self._kept)

    @property
    def num_kept(self) -> int:
        return len(self._kept)

    def num_pages_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.page_size)

    def match(self, ids: list[int]) -> list[int]:
        """References to the full pages that hold the longest known beginning of ``ids``.

        Never all of ``ids``: the last token has to be computed for its logits.
        """
        return self._take(ids, self._lookup(ids))

    def begin(
        self, ids: list[int], *, spare: int = 0, reads_index: bool = True
    ) -> tuple[list[int], int] | None:
        """Pages for all of ``ids``, and how many of its tokens they hold already.

        None, with nothing changed or counted, if that would leave fewer than ``spare`` available.
        """
        known = self._lookup(ids) if reads_index else []
        num_fresh = self.num_pages_for(len(ids)) - len(known)
        num_woken = sum(1 for page in known if not self._references[page])
        if num_fresh + num_woken + spare > self.num_available:
            return None
        pages = self._take(ids, known)
        fresh = self.allocate(num_fresh)
        assert fresh is not None
        return pages + fresh, len(known) * self.page_size

    def allocate(self, n: int) -> list[int] | None:
        """``n`` pages with one reference each, or None where so many are not available."""
        if n > self.num_available:
            return None
        while len(self._free) < n:
            self._evict()
        pages = [self._free.pop() for _ in range(n)]
        for page in pages:
            self._references[page] = 1
        return pages

    def release(self, pages: list[int]) -> None:
        """Gives up one reference to each; expects all the pages of a sequence, in their order.

        The last goes first, so that a page is never evicted before those that continue it.
        """
        for page in reversed(pages):
            assert self._references[page] > 0, page
            self._references[page] -= 1
            if not self._references[page]:
                self._retire(page)

    def fork(self, pages: list[int]) -> list[int]:
        """The same pages for one more sequence, a partly filled last one included."""
        for page in pages:
            assert self._references[page] > 0, page
            self._references[page] += 1
        return list(pages)

    def is_shared(self, page: int) -> bool:
        """Whether writing into the page needs a copy of it first."""
        return self._references[page] > 1

    def unshare(self, page: int) -> int | None:
        """A page for a copy of a shared one, in exchange for a reference to that.

        None where none is available. What it holds is copied by the caller.
        """
        assert self.is_shared(page), page
        fresh = self.allocate(1)
        if fresh is None:
            return None
        if self._serials[page] == _STALE:
            self._serials[fresh[0]] = _STALE
        self._references[page] -= 1
        return fresh[0]

    def publish(
        self, ids: list[int], pages: list[int], first: int = 0, last: int | None = None
    ) -> None:
        """Makes known that ``pages[first:last]`` are full of keys and values of ``ids``.

        Where another page is known to hold the same, it takes the place of the one in ``pages``,
        which is given up. Nothing happens behind a page that is itself unpublished or stale.
        """
        size, serials = self.page_size, self._serials
        before = serials[pages[first - 1]] if first else _ROOT
        for i in range(first, len(ids) // size if last is None else last):
            page = pages[i]
            if before < _ROOT:
                return
            if serials[page] == _UNPUBLISHED:
                key = (before, tuple(ids[i * size : (i + 1) * size]))
                known = self._index.get(key)
                if known is None:
                    self._enter(page, key)
                else:
                    self._reference(known)
                    self.release([page])
                    pages[i] = known
            before = serials[pages[i]]

    def forget(self) -> None:
        """Drops the index: the weights have changed.

        Referenced pages stay with their sequences, but neither they nor copies of them are ever
        matched again.
        """
        self._index.clear()
        self._free += self._kept
        self._kept.clear()
        for page, count in enumerate(self._references):
            self._serials[page] = _STALE if count else _UNPUBLISHED
            self._keys[page] = None

    def check(self, owners: Iterable[list[int]] | None = None) -> None:
        """Asserts what must hold between calls; with the pages of every owner, the counts too."""
        free, kept = set(self._free), set(self._kept)
        held = {page for page, count in enumerate(self._references) if count}
        assert min(self._references) >= 0
        assert len(self._free) + len(kept) + len(held) == self.num_pages
        assert free | kept | held == set(range(self.num_pages))
        published = {page for page, serial in enumerate(self._serials) if serial > _ROOT}
        assert kept <= published <= kept | held
        assert published == {page for page, key in enumerate(self._keys) if key is not None}
        assert {self._keys[page]: page for page in published} == self._index
        assert {before for before, _ in self._index} <= {_ROOT, *self._serials}
        assert all(self._serials[page] == _UNPUBLISHED for page in free)
        if owners is not None:
            counted = Counter(page for pages in owners for page in pages)
            assert {page: self._references[page] for page in held} == counted

    def _lookup(self, ids: list[int]) -> list[int]:
        size, pages, before = self.page_size, [], _ROOT
        for start in range(0, (len(ids) - 1) // size * size, size):
            page = self._index.get((before, tuple(ids[start : start + size])))
            if page is None:
                break
            pages.append(page)
            before = self._serials[page]
        return pages

    def _take(self, ids: list[int], known: list[int]) -> list[int]:
        for page in known:
            self._reference(page)
        self.num_queried_tokens += len(ids)
        self.num_hit_tokens += len(known) * self.page_size
        return known

    def _reference(self, page: int) -> None:
        if not self._references[page]:
            del self._kept[page]
        self._references[page] += 1

    def _enter(self, page: int, key: _Key) -> None:
        self._last_serial += 1
        self._serials[page] = self._last_serial
        self._keys[page] = key
        self._index[key] = page

    def _retire(self, page: int) -> None:
        if self._serials[page] > _ROOT:
            self._kept[page] = None
        else:
            self._serials[page] = _UNPUBLISHED
            self._free.append(page)

    def _evict(self) -> None:
        page, _ = self._kept.popitem(last=False)
        key = self._keys[page]
        assert key is not None
        del self._index[key]
        self._keys[page] = None
        self._serials[page] = _UNPUBLISHED
        self._free.append(page)
