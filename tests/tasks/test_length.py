import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity, Contradiction
from penjing.tasks.length import SoftLimit, over_length

DAPO = SoftLimit(max_tokens=20_480, cache_tokens=4_096)  # arXiv 2503.14476, section 4.1


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    [
        (0, 0.0),
        (16_384, 0.0),
        (16_385, -1 / 4_096),
        (18_432, -0.5),
        (20_479, -4_095 / 4_096),
        (20_480, -1.0),
        (20_481, -1.0),
        (10**9, -1.0),
    ],
)
def test_the_formula_of_the_paper(num_tokens: int, expected: float) -> None:
    assert over_length(num_tokens, DAPO) == expected


sizes = st.integers(1, 100_000)


@given(sizes, sizes, st.integers(0, 200_000), st.integers(0, 1_000))
def test_longer_never_pays(a: int, b: int, num_tokens: int, more: int) -> None:
    limit = SoftLimit(max_tokens=max(a, b), cache_tokens=min(a, b))
    short, long = over_length(num_tokens, limit), over_length(num_tokens + more, limit)
    assert -1.0 <= long <= short <= 0.0
    assert over_length(limit.max_tokens, limit) == -1.0
    assert over_length(limit.max_tokens - limit.cache_tokens, limit) == 0.0


@pytest.mark.parametrize(("longest", "cache"), [(0, 1), (1, 0), (-5, 1), (10, -1)])
def test_limits_that_mean_nothing(longest: int, cache: int) -> None:
    with pytest.raises(BadQuantity, match="must be at least 1"):
        SoftLimit(max_tokens=longest, cache_tokens=cache)


def test_a_cache_longer_than_the_limit() -> None:
    with pytest.raises(Contradiction, match="cache_tokens 11 exceed max_tokens 10"):
        SoftLimit(max_tokens=10, cache_tokens=11)
