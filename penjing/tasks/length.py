"""A soft limit on length: what comes close to it loses, token by token."""

from dataclasses import dataclass

from penjing.errors import BadQuantity, Contradiction


@dataclass(frozen=True, kw_only=True)
class SoftLimit:
    """The punishment of DAPO, arXiv 2503.14476, equation 13.

    The last ``cache_tokens`` before ``max_tokens`` are where it grows. The paper's figures are
    20,480 and 4,096. Raises ``BadQuantity`` and ``Contradiction``.
    """

    max_tokens: int
    cache_tokens: int

    def __post_init__(self) -> None:
        for name in ("max_tokens", "cache_tokens"):
            if getattr(self, name) < 1:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.cache_tokens > self.max_tokens:
            raise Contradiction(
                f"cache_tokens {self.cache_tokens} exceed max_tokens {self.max_tokens}, so that "
                "even an empty response would be punished; lower the first or raise the second"
            )


def over_length(num_tokens: int, limit: SoftLimit) -> float:
    """Nothing up to where the cache begins, -1 from the limit on, linear between."""
    assert num_tokens >= 0
    over = num_tokens - (limit.max_tokens - limit.cache_tokens)
    return -min(over / limit.cache_tokens, 1.0) if over > 0 else 0.0
