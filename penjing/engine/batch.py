"""The scheduler's step as the tensors of one pass, in memory that is filled anew each time."""

import numpy as np
import torch
from torch import Tensor

from penjing.engine.scheduler import Step
from penjing.models.packed import Packed


class Batch:
    """Room for ``max_tokens`` tokens of at most ``max_chunks`` sequences of ``max_pages`` pages."""

    def __init__(
        self,
        *,
        max_tokens: int,
        max_chunks: int,
        max_pages: int,
        page_size: int,
        device: torch.device,
    ) -> None:
        self._page_size, self._device = page_size, device
        self._ids = np.zeros(max_tokens, np.int64)
        self._positions = np.zeros(max_tokens, np.int64)
        self._slots = np.zeros(max_tokens, np.int64)
        self._spans = np.zeros((max_chunks, 3), np.int32)
        self._table = np.zeros((max_chunks, max_pages), np.int64)

    def pack(self, step: Step) -> Packed:
        """Rows in the order of the step's chunks."""
        pages_wide = max(len(chunk.sequence.pages) for chunk in step.chunks)
        table = self._table[: len(step.chunks), :pages_wide]
        table.fill(0)
        row = 0
        for b, chunk in enumerate(step.chunks):
            sequence, start, end = chunk.sequence, chunk.start, chunk.start + chunk.count
            stop = row + chunk.count
            self._ids[row:stop] = sequence.ids[start:end]
            self._positions[row:stop] = range(start, end)
            self._spans[b] = row, chunk.count, end
            table[b, : len(sequence.pages)] = sequence.pages
            row = stop
        table *= self._page_size
        self._find_slots(step, row)
        on_device = (self._ids, self._positions, self._slots)
        ids_T, positions_T, slots_T = (self._moved(values[:row]) for values in on_device)
        return Packed(
            ids_T=ids_T,
            positions_T=positions_T,
            slots_T=slots_T,
            spans_B3=torch.from_numpy(self._spans[: len(step.chunks)]),
            table_BP=torch.from_numpy(np.ascontiguousarray(table)),
            page_size=self._page_size,
        )

    def _find_slots(self, step: Step, num_tokens: int) -> None:
        positions, slots = self._positions[:num_tokens], self._slots[:num_tokens]
        sequence_of = np.repeat(np.arange(len(step.chunks)), [c.count for c in step.chunks])
        np.remainder(positions, self._page_size, out=slots)
        slots += self._table[sequence_of, positions // self._page_size]

    def _moved(self, values: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Tensor:
        return torch.from_numpy(values).to(self._device)
