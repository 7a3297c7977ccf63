"""Whole lives of an engine, compared bit for bit with each request alone in a fresh, roomy one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.models.decoder import Decoder
from penjing.models.kernels.invariant import InvariantKernels

Made = Callable[..., Engine]
Asked = tuple[list[int], Sampling]

THINK, EOS = 60, 62
LONGEST = 22  # tokens of a prompt and its completion
MOST_STEPS = 500  # of a schedule; all need fewer
NUM_ASKED = 24  # different requests a model is asked in all schedules
MODELS = [
    (kind, dtype) for kind in ("grouped", "latent") for dtype in (torch.float32, torch.bfloat16)
]


def answers_even(answer: Sequence[int]) -> Sequence[int] | None:
    return [*range(0, 60, 2), EOS] if len(answer) % 3 else None


def asked(number: int) -> Asked:
    """A request of a fixed catalogue: many prompts begin alike, and no two samplings are."""
    draw = Random(f"asked {number}")
    stem = Random(draw.randrange(2)).choices(range(60), k=11)
    prompt = stem[: draw.choice([0, 4, 8, 11])] + draw.choices(range(60), k=draw.randint(1, 4))
    if draw.random() < 0.4:
        prompt.append(THINK)
    most = draw.choice([0, 1, 2, 3, 4, 5, 5, 6])
    sampling = Sampling(
        temperature=draw.choice([0.0, 0.7, 1.0, 1.6]),
        top_k=draw.choice([0, 0, 1, 12]),
        top_p=draw.choice([1.0, 1.0, 0.8]),
        min_p=draw.choice([0.0, 0.0, 0.05]),
        repetition_penalty=draw.choice([1.0, 1.0, 1.3]),
        presence_penalty=draw.choice([0.0, 0.0, 0.7]),
        frequency_penalty=draw.choice([0.0, 0.0, -0.4]),
        seed=number,
        stop=draw.choice([(), (), ("a", "b", "c", "D")]),
        stop_ids=draw.choice([(), (), (3, 4, 5, 6, 7, 8)]),
        min_tokens=draw.choice([0, 0, min(most, 3)]),
        max_tokens=most,
        ignore_eos=draw.random() < 0.3,
        n=draw.choice([1, 1, 2, 3]),
        logprobs=draw.choice([None, None, 0, 2]),
        prompt_logprobs=draw.choice([None, None, None, 0, 2]),
        logit_bias=draw.choice([{}, {}, {9: 4.0, THINK: 3.0}]),
        thinking_budget=draw.choice([None, 0, 1, 2, 5]),
        constrain=draw.choice([None, None, None, answers_even]),
    )
    return prompt, sampling


@dataclass
class Life:
    """Drives an engine through one schedule, and asserts after every step what must hold."""

    engine: Engine
    draw: Random
    live: dict[int, int] = field(default_factory=dict)  # key of a request -> its number
    aborted: dict[int, int] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)
    streamed: dict[tuple[int, int], list[Delta]] = field(default_factory=dict)

    def run(self, arrivals: Sequence[int]) -> None:
        queue = list(arrivals)
        for _ in range(MOST_STEPS):
            if not queue and self.engine.core.is_idle:
                break
            while queue and (self.engine.core.is_idle or self.draw.random() < 0.5):
                number = queue.pop(0)
                self.live[self.engine.add(*asked(number))] = number
            if self.live and self.draw.random() < 0.06:
                self.abort(self.draw.choice(list(self.live)))
            self.step()
        assert self.engine.core.is_idle, "it hangs"
        pool = self.engine.core.pool
        assert pool.num_available == pool.num_pages
        pool.check([])

    def abort(self, key: int) -> None:
        self.aborted[key] = self.live.pop(key)
        self.take_in(self.engine.abort(key))
        assert self.engine.abort(key) == []
        self.check()

    def step(self) -> None:
        self.take_in(self.engine.step())
        for key in [k for k in self.live if self.engine._requests[k].is_done]:
            self.done[key] = self.live.pop(key)
        self.check()

    def take_in(self, increments: Sequence[tuple[int, Delta]]) -> None:
        for key, delta in increments:
            self.streamed.setdefault((key, delta.index), []).append(delta)

    def check(self) -> None:
        core = self.engine.core
        members = [member for group in core._members.values() for member in group]
        core.pool.check([member.pages for member in members])
        assert core._owners.keys() == {member.key for member in members}
        assert core._requests.keys() == self.live.keys()

    def check_deltas(self, key: int, found: Sequence[Completion]) -> None:
        for one in found:
            deltas = self.streamed[key, one.index]
            assert tuple(token for d in deltas for token in d.ids) == one.ids
            assert tuple(score for d in deltas for score in d.logprobs) == one.logprobs
            assert "".join(d.text for d in deltas) == one.text
            assert [d.finish for d in deltas] == [None] * (len(deltas) - 1) + [one.finish]


def run(engine: Engine) -> None:
    for _ in range(200):
        engine.step()
    assert engine.core.is_idle, "it hangs"


def as_if_alone(found: Completion, alone: Completion) -> bool:
    return replace(found, num_cached=0) == replace(alone, num_cached=0)


def begins(found: Completion, alone: Completion) -> bool:
    """Whether an aborted sample was on its way to what it would have been."""
    n = len(found.ids)
    return (found.ids, found.logprobs) == (alone.ids[:n], alone.logprobs[:n])


def schedule(
    engine: Made, model: Decoder, alone: Callable[[int], list[Completion]], name: str
) -> Counter[str]:
    """One schedule, made up from ``name``; counts what was met in it."""
    draw = Random(name)
    page_size, places = draw.choice([1, 2, 3, 4, 7, 16]), draw.randint(2, 5)
    tight = engine(
        model,
        page_size=page_size,
        num_pages=-(-LONGEST // page_size) + draw.choice([0, 3, 6, 9]) // page_size,
        max_sequences=places,
        max_batch_tokens=places + draw.choice([0, 2, 7, 20, 20]),
        max_length=LONGEST + draw.randint(0, 9),
        logit_rows=draw.choice([1, 2, 3, 64]),
    )
    life = Life(tight, draw)
    life.run([draw.randrange(NUM_ASKED) for _ in range(draw.randint(2, 3))])
    found: list[Completion] = []
    for key, number in (life.done | life.aborted).items():
        completions = tight.take(key)
        life.check_deltas(key, completions)
        same = as_if_alone if key in life.done else begins
        for one, other in zip(completions, alone(number), strict=True):
            assert same(one, other), f"schedule {name}, request {number}: {one} is not {other}"
        found += completions
    return Counter(
        schedules=1,
        preemptions=tight.core.scheduler.num_preemptions,
        hits=sum(one.num_cached > 0 for one in found),
        aborts=len(life.aborted),
        cut=sum(one.finish is Finish.ABORT and len(one.ids) > 0 for one in found),
        forced=sum(any(one.is_forced) for one in found),
        stops=sum(isinstance(one.stop, str) for one in found),
        groups=sum(one.index > 0 for one in found),
    )


@pytest.fixture(scope="module")
def alone(
    engine: Made, decoder: Callable[..., Decoder]
) -> Callable[[str, torch.dtype, int], list[Completion]]:
    """What a model answers to a request of the catalogue in an engine of its own, on one thread."""
    model = cache(decoder)

    @cache
    def answer(kind: str, dtype: torch.dtype, number: int) -> list[Completion]:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        prompt, sampling = asked(number)
        found = engine(model(kind, dtype)).generate([prompt], sampling)
        torch.set_num_threads(before)
        return found

    return answer


def live_through(run: Callable[[str], Counter[str]], part: str, num_schedules: int) -> Counter[str]:
    met: Counter[str] = Counter()

    @settings(max_examples=num_schedules, deadline=None, database=None)
    @given(seed=st.integers(0, 2**64))
    def live(seed: int) -> None:
        met.update(run(f"{part} {seed}"))

    live()
    assert met["schedules"] >= num_schedules
    return met


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize(("kind", "dtype"), MODELS)
def test_no_schedule_shows_in_a_result(
    engine: Made,
    decoder: Callable[..., Decoder],
    alone: Callable[..., list[Completion]],
    kind: str,
    dtype: torch.dtype,
    part: int,
) -> None:
    """1,008 schedules in all."""
    run = partial(schedule, engine, decoder(kind, dtype), partial(alone, kind, dtype))
    met = live_through(run, f"{kind} {dtype} {part}", 63)
    assert all(met.values()), met  # each was really met


@pytest.mark.parametrize(("kind", "dtype"), MODELS)
def test_nor_does_the_number_of_threads(
    engine: Made,
    decoder: Callable[..., Decoder],
    alone: Callable[..., list[Completion]],
    kind: str,
    dtype: torch.dtype,
) -> None:
    torch.set_num_threads(2)
    model, other = decoder(kind, dtype), partial(alone, kind, dtype)
    for i in range(3):
        schedule(engine, model, other, f"{kind} {dtype} threads {i}")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("kind", "dtype"), MODELS)
def test_nor_on_a_machine_without_a_compiler(
    engine: Made,
    decoder: Callable[..., Decoder],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr("penjing.engine.forward.choose_kernels", lambda *_: InvariantKernels())
    model = decoder(kind, dtype)
    assert engine(model).digest.startswith("torch-")

    @cache
    def alone(number: int) -> list[Completion]:
        prompt, sampling = asked(number)
        return engine(model).generate([prompt], sampling)

    live_through(partial(schedule, engine, model, alone), f"{kind} {dtype} torch", 8)


def test_a_group_computes_its_prompt_once(engine: Made) -> None:
    prompt, num_samples, num_tokens = list(range(21)), 8, 5
    made = engine(page_size=4)
    sampling = Sampling(n=num_samples, max_tokens=num_tokens, seed=1, ignore_eos=True)
    found = made.generate([prompt], sampling)
    assert [one.index for one in found] == list(range(num_samples))
    assert len({one.ids for one in found}) > 1
    # The last token of each is not computed, as nothing follows it.
    assert made.core.num_computed_tokens == len(prompt) + num_samples * (num_tokens - 1)


@pytest.mark.parametrize(("kind", "dtype"), MODELS)
def test_a_known_prefix_is_not_computed_again(engine: Made, kind: str, dtype: torch.dtype) -> None:
    shared = Random(1).choices(range(60), k=67)
    first, second, once = [*shared, 1, 2], [*shared, 3, 4, 5], Sampling(max_tokens=4, seed=1)
    made = engine(kind, dtype, page_size=8)
    (cold,) = made.generate([first], once)
    computed = made.core.num_computed_tokens
    (warm,) = made.generate([second], once)
    assert (cold.num_cached, warm.num_cached) == (0, 64)
    assert made.core.num_computed_tokens - computed == len(second) - 64 + len(warm.ids) - 1
    (again,) = made.generate([second], once)
    assert again.num_cached == 64  # the last page of 70 is not full
    (fresh,) = engine(kind, dtype, page_size=8).generate([second], once)
    assert fresh.num_cached == 0
    assert as_if_alone(warm, fresh)
    assert as_if_alone(again, fresh)


@pytest.mark.parametrize(("kind", "dtype"), MODELS)
def test_a_request_goes_on_across_new_weights(
    engine: Made,
    decoder: Callable[..., Decoder],
    training: Callable[..., list[torch.Tensor]],
    kind: str,
    dtype: torch.dtype,
) -> None:
    """Old tokens stay, and what follows is the new policy's, given them."""
    model = decoder(kind, dtype)
    made = engine(model)
    ask = Sampling(max_tokens=9, seed=5, ignore_eos=True, n=2, prompt_logprobs=0)
    key = made.add(list(range(20)), ask)
    for _ in range(4):
        made.step()
    (before,) = training(model, [list(range(20))])
    with torch.no_grad():
        model.norm.mul_(1.5)
    run(made)
    for one in made.take(key):
        assert (one.policy_version, one.last_policy_version) == (0, 1)
        (after,) = training(model, [one.prompt_ids + one.ids])
        scores = [float(after[19 + i, token]) for i, token in enumerate(one.ids)]
        assert list(one.logprobs[4:]) == scores[4:]
        assert list(one.logprobs[:4]) != scores[:4]
        assert one.logprobs[0] == float(before[19, one.ids[0]])
        assert one.prompt_logprobs is not None
        assert one.prompt_logprobs[1] == float(before[0, 1])
    made.core.pool.check([])


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("part", ["hidden", "log_sum_exp"])
def test_an_interrupted_step_leaves_nothing_half_done(
    engine: Made, monkeypatch: pytest.MonkeyPatch, part: str, late: bool
) -> None:
    """The third step copies shared pages, and the fourth gives some samples their token."""
    ask, prompt = Sampling(max_tokens=8, seed=5, ignore_eos=True, n=4), list(range(6))
    expected = engine().generate([prompt], ask)
    made = engine(page_size=4, logit_rows=2)
    key, forward = made.add(prompt, ask), made.core.forward
    made.step()
    real, num_calls = getattr(forward, part), 0

    def interrupted(*given: object) -> object:
        nonlocal num_calls
        num_calls += 1
        if num_calls > 1 and late:
            raise KeyboardInterrupt
        found = real(*given)
        if not late:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(forward, part, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    monkeypatch.undo()
    run(made)
    assert [as_if_alone(*pair) for pair in zip(made.take(key), expected, strict=True)] == [True] * 4
    made.core.pool.check([])
