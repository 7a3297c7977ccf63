"""Distillation: gradients by hand, both forms agree on average, and a student nears its teacher."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, Contradiction
from penjing.models.decoder import Decoder
from penjing.models.tokenizer import Tokenizer
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.reward import RewardConfig
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.train.aggregation import Aggregation
from penjing.train.balance import BALANCE
from penjing.train.clip import Ppo
from penjing.train.collect import CollectConfig, Collector
from penjing.train.distil import (
    Distil,
    DistilConfig,
    Form,
    Graded,
    check_same_ids,
    distributions,
    graded_tokens,
    reverse_kl,
)
from penjing.train.learner import Learner
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.policy_loss import PolicyLoss, policy_loss
from penjing.train.schedule import Schedule, Shape
from penjing.train.scores import Document
from penjing.train.stream import ProblemStream
from tests.engine.conftest import LETTERS, words

PROBLEMS = [
    Problem(id=f"p{i}", prompt=prompt, reference="", split=Split.TRAIN)
    for i, prompt in enumerate(["ab", "cde", "f", "gh"])
]
FORMS = list(Form)


def learner(model: Decoder, max_tokens: int = 1000) -> Learner:
    return Learner(model, Optimizer(dict(model.named_parameters()), AdamW()), max_tokens)


def distil(
    engine: Engine, teacher: Decoder, *, steps: int = 6, max_tokens: int = 1000, **config: Any
) -> Distil:
    task = Task(
        name="few",
        source=FileSource(PROBLEMS),
        judge=lambda problem, response: Grade(verdict=Verdict.WRONG, reason="looked"),
        template=Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED),
    )
    collector = Collector(
        engine=engine,
        task=task,
        problems=ProblemStream(task, 2).take,
        reward=RewardConfig(weights={"accuracy": 1.0}),
        config=CollectConfig(problems=4, group_size=6, sampling=Sampling(max_tokens=8)),
        seed=5,
    )
    return Distil(
        collector,
        learner(engine.decoder, max_tokens),
        learner(teacher),
        DistilConfig(**config),
        Schedule(peak=1e-2, shape=Shape.COSINE),
        steps,
        seed=7,
    )


def weights(model: Decoder) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def biases(model: Decoder) -> Tensor:
    found = [p for name, p in model.named_parameters() if name.endswith("correction_bias")]
    return torch.cat([p.detach().clone() for p in found])


def document(num_learnt: int) -> Document:
    return Document(ids=(0,) * (num_learnt + 1), is_learnt=(False,) + (True,) * num_learnt)


def graded(old: list[float], teacher: list[float]) -> Graded:
    scores = tuple(old)
    return Graded(document=document(len(old)), rollout=scores, old=scores, teacher=tuple(teacher))


def sampled_gradient(
    logits_XV: Tensor, ids_X: Tensor, old_X: Tensor, teacher_X: Tensor, weights_X: Tensor
) -> Tensor:
    leaf_XV = logits_XV.clone().requires_grad_()
    logprobs_X = leaf_XV.log_softmax(1).gather(1, ids_X[:, None])[:, 0]
    one = graded(old_X.tolist(), teacher_X.tolist())
    tokens = graded_tokens([one], logprobs_X, weights_X)
    policy_loss(tokens, PolicyLoss(clip=Ppo(low=0.2, high=0.2))).value.backward()
    assert leaf_XV.grad is not None
    return leaf_XV.grad


def drawn(seed: int, rows: int, words: int) -> tuple[Tensor, Tensor]:
    """Logits of a student, log-probabilities of its teacher."""
    draw = torch.Generator().manual_seed(seed)
    student_XV, teacher_XV = torch.randn(2, rows, words, generator=draw)
    return student_XV, teacher_XV.log_softmax(1)


def test_the_gradient_of_what_was_sampled_is_the_one_by_hand() -> None:
    """On policy: dL/dz_v = -w A (1[v = y] - pi_v); where the clip holds rho, none at all."""
    logits_XV, teacher_XV = drawn(1, 3, 5)
    ids_X, weights_X = torch.tensor([4, 0, 2]), torch.tensor([0.5, 0.3, 0.2])
    logprobs_XV = logits_XV.log_softmax(1)
    old_X, teacher_X = (one.gather(1, ids_X[:, None])[:, 0] for one in (logprobs_XV, teacher_XV))
    advantages_X = teacher_X - old_X
    one_hot_XV = torch.nn.functional.one_hot(ids_X, 5)
    by_hand_XV = -(weights_X * advantages_X)[:, None] * (one_hot_XV - logprobs_XV.exp())
    found_XV = sampled_gradient(logits_XV, ids_X, old_X, teacher_X, weights_X)
    torch.testing.assert_close(found_XV, by_hand_XV)
    assert advantages_X.abs().min() > 0.01
    beyond_X = old_X - advantages_X.sign()  # rho = e where A > 0, 1/e where A < 0
    moved_XV = sampled_gradient(
        logits_XV, ids_X, beyond_X, beyond_X + advantages_X, weights_X
    )  # of the same advantages
    assert moved_XV.abs().max() == 0


def test_the_reverse_divergence_is_the_one_by_hand() -> None:
    """KL((1/2, 1/4, 1/4) || (1/4, 1/2, 1/4)) = ln(2) / 4; its gradient p (log p/q - KL)."""
    p_XV, q_XV = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.5, 0.25]])
    assert reverse_kl(p_XV.log(), q_XV.log()).item() == pytest.approx(0.6931472 / 4)
    assert reverse_kl(p_XV.log(), p_XV.log()).item() == 0
    leaf_XV = p_XV.log().requires_grad_()
    reverse_kl(leaf_XV.log_softmax(1), q_XV.log()).sum().backward()
    by_hand_XV = p_XV * ((p_XV / q_XV).log() - 0.6931472 / 4)
    torch.testing.assert_close(leaf_XV.grad, by_hand_XV, rtol=0, atol=1e-6)


def test_ids_that_only_the_teacher_has_count_for_nothing() -> None:
    p_XV, q_XV = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.25, 0.5]])
    assert reverse_kl(p_XV.log(), q_XV.log()).item() == pytest.approx(0.6931472)


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_the_sampled_gradient_is_the_full_one_on_average(seed: int, words: int) -> None:
    """Over all that the student might say, each as often as it says it."""
    logits_XV, teacher_XV = drawn(seed, 1, words)
    logprobs_XV = logits_XV.log_softmax(1)
    mean_XV = torch.zeros_like(logits_XV)
    for id in range(words):
        old_X, teacher_X = logprobs_XV[:, id], teacher_XV[:, id]
        one_XV = sampled_gradient(logits_XV, torch.tensor([id]), old_X, teacher_X, torch.ones(1))
        mean_XV += old_X.exp() * one_XV
    leaf_XV = logits_XV.clone().requires_grad_()
    reverse_kl(leaf_XV.log_softmax(1), teacher_XV).sum().backward()
    torch.testing.assert_close(mean_XV, leaf_XV.grad, rtol=1e-4, atol=1e-5)


def test_distributions_are_those_that_score(decoder: Callable[..., Decoder]) -> None:
    model = decoder("latent")
    texts = [
        Document(ids=(1, 2, 3, 4), is_learnt=(False, True, False, True)),
        Document(ids=(5, 6), is_learnt=(False, True)),
    ]
    logprobs_XV = distributions(model, texts).detach()
    picked = logprobs_XV[range(3), [2, 4, 6]].tolist()
    assert picked == [score for row in learner(model).score(texts) for score in row]
    torch.testing.assert_close(logprobs_XV.exp().sum(1), torch.ones(3))


@pytest.mark.parametrize("form", FORMS)
def test_a_student_nears_its_teacher(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder], form: Form
) -> None:
    teacher = decoder("latent", seed=3)
    before = weights(teacher)
    work = distil(engine("grouped"), teacher, steps=16, form=form)
    facts = [work.step(number) for number in range(16)]
    assert facts[-1]["reverse_kl"] < 0.7 * facts[0]["reverse_kl"]
    assert [one["largest_gap"] for one in facts] == [0.0] * 16
    assert facts[0]["tokens"] == pytest.approx(24 * facts[0]["length"])
    assert facts[-1]["problems"] == 64
    assert (facts[0]["rate"], facts[-1]["rate"]) == pytest.approx((1e-2, 1e-3))
    assert torch.equal(weights(teacher), before)
    assert all(p.grad is None for p in teacher.parameters())


def test_what_is_told_of_the_first_step(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    """Both forms see the same samples; the divergence of one is an estimate of the other's."""
    teacher = decoder("latent", seed=3)
    sampled, full = (distil(engine(), teacher, form=form).step(0) for form in FORMS)
    for name in ("tokens", "length", "thinks", "truncated", "reward", "problems"):
        assert sampled[name] == full[name], name
    assert sampled["entropy"] == pytest.approx(full["entropy"], rel=1e-5)
    assert full["loss"] == pytest.approx(full["reverse_kl"], rel=1e-5)  # the mean over tokens
    assert sampled["loss"] == pytest.approx(sampled["reverse_kl"], rel=1e-5)  # rho is 1
    assert sampled["reverse_kl"] == pytest.approx(full["reverse_kl"], rel=0.3)
    assert sampled["clipped"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_has_nothing_to_learn(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder], form: Form
) -> None:
    facts = distil(engine(), decoder(), form=form).step(0)
    assert facts["reverse_kl"] == 0
    assert facts["norm"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_pieces_change_nothing_but_roundings(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder], form: Form
) -> None:
    ends = []
    for max_tokens in (1000, 30):
        made = engine("routed")
        config: dict[str, Any] = {"form": form, "aggregation": Aggregation.SEQUENCE}
        work = distil(made, decoder("latent", seed=3), max_tokens=max_tokens, **config)
        facts = work.step(0)
        ends.append((weights(made.decoder), facts["loss"], facts["norm"], facts["entropy"]))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=0, atol=2e-3)
    assert ends[0][1:] == pytest.approx(ends[1][1:], rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_experts_are_kept_busy_alike(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder], form: Form
) -> None:
    """The biases of a student's router move by its speed, those of the teacher's do not."""
    made, teacher = engine("latent"), decoder("latent", seed=3)
    before = biases(made.decoder), biases(teacher)
    distil(made, teacher, form=form).step(0)
    moved = (biases(made.decoder) - before[0]).abs()
    assert moved.max().item() == pytest.approx(BALANCE, rel=1e-3)
    assert torch.equal(biases(teacher), before[1])


