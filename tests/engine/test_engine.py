"""What a caller asks of an engine, and what comes back, errors included."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.engine import Engine
from penjing.engine.memory import EnginePlan
from penjing.engine.prompt import Prompt
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, PenjingError, RequestError, UnknownName
from penjing.models.decoder import Decoder
from penjing.models.generation_config import GenerationDefaults

Made = Callable[..., Engine]

THINK, CLOSE, EOS, USER = 60, 61, 62, 63
PROMPT = [5, 6, 7, 8]


def one(engine: Engine, prompt: Prompt = PROMPT, **asked: Any) -> Completion:
    (found,) = engine.generate([prompt], Sampling(**{"seed": 1, "max_tokens": 8, **asked}))
    return found


def finish(engine: Engine) -> None:
    for _ in range(200):
        engine.step()
    assert engine.core.is_idle, "it hangs"


def assert_idle(engine: Engine) -> None:
    """Usable, and nothing kept of what went before."""
    assert engine.core.is_idle
    assert not engine._requests
    assert not engine._streamed
    assert engine.core.pool.num_available == engine.core.pool.num_pages
    engine.core.pool.check([])
    assert one(engine).ids == one(engine).ids


def test_greedy_tokens_are_those_of_transformers(folder: Callable[..., Any]) -> None:
    made = folder("grouped")
    reference = Qwen3ForCausalLM.from_pretrained(made, dtype=torch.float32).eval()
    loaded = Engine.load(made)
    prompts = [[5, 6, 7, 8], [1], [9, 9, 200, 17, 30, 31, 2, 2, 2, 90]]
    found = loaded.generate(prompts, Sampling(temperature=0, max_tokens=20, ignore_eos=True))
    for prompt, completion in zip(prompts, found, strict=True):
        expected = reference.generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=0
        )
        assert [*prompt, *completion.ids] == expected[0].tolist()


def test_seeds_make_samples_and_none_makes_new_ones(engine: Made) -> None:
    made = engine()
    ask: dict[str, Any] = {"max_tokens": 16, "ignore_eos": True, "temperature": 1.5}
    assert one(made, **ask).ids == one(made, **ask).ids
    assert one(made, seed=2, **ask).ids != one(made, **ask).ids
    assert one(made, seed=None, **ask).ids != one(made, seed=None, **ask).ids
    several = made.generate([PROMPT], Sampling(seed=1, n=4, **ask))
    assert several[0] == replace(one(made, **ask), num_cached=several[0].num_cached)
    assert len({sample.ids for sample in several}) == 4


def test_completions_come_prompt_by_prompt(engine: Made) -> None:
    asks = [Sampling(seed=3, max_tokens=4, n=n) for n in (2, 1, 3)]
    found = engine(max_sequences=3).generate(["ab", [9], [{"role": "user", "content": "c"}]], asks)
    assert [c.prompt_ids for c in found] == [(0, 1)] * 2 + [(9,)] + [(USER, 2)] * 3
    assert [c.index for c in found] == [0, 1, 0, 0, 1, 2]


def test_limits_of_length(engine: Made) -> None:
    made = engine(max_length=20)
    free: dict[str, Any] = {"ignore_eos": True}
    assert len(one(made, max_tokens=5, **free).ids) == 5
    to_the_end = one(made, max_tokens=None, **free)
    assert (len(to_the_end.ids), to_the_end.finish) == (16, Finish.LENGTH)
    assert len(one(made, max_tokens=99, **free).ids) == 16
    assert len(one(made, list(range(19)), max_tokens=None, **free).ids) == 1
    nothing = one(made, list(range(20)), max_tokens=0, prompt_logprobs=0)
    assert (nothing.ids, nothing.finish) == ((), Finish.LENGTH)
    assert nothing.prompt_logprobs is not None
    assert None not in nothing.prompt_logprobs[1:]


def test_ends_of_text(engine: Made) -> None:
    likes_ends: dict[str, Any] = {"logit_bias": {EOS: 100, 7: 50}, "temperature": 0}
    made = engine()
    ended = one(made, **likes_ends)
    assert (ended.ids, ended.stop, ended.finish, ended.text) == ((EOS,), EOS, Finish.STOP, "")
    assert one(made, min_tokens=2, **likes_ends).ids == (7, 7, EOS)
    assert one(made, ignore_eos=True, **likes_ends).ids == (EOS,) * 8
    assert one(made, ignore_eos=True, stop_ids=(EOS,), **likes_ends).ids == (EOS,)
    stopped = one(made, stop_ids=(7,), logit_bias={7: 100})
    assert (stopped.ids, stopped.stop, stopped.text) == ((7,), 7, "")
    cut = one(made, stop=("hh", "x"), logit_bias={7: 100})
    assert (cut.ids, cut.stop, cut.text) == ((7, 7), "hh", "")
    held = one(made, stop=("hhhhhhhhhh",), logit_bias={7: 100})
    assert (held.text, held.finish) == ("h" * 8, Finish.LENGTH)


def even(answer: Sequence[int]) -> Sequence[int] | None:
    return range(0, 60, 2) if len(answer) < 6 else [EOS]


def test_a_constraint_holds(engine: Made) -> None:
    found = one(engine(), constrain=even, n=1, max_tokens=20, temperature=2)
    assert all(token % 2 == 0 for token in found.ids)
    assert (len(found.ids), found.finish) == (7, Finish.STOP)


def fails(_: Sequence[int]) -> Sequence[int]:
    raise ValueError("no such\nstate")


BAD_CONSTRAINTS: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (fails, "the constraint failed after 0 tokens .*: ValueError: no such state; it"),
    "nothing": (lambda _: [], "the constraint allows no token after 0 of the answer"),
    "later": (lambda a: [4] if len(a) < 3 else [], "allows no token after 3 of the answer"),
    "outside": (lambda _: [64], "the constraint names id 64: must be at least 0 and below 64"),
    "huge": (lambda _: [2**70], "the constraint failed .* OverflowError"),
    "words": (lambda _: "ab", "the constraint failed .* TypeError"),
    "number": (lambda _: 5, "the constraint failed .* TypeError"),
    "only the end": (lambda _: [EOS], "no token is left to draw"),
}


@pytest.mark.parametrize(("hook", "message"), BAD_CONSTRAINTS.values(), ids=BAD_CONSTRAINTS)
def test_a_bad_constraint_ends_its_request_alone(
    engine: Made, hook: Callable[..., Any], message: str
) -> None:
    made = engine(max_sequences=5)
    bad = Sampling(constrain=hook, max_tokens=8, min_tokens=4, seed=1, n=2)
    good = Sampling(max_tokens=12, seed=1, ignore_eos=True)
    key = made.add(PROMPT, good)
    with pytest.raises(RequestError, match=message) as caught:
        made.generate([[9], PROMPT, [9, 9]], [good, bad, good])
    assert "\n" not in str(caught.value)
    finish(made)
    (other,) = made.take(key)
    assert other == replace(one(engine(), max_tokens=12, ignore_eos=True), num_cached=0)
    failed = made.add(PROMPT, bad)
    finish(made)
    with pytest.raises(RequestError, match=message):
        made.take(failed)
    with pytest.raises(RequestError, match=message):
        list(made.stream(PROMPT, bad))
    assert_idle(made)


def check_stream(deltas: Sequence[Delta], whole: Completion) -> None:
    assert tuple(token for d in deltas for token in d.ids) == whole.ids
    assert tuple(score for d in deltas for score in d.logprobs) == whole.logprobs
    assert tuple(top for d in deltas for top in d.top_logprobs or ()) == whole.top_logprobs
    assert "".join(d.text for d in deltas) == whole.text
    assert [d.finish for d in deltas] == [None] * (len(deltas) - 1) + [whole.finish]


def test_a_stream_is_its_completion_in_pieces(engine: Made) -> None:
    ask = Sampling(seed=4, n=3, max_tokens=30, stop=("ab", "q"), logprobs=2, temperature=1.5)
    made = engine()
    deltas = list(made.stream(PROMPT, ask))
    for whole in made.generate([PROMPT], ask):
        check_stream([d for d in deltas if d.index == whole.index], whole)
    assert_idle(made)


def test_streams_and_others_take_turns(engine: Made) -> None:
    """Whoever drives the engine drives all, and each stream still gets all of its own."""
    made = engine()
    asks = [Sampling(seed=i, max_tokens=6 + 3 * i, ignore_eos=True, logprobs=0) for i in range(3)]
    wholes = [made.generate([PROMPT], ask)[0] for ask in asks]
    streams = [made.stream(PROMPT, ask) for ask in asks]
    rows = [next(streams[2])]
    made.generate([[1]], Sampling(max_tokens=4))
    made.step()
    taken = list(zip_longest(*streams))
    for i, whole in enumerate(wholes):
        deltas = [row[i] for row in taken if row[i] is not None]
        check_stream(rows + deltas if i == 2 else deltas, whole)
    assert_idle(made)


def test_a_stream_left_early_is_aborted(engine: Made) -> None:
    made = engine()
    key = made.add([1, 2, 3], Sampling(seed=1, max_tokens=9, ignore_eos=True))
    stream = made.stream(PROMPT, Sampling(max_tokens=50, ignore_eos=True))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert made._requests.keys() == made.core._requests.keys() == {key}
    finish(made)
    assert made.take(key) == [one(engine(), [1, 2, 3], max_tokens=9, ignore_eos=True)]
    assert_idle(made)


def test_a_stream_that_nobody_reads_takes_nothing(engine: Made) -> None:
    made = engine()
    made.stream(PROMPT, Sampling(max_tokens=50, ignore_eos=True))
    assert_idle(made)


def test_an_abort_keeps_what_there_is(engine: Made) -> None:
    made = engine()
    ask = Sampling(seed=1, max_tokens=9, ignore_eos=True, n=2)
    key, other = made.add(PROMPT, ask), made.add([3], ask)
    for _ in range(3):
        made.step()
    assert [(k, d.finish) for k, d in made.abort(key)] == [(key, Finish.ABORT)] * 2
    assert made.abort(key) == []
    finish(made)
    expected = engine().generate([PROMPT, [3]], ask)
    for found, whole in zip(made.take(key), expected, strict=False):
        assert (found.ids, found.finish) == (whole.ids[:3], Finish.ABORT)
    assert made.take(other) == expected[2:]
    waiting = made.add(PROMPT, ask)
    made.abort(waiting)
    assert [c.ids for c in made.take(waiting)] == [(), ()]
    assert_idle(made)


def test_scores_are_the_bits_of_generation(engine: Made) -> None:
    made = engine("latent", torch.bfloat16)
    found = made.generate([PROMPT, [1]], Sampling(seed=1, max_tokens=20, prompt_logprobs=0))
    scores = made.score([c.prompt_ids + c.ids for c in found])
    for c, row in zip(found, scores, strict=True):
        assert c.prompt_logprobs is not None
        assert tuple(row) == c.prompt_logprobs + c.logprobs
    assert made.score([[3]]) == [[None]]


REFUSED: dict[str, tuple[Prompt, dict[str, Any], type[PenjingError], str]] = {
    "long": ([1] * 40, {}, BadQuantity, "the prompt has 40 tokens, .* may have 40; shorten it, or"),
    "too long to score": ([1] * 41, {"max_tokens": 0}, BadQuantity, "the prompt has 41 tokens"),
    "empty": ([], {}, RequestError, "no tokens"),
    "no id": ([64], {}, BadQuantity, "id 64"),
    "template": ([{"role": "system", "content": "a"}], {}, RequestError, "no system"),
    "stop": ([1], {"stop_ids": (64,)}, BadQuantity, "stop_ids names id 64; ids are below 64"),
    "bias": ([1], {"logit_bias": {99: 1.0}}, BadQuantity, "logit_bias names id 99"),
    "close": ([1], {"thinking_budget": 3, "thinking_close": "x"}, BadQuantity, "thinking_close is"),
}


@pytest.mark.parametrize(("prompt", "asked", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_before_anything_runs(
    engine: Made, prompt: Prompt, asked: dict[str, Any], kind: type[PenjingError], message: str
) -> None:
    made = engine(max_length=40)
    asks = [Sampling(max_tokens=3), Sampling(**{"max_tokens": 3, **asked})]
    with pytest.raises(kind, match=message) as caught:
        made.generate([PROMPT, prompt], asks)
    assert "\n" not in str(caught.value)
    assert made.core.num_computed_tokens == 0
    assert_idle(made)


def test_lists_have_to_match(engine: Made) -> None:
    made = engine()
    with pytest.raises(BadQuantity, match="1 samplings for 2 prompts; give one, or one for each"):
        made.generate(["a", "b"], [Sampling()])
    with pytest.raises(RequestError, match="prompts is one text; give a list of prompts"):
        made.generate("ab")
    with pytest.raises(RequestError, match="a prompt is a int"):
        made.generate([1, 2])  # type: ignore[list-item]
    assert made.generate([]) == []
    assert_idle(made)


def test_without_a_tokenizer(
    decoder: Callable[..., Decoder], plan: Callable[..., EnginePlan]
) -> None:
    made = Engine(decoder(), plan=plan())
    assert one(made, ignore_eos=True).text == ""
    with pytest.raises(RequestError, match="stop strings need a tokenizer"):
        one(made, stop=("a",))
    with pytest.raises(BadQuantity, match="thinking_budget is 3, but the tokenizer has no single"):
        one(made, thinking_budget=3)
    assert_idle(made)


def test_defaults_are_the_publishers(
    decoder: Callable[..., Decoder], plan: Callable[..., EnginePlan]
) -> None:
    said = GenerationDefaults(eos_ids=(3,), temperature=0.6, top_k=20, repetition_penalty=1.1)
    made = Engine(decoder(), plan=plan(max_length=16), defaults=said)
    assert made.default_sampling == Sampling(temperature=0.6, top_k=20, repetition_penalty=1.1)
    assert Engine(decoder(), plan=plan()).default_sampling == Sampling()
    greedy = Engine(
        decoder(), plan=plan(max_length=16), defaults=GenerationDefaults(do_sample=False)
    )
    assert greedy.generate([PROMPT]) == greedy.generate([PROMPT])


def test_weights_that_broke_are_an_error_and_no_text(
    engine: Made, decoder: Callable[..., Decoder]
) -> None:
    model = decoder()
    made = engine(model)
    with torch.no_grad():
        model.norm[3] = torch.nan
    wishes: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 1}, {"thinking_budget": 0}]
    for asked in wishes:
        with pytest.raises(RequestError, match="a logit is nan, not a finite number"):
            one(made, [THINK], **asked)
    with torch.no_grad():
        model.norm.fill_(1)
    assert_idle(made)


def test_unknown_numerics_are_refused(engine: Made) -> None:
    with pytest.raises(UnknownName, match="unknown numerics 'quick'"):
        engine(numerics="quick")
