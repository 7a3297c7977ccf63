from random import Random

import pytest
import torch

from penjing.engine.batch import Batch
from penjing.engine.scheduler import Chunk, Step
from penjing.engine.sequence import Sequence
from penjing.models.packed import Packed

SIZE = 4


def sequence(key: int, ids: list[int], pages: list[int]) -> Sequence:
    made = Sequence(key=key, ids=ids)
    made.pages = pages
    return made


def batch(max_tokens: int = 32, max_chunks: int = 4, max_pages: int = 8) -> Batch:
    return Batch(
        max_tokens=max_tokens,
        max_chunks=max_chunks,
        max_pages=max_pages,
        page_size=SIZE,
        device=torch.device("cpu"),
    )


def test_a_step_by_hand() -> None:
    """A single token in the middle of a page, and a chunk across two pages."""
    one = sequence(0, [5, 6, 7, 8, 9, 10], [3, 1])
    other = sequence(1, [20, 21, 22, 23, 24, 25, 26, 27, 28], [6, 0, 2])
    step = Step(chunks=[Chunk(one, 5, 1, True), Chunk(other, 2, 5, False)])
    packed = batch().pack(step)
    assert packed.ids_T.tolist() == [10, 22, 23, 24, 25, 26]
    assert packed.positions_T.tolist() == [5, 2, 3, 4, 5, 6]
    assert packed.slots_T is not None
    assert packed.slots_T.tolist() == [1 * 4 + 1, 26, 27, 0, 1, 2]
    assert packed.spans_B3.tolist() == [[0, 1, 6], [1, 5, 7]]
    assert packed.table_BP.tolist() == [[12, 4, 0], [24, 0, 8]]
    assert (packed.page_size, packed.num_tokens) == (4, 6)
    kinds = [packed.ids_T.dtype, packed.slots_T.dtype, packed.table_BP.dtype]
    assert kinds == [torch.int64] * 3
    assert packed.spans_B3.dtype == torch.int32  # as the kernels read it
    assert packed.table_BP.is_contiguous()


def drawn_step(draw: Random) -> Step:
    pages = draw.sample(range(100), k=32)
    step = Step()
    for key in range(draw.randint(1, 4)):
        length = draw.randint(1, 32)
        mine, pages = pages[:8], pages[8:]
        made = sequence(key, draw.choices(range(1000), k=length), mine[: -(-length // SIZE)])
        start = draw.randrange(length)
        step.chunks.append(Chunk(made, start, draw.randint(1, min(8, length - start)), False))
    return step


def same(a: Packed, b: Packed) -> bool:
    names = ("ids_T", "positions_T", "spans_B3", "table_BP", "slots_T")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("seed", range(30))
def test_what_was_there_before_does_not_show(seed: int) -> None:
    """Memory is filled anew each time; each slot is where the table says its position lies."""
    draw, used = Random(seed), batch()
    for _ in range(4):
        step = drawn_step(draw)
        packed = used.pack(step)
        assert same(packed, batch().pack(step))
        assert packed.slots_T is not None
        rows = iter(zip(packed.ids_T.tolist(), packed.slots_T.tolist(), strict=True))
        for chunk, table in zip(step.chunks, packed.table_BP.tolist(), strict=True):
            for position in range(chunk.start, chunk.start + chunk.count):
                token, slot = next(rows)
                assert token == chunk.sequence.ids[position]
                assert slot == table[position // SIZE] + position % SIZE
                assert slot // SIZE == chunk.sequence.pages[position // SIZE]


def test_a_step_may_be_as_large_as_was_promised() -> None:
    made = [sequence(key, [key] * 8, [key * 2, key * 2 + 1]) for key in range(4)]
    step = Step(chunks=[Chunk(one, 0, 8, True) for one in made])
    packed = batch(max_tokens=32, max_chunks=4, max_pages=2).pack(step)
    assert packed.slots_T is not None
    assert packed.slots_T.tolist() == list(range(32))
