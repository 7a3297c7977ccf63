"""Tokens of many sequences along one axis: the seam between serving and training.

Nothing is padded. Each sequence is a span of rows; its keys are found through a table of pages,
whether they lie in a cache or are the rows of this very pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WHOLE = 2**40  # a page longer than any document


@dataclass(frozen=True, kw_only=True)
class Packed:
    """``spans_B3`` holds, of each sequence, its first row, its rows now, and its keys in the end.

    Position ``p`` of sequence ``b`` has its key in row ``table_BP[b, p // page_size] + p %
    page_size``: of the cache where ``slots_T`` says which rows this pass writes, else of the pass
    itself. Every sequence attends to its own keys up to each token, and to nothing else.
    """

    ids_T: Tensor  # int64
    positions_T: Tensor  # int64
    spans_B3: Tensor  # int32
    table_BP: Tensor  # int64
    page_size: int
    slots_T: Tensor | None = None  # int64

    @property
    def num_tokens(self) -> int:
        return self.ids_T.shape[0]

    def rows(self, sequences_X: Tensor, positions_X: Tensor) -> Tensor:
        """Where the keys, and in a pass without a cache all else, of these positions are. [X]"""
        pages_X = self.table_BP.cpu()[sequences_X, positions_X // self.page_size]
        return pages_X + positions_X % self.page_size


def pack_documents(
    documents: Sequence[Sequence[int]],
    device: str | torch.device = "cpu",
    shared: Sequence[int] | None = None,
) -> Packed:
    """Documents one after another: training, scoring, and anything else without a cache.

    The first ``shared[b]`` tokens of a document are those of the one before, and are computed once
    for both; at least one token of each must be its own.
    """
    shared = shared or [0] * len(documents)
    owns = [len(document) - old for document, old in zip(documents, shared, strict=True)]
    firsts = [sum(owns[:i]) for i in range(len(owns))]
    ids = [token for d, old in zip(documents, shared, strict=True) for token in d[old:]]
    positions = [p for d, old in zip(documents, shared, strict=True) for p in range(old, len(d))]
    spans = [[first, own, len(d)] for first, own, d in zip(firsts, owns, documents, strict=True)]
    return Packed(
        ids_T=torch.tensor(ids, dtype=torch.int64, device=device),
        positions_T=torch.tensor(positions, dtype=torch.int64, device=device),
        spans_B3=torch.tensor(spans, dtype=torch.int32).reshape(-1, 3),
        table_BP=_rows(documents, shared, firsts) if any(shared) else _column(firsts),
        page_size=1 if any(shared) else WHOLE,
    )


def _column(firsts: Sequence[int]) -> Tensor:
    return torch.tensor(firsts, dtype=torch.int64).reshape(-1, 1)


def _rows(
    documents: Sequence[Sequence[int]], shared: Sequence[int], firsts: Sequence[int]
) -> Tensor:
    """The row of every position: those shared are where the document before has them."""
    table_BP = torch.zeros(len(documents), max(map(len, documents)), dtype=torch.int64)
    for b, (document, old, first) in enumerate(zip(documents, shared, firsts, strict=True)):
        own = len(document) - old
        assert own > 0, "a document without a row of its own"
        table_BP[b, :old] = table_BP[b - 1, :old]
        table_BP[b, old : len(document)] = torch.arange(first, first + own)
    return table_BP
