"""Padded batches give what one document at a time gives, and so do their gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from penjing.models.kernels import padded, reference
from penjing.models.kernels.reference import Heads, Spans
from penjing.models.packed import pack_documents

GROUPED = Heads(num_heads=4, num_kv_heads=2, key_dim=8, value_dim=8, value_at=16, scale=0.3)
WINDOW = Heads(
    num_heads=4, num_kv_heads=2, key_dim=8, value_dim=8, value_at=16, scale=0.3, window=3
)
LATENT = Heads(num_heads=4, num_kv_heads=1, key_dim=10, value_dim=6, value_at=0, scale=0.2)
ALL = {"grouped": GROUPED, "window": WINDOW, "latent": LATENT}


def spans(lengths: list[int]) -> Spans:
    packed = pack_documents([[1] * n for n in lengths])
    return Spans(spans_B3=packed.spans_B3, table_BP=packed.table_BP, page_size=packed.page_size)


def drawn(lengths: list[int], heads: Heads, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    values = heads.value_at + heads.num_kv_heads * heads.value_dim
    width = max(heads.num_kv_heads * heads.key_dim, values)
    q_TNH = torch.randn(total, heads.num_heads, heads.key_dim, generator=generator)
    kv_TW = torch.randn(total, width, generator=generator)
    return q_TNH.requires_grad_(), kv_TW.requires_grad_()


@pytest.mark.parametrize("kind", sorted(ALL))
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=7))
def test_results_and_gradients_are_those_of_the_formula(kind: str, lengths: list[int]) -> None:
    heads = ALL[kind]
    q_TNH, kv_TW = drawn(lengths, heads)
    where = spans(lengths)
    assert padded.are_whole(where)
    theirs = reference.attend(q_TNH, kv_TW, heads, where)
    ours = padded.attend_whole(q_TNH, kv_TW, heads, where)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weight = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad((theirs * weight).sum(), (q_TNH, kv_TW))
    found = torch.autograd.grad((ours * weight).sum(), (q_TNH, kv_TW))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_batches_have_every_document_once_and_little_padding() -> None:
    sizes = [(0, 10), (10, 3), (13, 9), (22, 2), (24, 7)]
    found = [list(batch) for batch in padded.batches(sizes)]
    assert found == [[(0, 10), (13, 9), (24, 7)], [(10, 3), (22, 2)]]
    assert list(padded.batches([])) == []


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padded, "MOST_TOKENS", 20)
    found = [len(batch) for batch in padded.batches([(i * 5, 5) for i in range(9)])]
    assert found == [4, 4, 1]


def test_keys_in_a_cache_are_not_whole_documents() -> None:
    whole = spans([3, 2])
    assert padded.are_whole(whole)
    longer = whole.spans_B3.clone()
    longer[0, 2] = 5
    assert not padded.are_whole(
        Spans(spans_B3=longer, table_BP=whole.table_BP, page_size=whole.page_size)
    )
    pages = torch.tensor([[0, 1], [2, 3]])
    assert not padded.are_whole(Spans(spans_B3=whole.spans_B3, table_BP=pages, page_size=2))
    assert not padded.are_whole(
        Spans(spans_B3=whole.spans_B3, table_BP=whole.table_BP.flip(0), page_size=whole.page_size)
    )
