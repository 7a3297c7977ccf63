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


def pack_documents(
    documents: Sequence[Sequence[int]], device: str | torch.device = "cpu"
) -> Packed:
    """Whole documents one after another: training, scoring, and anything else without a cache."""
    lengths = [len(document) for document in documents]
    firsts = [sum(lengths[:i]) for i in range(len(lengths))]
    ids = [token for document in documents for token in document]
    positions = [position for length in lengths for position in range(length)]
    spans = [[first, n, n] for first, n in zip(firsts, lengths, strict=True)]
    return Packed(
        ids_T=torch.tensor(ids, dtype=torch.int64, device=device),
        positions_T=torch.tensor(positions, dtype=torch.int64, device=device),
        spans_B3=torch.tensor(spans, dtype=torch.int32).reshape(-1, 3),
        table_BP=torch.tensor(firsts, dtype=torch.int64).reshape(-1, 1),
        page_size=WHOLE,
    )
