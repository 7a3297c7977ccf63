"""On-policy distillation: the student writes, and a teacher grades every token of it.

Lu et al., "On-Policy Distillation", Thinking Machines Lab, 2025; GKD, arXiv 2306.13649, with the
reverse divergence. What is learnt is how to go on from where the student itself gets to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any, assert_never

import torch
from torch import Tensor

from penjing.errors import BadQuantity, Contradiction
from penjing.evaluate.generator import sample_seed
from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import Numerics, choose_kernels
from penjing.models.packed import pack_documents
from penjing.models.tokenizer import Tokenizer
from penjing.train.aggregation import Aggregation, token_weights
from penjing.train.balance import Balancer
from penjing.train.clip import Clip, Ppo
from penjing.train.collect import Collector, Rollout, of_rollouts
from penjing.train.learner import Learner, minibatches, pieces
from penjing.train.policy_loss import PolicyLoss, Tokens, policy_loss
from penjing.train.record import Facts
from penjing.train.schedule import Schedule
from penjing.train.scores import Document
from penjing.train.segments import Segments


class Form(StrEnum):
    """pi: the student's distribution of a token, given what it has written so far."""

    # -rho A of what was sampled, A = log pi_teacher - log pi_old. The teacher says one number a
    # token, and for samples at temperature 1 the gradient is that of FULL on average
    SAMPLED = "sampled"
    FULL = "full"  # KL(pi || pi_teacher), over the whole vocabulary at once: for small ones


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """``clip`` is for SAMPLED; it binds from the second of the ``minibatches`` on."""

    form: Form = Form.SAMPLED
    clip: Clip = field(default_factory=Ppo)
    aggregation: Aggregation = Aggregation.TOKEN
    minibatches: int = 1

    def __post_init__(self) -> None:
        if self.minibatches < 1:
            raise BadQuantity(f"minibatches is {self.minibatches}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Graded:
    """What the student wrote; the sequences are of its learnt tokens, in nats.

    ``old`` are the trainer's figures before the first update, ``rollout`` the engine's; those of
    the ``teacher`` are there for SAMPLED.
    """

    document: Document
    rollout: tuple[float, ...]
    old: tuple[float, ...]
    teacher: tuple[float, ...]


@dataclass
class Distil:
    """``teacher`` is only read; it may be of another architecture, but has the student's ids.

    Rewards are told, and not learnt from. Raises ``Contradiction`` for a teacher with fewer ids.
    """

    collector: Collector
    learner: Learner
    teacher: Learner
    config: DistilConfig
    schedule: Schedule
    num_steps: int
    seed: int
    next_problem: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        ours, theirs = (one.decoder.config.vocab_size for one in (self.learner, self.teacher))
        if theirs < ours:
            raise Contradiction(
                f"the teacher has {theirs} ids, the student {ours}: it cannot grade the rest; take "
                "a teacher with the student's tokenizer"
            )

    def step(self, number: int) -> Facts:
        """One set of rollouts, graded, and the updates from it."""
        rate = self.share * self.schedule.rate(number, self.num_steps)
        count = self.collector.config.problems
        problems = self.collector.problems(self.next_problem, count)
        groups = self.collector.sample(problems, self.next_problem)
        self.next_problem += count
        rollouts = [one for group in groups for one in group]
        graded = self._graded(rollouts)
        drawn = sample_seed(self.seed, "minibatches", number)
        parts = minibatches(graded, self.config.minibatches, drawn)
        tallies = [self._update(part, rate) for part in parts]
        gaps = [abs(r - o) for one in graded for r, o in zip(one.rollout, one.old, strict=True)]
        return {
            **_of_rollouts(rollouts),
            **_of_updates(tallies),
            "largest_gap": max(gaps, default=0.0),
            "rate": rate,
            "problems": self.next_problem,
        }

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.learner.state(), {"next_problem": self.next_problem}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.learner.restore(tensors)
        self.next_problem = facts["next_problem"]

    def _graded(self, rollouts: Sequence[Rollout]) -> list[Graded]:
        documents = [one.document for one in rollouts]
        sampled = [one.scores for one in rollouts]
        is_exact = self.collector.engine.numerics is Numerics.EXACT  # then they are the same bits
        old = sampled if is_exact else self.learner.score(documents)
        is_full = self.config.form is Form.FULL  # which asks the teacher for more, in pieces
        teacher = [()] * len(documents) if is_full else self.teacher.score(documents)
        return [
            Graded(document=d, rollout=r, old=o, teacher=t)
            for d, r, o, t in zip(documents, sampled, old, teacher, strict=True)
        ]

    def _update(self, graded: Sequence[Graded], rate: float) -> "_Tally":
        """In pieces, as ``Learner`` does."""
        lengths = [one.document.num_learnt for one in graded]
        longest = self.collector.config.sampling.max_tokens or 1
        weights_X = token_weights(lengths, self.config.aggregation, longest=longest)
        sizes = [len(one.document.ids) for one in graded]
        balancer, tally, at = Balancer(self.learner.decoder), _Tally(), 0
        balancer.begin()
        for piece in pieces(graded, sizes, self.learner.max_tokens):
            count = sum(one.document.num_learnt for one in piece)
            value = self._loss(piece, weights_X[at : at + count], tally)
            if value.requires_grad:  # not where nothing in the piece is learnt
                value.backward()
            tally.loss += value.item()
            at += count
        tally.norm = self.learner.optimizer.step(rate)
        balancer.end(self.learner.balance)
        return tally

    def _loss(self, piece: Sequence[Graded], weights_X: Tensor, tally: "_Tally") -> Tensor:
        match self.config.form:
            case Form.SAMPLED:
                return self._sampled_loss(piece, weights_X, tally)
            case Form.FULL:
                return self._full_loss(piece, weights_X, tally)
            case _:
                assert_never(self.config.form)

    def _sampled_loss(self, piece: Sequence[Graded], weights_X: Tensor, tally: "_Tally") -> Tensor:
        found = self.learner.scores([one.document for one in piece])
        tokens = graded_tokens(piece, found.logprobs_X, weights_X)
        loss = policy_loss(tokens, PolicyLoss(clip=self.config.clip))
        tally.take(-tokens.advantages_T, found.entropy_X)
        tally.num_clipped += loss.num_clipped
        return loss.value

    def _full_loss(self, piece: Sequence[Graded], weights_X: Tensor, tally: "_Tally") -> Tensor:
        documents = [one.document for one in piece]
        with torch.no_grad():
            teacher_XV = distributions(self.teacher.decoder, documents)
        logprobs_XV = distributions(self.learner.decoder, documents)
        found_X = reverse_kl(logprobs_XV, teacher_XV)
        seen_XV = logprobs_XV.detach()
        tally.take(found_X.detach(), -(seen_XV.exp() * seen_XV).sum(1))
        return (weights_X * found_X.cpu()).sum()


def graded_tokens(piece: Sequence[Graded], logprobs_X: Tensor, weights_X: Tensor) -> Tokens:
    """For the loss of a policy: every token has an advantage of its own."""
    old_X = _joined([one.old for one in piece])
    return Tokens(
        responses=Segments.of_lengths([one.document.num_learnt for one in piece]),
        logprobs_T=logprobs_X,
        old_T=old_X,
        rollout_T=_joined([one.rollout for one in piece]),
        advantages_T=_joined([one.teacher for one in piece]) - old_X,
        weights_T=weights_X,
    )


def reverse_kl(logprobs_XV: Tensor, teacher_XV: Tensor) -> Tensor:
    """KL(pi || pi_teacher) of each token, in nats. [X]

    Where the teacher has more ids (rows that pad an embedding), the student gives them nothing.
    """
    teacher_XV = teacher_XV[:, : logprobs_XV.shape[1]]
    return (logprobs_XV.exp() * (logprobs_XV - teacher_XV)).sum(1)


def distributions(decoder: Decoder, documents: Sequence[Document]) -> Tensor:
    """Log-probabilities of the whole vocabulary where each learnt token stands, in nats. [X, V]

    Differentiable where gradients are on.
    """
    arithmetic = _arithmetic(decoder)
    packed = pack_documents([one.ids for one in documents], decoder.embedding.device)
    learnt_T = torch.tensor([flag for one in documents for flag in one.is_learnt])
    targets_X = learnt_T.nonzero()[:, 0].to(decoder.embedding.device)
    logits_XV = decoder.logits(decoder(packed, arithmetic)[targets_X - 1], arithmetic)
    return logits_XV - arithmetic.log_sum_exp(logits_XV)[0][:, None]


def check_same_ids(student: Tokenizer, teacher: Tokenizer) -> None:
    """``Contradiction`` where an id of one stands for something else in the other."""
    if student.vocab_size != teacher.vocab_size:
        raise Contradiction(
            f"the teacher's tokenizer has {teacher.vocab_size} ids, the student's "
            f"{student.vocab_size}; a teacher grades ids, so take one with the student's tokenizer"
        )
    for id in range(student.vocab_size):
        ours, theirs = (one.decode([id], skip_special_tokens=False) for one in (student, teacher))
        if ours != theirs:
            raise Contradiction(
                f"id {id} is {ours!r} for the student and {theirs!r} for the teacher; a teacher "
                "grades ids, so take one with the student's tokenizer"
            )


@dataclass
class _Tally:
    """Sums over the learnt tokens of an update."""

    loss: float = 0.0
    norm: float = 0.0
    num_tokens: int = 0
    num_clipped: int = 0
    reverse_kl: float = 0.0
    entropy: float = 0.0

    def take(self, reverse_kl_X: Tensor, entropy_X: Tensor) -> None:
        self.num_tokens += len(reverse_kl_X)
        self.reverse_kl += reverse_kl_X.sum().item()
        self.entropy += entropy_X.detach().sum().item()


def _of_rollouts(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    sound = [one.total for one in rollouts if not one.reward.is_fault]
    return {
        "tokens": sum(len(one.completion.ids) for one in rollouts),
        **({"reward": fmean(sound)} if sound else {}),
        **of_rollouts(rollouts),
    }


def _of_updates(tallies: Sequence[_Tally]) -> dict[str, Any]:
    count = max(sum(one.num_tokens for one in tallies), 1)
    return {
        "loss": fmean(one.loss for one in tallies),
        "norm": max(one.norm for one in tallies),
        "reverse_kl": sum(one.reverse_kl for one in tallies) / count,
        "entropy": sum(one.entropy for one in tallies) / count,
        "clipped": sum(one.num_clipped for one in tallies) / count,
    }


def _arithmetic(decoder: Decoder) -> Arithmetic:
    return Arithmetic(choose_kernels(decoder.embedding.device))


def _joined(rows: Sequence[tuple[float, ...]]) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=torch.float32)
