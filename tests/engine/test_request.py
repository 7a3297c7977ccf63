import pytest

from penjing.engine.completion import Finish
from penjing.engine.request import Request
from penjing.engine.sample import Sample
from penjing.engine.sampler import PenaltyState
from penjing.engine.sampling import Sampling


def request(num_samples: int = 1, scores: list[float | None] | None = None) -> Request:
    samples = [
        Sample(
            index=index,
            sampling=Sampling(),
            seed=0,
            limit=4,
            end_ids=frozenset(),
            penalties=PenaltyState(()),
            thinking=None,
            stream=None,
        )
        for index in range(num_samples)
    ]
    return Request(
        key=0, prompt_ids=(1, 2, 3), sampling=Sampling(), samples=samples, prompt_logprobs=scores
    )


def test_a_request_is_done_with_its_last_sample() -> None:
    asked = request(2)
    assert not asked.is_done
    asked.samples[1].end(Finish.ABORT)
    assert not asked.is_done
    asked.samples[0].end(Finish.LENGTH)
    assert asked.is_done


@pytest.mark.parametrize(
    ("scores", "wants"),
    [
        (None, False),
        ([None, None, None], True),
        ([None, -1.0, None], True),  # a chunk was computed
        ([None, -1.0, -2.0], False),
        ([None], False),  # a single token has no score
    ],
)
def test_logits_of_the_prompt_are_wanted_until_its_last_score(
    scores: list[float | None] | None, wants: bool
) -> None:
    assert request(scores=scores).wants_prompt is wants


def test_requests_are_themselves() -> None:
    """Two that ask the same stay two."""
    assert request(0) != request(0)
