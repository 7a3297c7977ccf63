from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.plan.job import Objective, RlJob, ServeJob, TrainJob

lengths = st.integers(min_value=1, max_value=10_000_000)


def rl_job(output: int, longest: int) -> RlJob:
    return RlJob(
        model="m",
        prompts=1,
        group=1,
        input_tokens=1,
        output_tokens=output,
        longest_output=longest,
    )


@given(output=lengths, longest=lengths)
def test_the_longest_response_is_no_shorter_than_the_mean(output: int, longest: int) -> None:
    if longest >= output:
        assert rl_job(output, longest).longest_output == longest
        return
    with pytest.raises(BadQuantity, match=f"longest output {longest} is below the mean {output}; "):
        rl_job(output, longest)


def test_every_job_is_frozen_and_names_its_verb() -> None:
    jobs = (
        ServeJob(model="m", input_tokens=1, output_tokens=1),
        TrainJob(model="m", tokens=1.0, sequence=1, batch=1),
        rl_job(1, 1),
    )
    assert [job.verb for job in jobs] == ["serve", "train", "rl"]
    for job in jobs:
        assert job.objective is Objective.THROUGHPUT
        with pytest.raises(FrozenInstanceError):
            job.model = "other"  # type: ignore[misc]