def test_later_minibatches_are_off_policy(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    work = distil(engine(), decoder(seed=3), minibatches=3)
    assert work.step(0)["clipped"] > 0  # the second and third are off policy


def test_forced_tokens_are_not_learnt(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    work = distil(engine(), decoder(seed=3))
    config = work.collector.config
    sampling = Sampling(max_tokens=8, thinking_budget=0, thinking_close="</think>")
    work.collector = replace(work.collector, config=replace(config, sampling=sampling))
    rollouts = [one for group in work.collector.sample(PROBLEMS, 0) for one in group]
    assert any(any(one.completion.is_forced) for one in rollouts)
    for one, found in zip(rollouts, work._graded(rollouts), strict=True):
        free = one.completion.is_forced.count(False)
        assert len(found.old) == len(found.teacher) == found.document.num_learnt == free


def test_fast_numerics_have_a_gap_that_is_told(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    made = engine("grouped", torch.bfloat16, numerics="fast")
    assert 0 < distil(made, decoder(seed=3)).step(0)["largest_gap"] < 0.5


@pytest.mark.parametrize("form", FORMS)
def test_it_goes_on_from_the_middle_to_the_same_bits(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder], form: Form
) -> None:
    config: dict[str, Any] = {"form": form, "minibatches": 2, "steps": 4}
    straight = distil(engine("latent"), decoder(seed=3), **config)
    facts = []
    for number in range(4):
        if number == 2:
            tensors, more = straight.state()
            held = {name: t.clone() for name, t in tensors.items()}
        facts.append(straight.step(number))
    resumed = distil(engine(decoder("latent", seed=8)), decoder(seed=3), **config)
    resumed.restore(held, more)
    assert [resumed.step(number) for number in (2, 3)] == facts[2:]
    for name, tensor in straight.state()[0].items():
        assert torch.equal(tensor, resumed.state()[0][name]), name


def test_a_teacher_with_fewer_ids_is_refused(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    with pytest.raises(Contradiction, match="the teacher has 60 ids, the student 64"):
        distil(engine(), decoder(vocab_size=60))
    more = distil(engine(), decoder(vocab_size=70, seed=3), form=Form.FULL)
    assert more.step(0)["reverse_kl"] > 0


def test_tokenizers_have_to_agree(tokenizer: Tokenizer) -> None:
    check_same_ids(tokenizer, words(template=None))  # a template is no matter of ids
    swapped = words(letters="abced" + LETTERS[5:])
    with pytest.raises(Contradiction, match="id 3 is 'd' for the student and 'e' for the teacher"):
        check_same_ids(tokenizer, swapped)
    with pytest.raises(Contradiction, match="has 63 ids, the student's 64"):
        check_same_ids(tokenizer, words(letters=LETTERS[1:]))


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(BadQuantity, match="minibatches is 0"):
        DistilConfig(minibatches=0)
