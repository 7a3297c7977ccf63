"""One pass through a model: which tokens, which cache, by which arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from penjing.models.arithmetic import Arithmetic
from penjing.models.kernels.reference import Heads, Spans
from penjing.models.packed import WHOLE, Packed


@dataclass(frozen=True, kw_only=True)
class Run:
    """``caches`` has a tensor [slots, values] a layer, or nothing: then keys are this pass's own.

    ``expand`` computes latent attention as multi-head attention, where no key is older than the
    pass: fewer operations for long prompts, other roundings.
    """

    packed: Packed
    arithmetic: Arithmetic
    turns_PR: Tensor
    caches: Sequence[Tensor] = ()
    expand: bool = False

    @property
    def spans(self) -> Spans:
        packed = self.packed
        return Spans(spans_B3=packed.spans_B3, table_BP=packed.table_BP, page_size=packed.page_size)

    @property
    def own_spans(self) -> Spans:
        """The same sequences with this pass's rows as their keys: none may have older ones."""
        spans_B3 = self.packed.spans_B3
        assert bool((spans_B3[:, 1] == spans_B3[:, 2]).all()), "older keys are latents in the cache"
        return Spans(spans_B3=spans_B3, table_BP=spans_B3[:, :1].long(), page_size=WHOLE)

    def attend(self, name: str, q_TNH: Tensor, kv_TW: Tensor, heads: Heads, layer: int) -> Tensor:
        """Stores this pass's keys and values in the layer's cache, if there is one, and attends."""
        if self.packed.slots_T is None:
            return self.arithmetic.attend(name, q_TNH, kv_TW, heads, self.spans)
        cache_SW = self.caches[layer]
        cache_SW.index_copy_(0, self.packed.slots_T, kv_TW)
        return self.arithmetic.attend(name, q_TNH, cache_SW, heads, self.spans)
