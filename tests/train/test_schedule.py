"""Learning rates, step by step."""

import pytest

from penjing.errors import BadQuantity
from penjing.train.schedule import Schedule, Shape


def rates(num_steps: int, **given: float | int | Shape) -> list[float]:
    schedule = Schedule(peak=1.0, **given)  # type: ignore[arg-type]
    return [schedule.rate(step, num_steps) for step in range(num_steps)]


def test_by_hand() -> None:
    assert rates(3) == [1, 1, 1]
    assert rates(4, warmup_steps=2) == [0.5, 1, 1, 1]
    assert rates(3, shape=Shape.LINEAR, final_share=0.5) == [1, 0.75, 0.5]
    assert rates(3, shape=Shape.COSINE) == pytest.approx([1, 0.55, 0.1])
    assert rates(4, shape=Shape.LINEAR, warmup_steps=1, final_share=0.0) == [1, 1, 0.5, 0]
    assert rates(1, shape=Shape.COSINE) == [1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"peak": 10.0}, "the learning rate is 10.0; .* at most 1: try 1e-6 to 1e-4"),
        ({"peak": 0.0}, "above 0"),
        ({"peak": float("nan")}, "the learning rate is nan"),
        ({"peak": 1e-4, "warmup_steps": -1}, "warmup_steps is -1"),
        ({"peak": 1e-4, "final_share": 1.5}, "final_share is 1.5"),
    ],
)
def test_rates_that_make_no_sense(given: dict[str, float], message: str) -> None:
    with pytest.raises(BadQuantity, match=message):
        Schedule(**given)  # type: ignore[arg-type]
