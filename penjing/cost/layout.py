"""How one copy of a model is spread over chips."""

from dataclasses import dataclass

from penjing.errors import Contradiction


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Degrees of parallelism of one instance.

    ``data`` is attention data parallelism: each of its ranks holds whole sequences and, for
    ``data > 1``, its own copy of the attention weights. Experts are spread over ``expert`` ranks;
    what is left of ``tensor * data`` within an expert group splits each expert's width
    (``expert_tensor``). ``context`` splits one sequence over chips and is used in training only.
    """

    tensor: int = 1
    data: int = 1
    expert: int = 1
    pipeline: int = 1
    context: int = 1

    def __post_init__(self) -> None:
        for name in ("tensor", "data", "expert", "pipeline", "context"):
            if getattr(self, name) < 1:
                raise Contradiction(f"layout: {name} must be at least 1, not {getattr(self, name)}")
        if self.stage_chips % self.expert:
            raise Contradiction(
                f"layout: {self.expert} expert ranks do not divide the {self.stage_chips} chips "
                "of a pipeline stage"
            )

    @property
    def stage_chips(self) -> int:
        """Chips of one pipeline stage."""
        return self.tensor * self.data * self.context

    @property
    def chips(self) -> int:
        return self.stage_chips * self.pipeline

    @property
    def expert_tensor(self) -> int:
        """Ways each expert's width is split when serving."""
        return self.stage_chips // self.expert

    def __str__(self) -> str:
        parts = [
            f"{letters}{degree}"
            for letters, degree in (
                ("TP", self.tensor),
                ("DP", self.data),
                ("EP", self.expert),
                ("CP", self.context),
                ("PP", self.pipeline),
            )
            if degree > 1
        ]
        return " ".join(parts) or "1 chip"
