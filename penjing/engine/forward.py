"""What the engine computes with: the decoder, the cache, and the buffers between them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from penjing.engine.batch import Batch
from penjing.engine.memory import EnginePlan, planned_buffers
from penjing.engine.scheduler import Step
from penjing.models.arithmetic import Arithmetic, Buffers
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import Numerics, choose_kernels


class Forward:
    """Runs the scheduler's steps on the weights as they are at that moment: there is no copy."""

    def __init__(self, decoder: Decoder, plan: EnginePlan, numerics: Numerics) -> None:
        device = decoder.embedding.device
        kernels = choose_kernels(device, numerics)
        self.digest = f"{kernels.digest}-{str(decoder.embedding.dtype).removeprefix('torch.')}"
        self._decoder, self._plan, self._numerics = decoder, plan, numerics
        self._buffers = Buffers(device)
        self._arithmetic = Arithmetic(kernels, self._buffers)
        buffers = planned_buffers(
            decoder.config, plan.max_batch_tokens, expands_latents=numerics is Numerics.FAST
        )
        for name, planned in buffers.items():
            dtype = torch.float32 if planned.is_wide else decoder.embedding.dtype
            self._buffers.reserve(name, planned.num_values, dtype)
        # Of all positions: whoever trains the same decoder may have longer documents.
        decoder.limit_positions(decoder.config.max_positions)
        self._caches = decoder.new_caches(plan.num_pages * plan.page_size)
        for cache_SW in self._caches:
            cache_SW.fill_(0)  # zeros may be promised memory only: touch it now, not mid-request
        self._batch = Batch(
            max_tokens=plan.max_batch_tokens,
            max_chunks=plan.max_sequences,
            max_pages=plan.pages_per_sequence,
            page_size=plan.page_size,
            device=device,
        )

    @property
    def buffer_bytes(self) -> int:
        return self._buffers.num_bytes

    def hidden(self, step: Step) -> Tensor:
        """Hidden states of the step's tokens, in a buffer of the next pass. [T, D]"""
        self._copy_pages(step)
        packed = self._batch.pack(step)
        is_fresh = all(chunk.start == 0 for chunk in step.chunks)
        expand = self._numerics is Numerics.FAST and is_fresh
        hidden_TD: Tensor = self._decoder(packed, self._arithmetic, self._caches, expand=expand)
        return hidden_TD

    def logits(self, hidden_TD: Tensor, rows: list[int]) -> Iterator[tuple[int, Tensor]]:
        """(place of the first row, logits [R, V]) in parts; a part lasts until the next is asked.

        Parts keep the largest buffer, logits of a whole vocabulary, at ``logit_rows``.
        """
        size = self._plan.logit_rows
        rows_B = torch.tensor(rows, device=hidden_TD.device)
        for start in range(0, len(rows), size):
            part_RD = self._arithmetic.pick("picked", hidden_TD, rows_B[start : start + size])
            yield start, self._decoder.logits(part_RD, self._arithmetic)

    def log_sum_exp(self, logits_RV: Tensor) -> tuple[Tensor, Tensor]:
        """Of each row: log of the sum of exponentials, and the lowest id of the largest logit."""
        return self._arithmetic.log_sum_exp(logits_RV)

    def _copy_pages(self, step: Step) -> None:
        size = self._plan.page_size
        for source, target in step.copies:
            for cache_SW in self._caches:
                pages = cache_SW.view(-1, size, cache_SW.shape[1])
                pages[target].copy_(pages[source])
