"""One request as the engine keeps it: its prompt, what was asked, and its samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penjing.engine.sample import Sample
from penjing.engine.sampling import Sampling
from penjing.errors import PenjingError


@dataclass(kw_only=True, eq=False)
class Request:
    """Lives from ``Engine.add`` until its last sample is done.

    ``prompt_logprobs`` fill as the prompt is computed, and stay None where nobody asked for them.
    """

    key: int
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    samples: list[Sample] = field(default_factory=list)
    prompt_logprobs: list[float | None] | None = None
    prompt_top_logprobs: list[Mapping[int, float] | None] | None = None
    num_cached: int | None = None  # None: not begun
    error: PenjingError | None = None

    @property
    def is_done(self) -> bool:
        return all(sample.finish is not None for sample in self.samples)

    @property
    def wants_prompt(self) -> bool:
        """Whether logits of prompt tokens are still to be seen."""
        scores = self.prompt_logprobs
        return scores is not None and len(scores) > 1 and scores[-1] is None
