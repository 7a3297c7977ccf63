"""Samples from our own engine: in any company the same, with tags and counts."""

from collections.abc import Callable

import pytest
import torch

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.evaluate.generator import Ask, Missing, Reply, sample_seed
from penjing.evaluate.local import LocalGenerator
from penjing.tasks.task import Task
from penjing.tasks.template import Style

SAMPLING = Sampling(max_tokens=12, temperature=1.5)


def asks(task: Task, samples: int = 2) -> list[Ask]:
    return [
        Ask(problem=problem, index=index, seed=sample_seed(0, problem.id, index))
        for problem in task.problems(None)
        for index in range(samples)
    ]


def replies(
    engine: Engine, task: Task, given: list[Ask], sampling: Sampling = SAMPLING
) -> dict[tuple[str, int], Reply]:
    found = list(LocalGenerator(engine=engine, task=task, sampling=sampling).replies(given))
    assert all(isinstance(reply, Reply) for reply in found)
    return {(r.ask.problem.id, r.ask.index): r for r in found if isinstance(r, Reply)}


def test_a_sample_is_the_same_in_any_company(
    engine: Callable[..., Engine], task: Callable[..., Task]
) -> None:
    all_asks = asks(task())
    together = replies(engine(max_sequences=2), task(), all_asks)
    assert len(together) == 6
    for ask in all_asks:
        ((key, alone),) = replies(engine(), task(), [ask]).items()
        assert alone.response == together[key].response
        assert alone.num_tokens == together[key].num_tokens
    assert together["p0", 0].response != together["p0", 1].response


def test_what_is_told(engine: Callable[..., Engine], task: Callable[..., Task]) -> None:
    made = engine()
    found = replies(made, task(), asks(task()), Sampling(max_tokens=30, temperature=2.0))
    for reply in found.values():
        assert reply.num_prompt_tokens == len(reply.ask.problem.prompt)
        assert 0 < reply.num_tokens <= 30
        assert reply.finish_reason == ("length" if reply.num_tokens == 30 else "stop")
        assert "<eos>" not in reply.response
        assert reply.num_thinking_tokens is not None
        assert reply.wall_s > 0
        assert not reply.begins_in_thinking
    assert {r.finish_reason for r in found.values()} == {"length", "stop"}
    assert not made._requests


def test_a_prompt_may_leave_the_thinking_open(
    engine: Callable[..., Engine], task: Callable[..., Task]
) -> None:
    found = replies(engine(), task(["ab <think>"]), asks(task(["ab <think>"]), 1))
    assert found["p0", 0].begins_in_thinking


def test_a_prompt_that_is_too_long_is_missing(
    engine: Callable[..., Engine], task: Callable[..., Task]
) -> None:
    long = task(["ab", "c" * 200])
    generator = LocalGenerator(engine=engine(), task=long, sampling=SAMPLING)
    kinds = {r.ask.problem.id: r for r in generator.replies(asks(long, 1))}
    assert isinstance(kinds["p0"], Reply)
    assert isinstance(kinds["p1"], Missing)
    assert "the prompt has 200 tokens" in kinds["p1"].reason


@pytest.mark.parametrize("style", [Style.R1])
def test_without_a_chat_template_the_text_is_asked(
    engine: Callable[..., Engine], task: Callable[..., Task], style: Style
) -> None:
    made = engine()
    assert made.tokenizer is not None
    generator = LocalGenerator(engine=made, task=task(["ab"], style=style), sampling=SAMPLING)
    (ask,) = asks(task(["ab"], style=style), 1)
    assert not isinstance(generator._prompt(ask), str)
    made.tokenizer.chat_template, before = None, made.tokenizer.chat_template
    try:
        asked = generator._prompt(ask)
    finally:
        made.tokenizer.chat_template = before
    assert isinstance(asked, str)
    assert asked.startswith("ab\nPlease reason")


def test_a_request_that_fails_is_missing(
    engine: Callable[..., Engine], task: Callable[..., Task]
) -> None:
    made = engine()
    with torch.no_grad():
        next(made.decoder.parameters()).fill_(torch.nan)
    made.note_new_weights()
    found = list(LocalGenerator(engine=made, task=task(), sampling=SAMPLING).replies(asks(task())))
    assert len(found) == 6
    assert all(isinstance(one, Missing) for one in found)
    assert not made._requests


def test_who_leaves_early_leaves_nothing_behind(
    engine: Callable[..., Engine], task: Callable[..., Task]
) -> None:
    made = engine()
    found = LocalGenerator(engine=made, task=task(), sampling=SAMPLING).replies(asks(task()))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not made._requests
    assert made.core.is_idle
