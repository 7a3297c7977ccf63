import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.models.kernels.reference import Spans
from penjing.models.packed import WHOLE, Packed, pack_documents


def test_documents_lie_one_after_another() -> None:
    packed = pack_documents([[7, 8, 9], [5], [6, 6]])
    assert packed.ids_T.tolist() == [7, 8, 9, 5, 6, 6]
    assert packed.positions_T.tolist() == [0, 1, 2, 0, 0, 1]
    assert packed.spans_B3.tolist() == [[0, 3, 3], [3, 1, 1], [4, 2, 2]]
    assert packed.slots_T is None
    assert packed.num_tokens == 6


def test_kernels_get_the_integers_they_read() -> None:
    packed = pack_documents([[1, 2], [3]])
    assert packed.ids_T.dtype is packed.positions_T.dtype is packed.table_BP.dtype is torch.int64
    assert packed.spans_B3.dtype is torch.int32
    assert packed.spans_B3.is_contiguous()


def test_nothing_is_nothing() -> None:
    packed = pack_documents([])
    assert packed.num_tokens == 0
    assert packed.spans_B3.shape == (0, 3)


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=6))
def test_each_document_finds_its_own_rows_and_no_others(documents: list[list[int]]) -> None:
    packed = pack_documents(documents)
    spans = Spans(spans_B3=packed.spans_B3, table_BP=packed.table_BP, page_size=packed.page_size)
    found = [(first, queries, rows.tolist()) for first, queries, rows in spans]
    assert [packed.ids_T[rows].tolist() for _, _, rows in found] == documents
    assert [packed.positions_T[rows].tolist() for _, _, rows in found] == [
        list(range(len(d))) for d in documents
    ]
    assert all(rows == list(range(first, first + n)) for first, n, rows in found)


def test_no_document_is_longer_than_a_page() -> None:
    """So the table has one column, whatever the lengths."""
    assert pack_documents([[0] * 5000]).table_BP.shape == (1, 1)
    assert WHOLE > 10**9


def test_a_pass_cannot_be_changed() -> None:
    packed = pack_documents([[1]])
    with pytest.raises(AttributeError):
        packed.page_size = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Packed(packed.ids_T)  # type: ignore[call-arg]


def test_a_prompt_in_common_has_its_rows_once() -> None:
    packed = pack_documents([[7, 8, 1], [7, 8, 2, 3], [7, 8, 4], [9, 5]], shared=[0, 2, 2, 0])
    assert packed.ids_T.tolist() == [7, 8, 1, 2, 3, 4, 9, 5]
    assert packed.positions_T.tolist() == [0, 1, 2, 2, 3, 2, 0, 1]
    assert packed.spans_B3.tolist() == [[0, 3, 3], [3, 2, 4], [5, 1, 3], [6, 2, 2]]
    spans = Spans(spans_B3=packed.spans_B3, table_BP=packed.table_BP, page_size=packed.page_size)
    rows = [rows.tolist() for _, _, rows in spans]
    assert rows == [[0, 1, 2], [0, 1, 3, 4], [0, 1, 5], [6, 7]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 6))
def test_every_position_has_a_row(owns: list[int], prompt: int) -> None:
    documents = [list(range(prompt)) + [100 + i] * own for i, own in enumerate(owns)]
    packed = pack_documents(documents, shared=[prompt if i else 0 for i in range(len(owns))])
    assert packed.num_tokens == prompt + sum(owns)
    for b, document in enumerate(documents):
        rows = packed.rows(torch.full((len(document),), b), torch.arange(len(document)))
        assert packed.ids_T[rows].tolist() == document
        assert packed.positions_T[rows].tolist() == list(range(len(document)))


def test_a_document_has_a_row_of_its_own() -> None:
    with pytest.raises(AssertionError):
        pack_documents([[1, 2], [1, 2]], shared=[0, 2])
