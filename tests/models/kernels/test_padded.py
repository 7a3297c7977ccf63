"""Padded batches give what one sequence at a time gives, and so do their gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from penjing.models.kernels import padded, reference
from penjing.models.kernels.padded import Size
from penjing.models.kernels.reference import Heads, Spans
from penjing.models.packed import Packed, pack_documents

GROUPED = Heads(num_heads=4, num_kv_heads=2, key_dim=8, value_dim=8, value_at=16, scale=0.3)
WINDOW = Heads(
    num_heads=4, num_kv_heads=2, key_dim=8, value_dim=8, value_at=16, scale=0.3, window=3
)
LATENT = Heads(num_heads=4, num_kv_heads=1, key_dim=10, value_dim=6, value_at=0, scale=0.2)
ALL = {"grouped": GROUPED, "window": WINDOW, "latent": LATENT}


def spans(packed: Packed) -> Spans:
    return Spans(spans_B3=packed.spans_B3, table_BP=packed.table_BP, page_size=packed.page_size)


def drawn(total: int, heads: Heads) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = heads.value_at + heads.num_kv_heads * heads.value_dim
    width = max(heads.num_kv_heads * heads.key_dim, values)
    q_TNH = torch.randn(total, heads.num_heads, heads.key_dim, generator=generator)
    kv_TW = torch.randn(total, width, generator=generator)
    return q_TNH.requires_grad_(), kv_TW.requires_grad_()


def require_equal(packed: Packed, heads: Heads) -> None:
    q_TNH, kv_TW = drawn(packed.num_tokens, heads)
    theirs = reference.attend(q_TNH, kv_TW, heads, spans(packed))
    ours = padded.attend(q_TNH, kv_TW, heads, spans(packed))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weight = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad((theirs * weight).sum(), (q_TNH, kv_TW))
    found = torch.autograd.grad((ours * weight).sum(), (q_TNH, kv_TW))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(ALL))
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=7))
def test_whole_documents(kind: str, lengths: list[int]) -> None:
    require_equal(pack_documents([[1] * n for n in lengths]), ALL[kind])


@pytest.mark.parametrize("kind", sorted(ALL))
@settings(max_examples=25, deadline=None)
@given(
    groups=st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_documents_with_a_prompt_in_common(kind: str, groups: list[tuple[int, list[int]]]) -> None:
    """Prompts of one length and responses of many, long and short beside one another."""
    documents = [[g] * (prompt + own) for g, (prompt, owns) in enumerate(groups) for own in owns]
    shared = [prompt if i else 0 for prompt, owns in groups for i in range(len(owns))]
    require_equal(pack_documents(documents, shared=shared), ALL[kind])


def test_batches_have_every_sequence_once_and_little_padding() -> None:
    sizes = [Size(i, n, n) for i, n in enumerate((10, 3, 9, 2, 7))]
    found = [[size.index for size in batch] for batch in padded.batches(sizes)]
    assert found == [[0, 2, 4], [1, 3]]
    assert list(padded.batches([])) == []


def test_short_queries_over_long_keys_do_not_share_a_batch_with_whole_documents() -> None:
    sizes = [Size(0, 10, 10), Size(1, 9, 90), Size(2, 9, 80)]
    found = [[size.index for size in batch] for batch in padded.batches(sizes)]
    assert found == [[0], [1, 2]]


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padded, "MOST_TOKENS", 20)
    found = [len(batch) for batch in padded.batches([Size(i, 5, 5) for i in range(9)])]
    assert found == [4, 4, 1]
