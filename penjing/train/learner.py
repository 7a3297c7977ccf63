"""One optimizer step, on texts or on sampled responses, in pieces that fit into memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import Numerics, choose_kernels
from penjing.train.aggregation import Aggregation, token_weights
from penjing.train.balance import BALANCE, Balancer
from penjing.train.lora import LoraOptimizer
from penjing.train.optimizer import Optimizer
from penjing.train.policy_loss import PolicyLoss, Tokens, policy_loss
from penjing.train.scores import Document, Scores, scores
from penjing.train.segments import Segments


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A response to learn from; the three sequences are of its learnt tokens, in nats.

    ``old`` are the trainer's figures when it was sampled, ``rollout`` the engine's. ``counts``
    false masks the response: it keeps its place in the batch and teaches nothing.
    """

    document: Document
    advantage: float
    rollout: tuple[float, ...]
    old: tuple[float, ...]
    reference: tuple[float, ...] | None = None
    counts: bool = True

    def __post_init__(self) -> None:
        assert len(self.rollout) == len(self.old) == self.document.num_learnt


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Means are over learnt tokens. ``norm`` is of the gradient before it was clipped."""

    loss: float
    norm: float
    num_tokens: int
    entropy: float  # of the policy's distributions, in nats


@dataclass(frozen=True, kw_only=True)
class PolicyReport(StepReport):
    """``largest_gap``, ``mean_gap``: |log pi_rollout - log pi_old|, in nats."""

    clipped_share: float
    divergence: float  # k3 from the policy that sampled to this one
    least_ratio: float
    most_ratio: float
    largest_gap: float
    mean_gap: float


@dataclass
class Learner:
    """``max_tokens`` bounds one piece, prompts included; a longer document is a piece of its own.

    ``recompute``: activations of layers are computed twice instead of kept. ``balance`` is how far
    the biases of experts move a step: see ``Balancer``.
    """

    decoder: Decoder
    optimizer: Optimizer | LoraOptimizer
    max_tokens: int
    recompute: bool = False
    balance: float = BALANCE
    numerics: Numerics = Numerics.EXACT

    def __post_init__(self) -> None:
        self._balancer = Balancer(self.decoder)
        self._arithmetic = Arithmetic(choose_kernels(self.decoder.embedding.device, self.numerics))

    @torch.no_grad()
    def score(self, documents: Sequence[Document]) -> list[tuple[float, ...]]:
        """Log-probabilities of each document's learnt tokens, in nats."""
        found: list[tuple[float, ...]] = []
        for piece in pieces(documents, [len(one.ids) for one in documents], self.max_tokens):
            logprobs_X = self.scores(piece).logprobs_X
            parts = logprobs_X.split([one.num_learnt for one in piece])
            found += [tuple(part.tolist()) for part in parts]
        return found

    def learn(self, documents: Sequence[Document], rate: float) -> StepReport:
        """Cross entropy, the mean over all learnt tokens: supervised fine-tuning, pretraining."""
        weights_X = token_weights([one.num_learnt for one in documents], Aggregation.TOKEN)
        entropy = loss = 0.0
        at = 0
        self._balancer.begin()
        for piece in pieces(documents, [len(one.ids) for one in documents], self.max_tokens):
            found = self.scores(piece)
            count = len(found.logprobs_X)
            value = -(weights_X[at : at + count].to(found.logprobs_X) * found.logprobs_X).sum()
            _backward(value)
            loss += value.item()
            entropy += found.entropy_X.sum().item()
            at += count
        return StepReport(
            loss=loss,
            norm=self._step(rate),
            num_tokens=at,
            entropy=entropy / max(at, 1),
        )

    def reinforce(
        self,
        samples: Sequence[Sampled],
        rate: float,
        config: PolicyLoss,
        aggregation: Aggregation,
        *,
        longest: int,
        generator: torch.Generator | None = None,
    ) -> PolicyReport:
        """``longest``: most tokens that a response could have had."""
        weights_X = token_weights(
            [one.document.num_learnt for one in samples],
            aggregation,
            longest=longest,
            counts=[one.counts for one in samples],
        )
        sizes = [len(one.document.ids) for one in samples]
        tally, at = _Tally(), 0
        self._balancer.begin()
        for piece in pieces(samples, sizes, self.max_tokens):
            found = self.scores(
                [one.document for one in piece], entropy_has_gradient=config.entropy_bonus != 0
            )
            count = len(found.logprobs_X)
            tokens = _tokens(piece, found, weights_X[at : at + count])
            loss = policy_loss(tokens, config, generator)
            _backward(loss.value)
            tally.loss += loss.value.item()
            tally.entropy += found.entropy_X.detach().sum().item()
            tally.num_tokens += count
            tally.num_clipped += loss.num_clipped
            tally.divergence += loss.sum_divergence
            tally.least = min(tally.least, loss.least_ratio)
            tally.most = max(tally.most, loss.most_ratio)
            tally.take_gap(tokens)
            at += count
        return tally.report(self._step(rate))

    def rehearse(self, documents: Sequence[Document]) -> None:
        """A piece forward and backward, so that its memory is asked for; nothing is learnt."""
        _backward(0.0 * self.scores(documents).logprobs_X.sum())
        self.optimizer.forget_gradients()

    def _step(self, rate: float) -> float:
        norm = self.optimizer.step(rate)
        self._balancer.end(self.balance)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Weights and what the optimizer holds, by name; not copied.

        What a LoRA optimizer makes again from its base is left out.
        """
        held = {f"weight.{name}": p.detach() for name, p in self._kept()}
        return held | {f"optimizer.{name}": t for name, t in self.optimizer.state().items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """What ``state`` gave."""
        for name, p in self._kept():
            p.copy_(state[f"weight.{name}"])
        prefix = "optimizer."
        held = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        self.optimizer.load(held)

    def _kept(self) -> Iterator[tuple[str, nn.Parameter]]:
        again = self.optimizer.recovered
        return ((n, p) for n, p in self.decoder.named_parameters() if n not in again)

    def scores(
        self, documents: Sequence[Document], *, entropy_has_gradient: bool = False
    ) -> Scores:
        """Of the learnt tokens; on the host, where all that is small is kept."""
        found = scores(
            self.decoder,
            documents,
            self._arithmetic,
            recompute=self.recompute,
            entropy_has_gradient=entropy_has_gradient,
        )
        return Scores(logprobs_X=found.logprobs_X.cpu(), entropy_X=found.entropy_X.cpu())


@dataclass
class _Tally:
    loss: float = 0.0
    entropy: float = 0.0
    num_tokens: int = 0
    num_clipped: int = 0
    divergence: float = 0.0
    least: float = 1.0
    most: float = 1.0
    largest_gap: float = 0.0
    gap: float = 0.0

    def take_gap(self, tokens: Tokens) -> None:
        gap_X = (tokens.rollout_T - tokens.old_T).abs()
        self.gap += gap_X.sum().item()
        self.largest_gap = max(self.largest_gap, gap_X.max().item() if len(gap_X) else 0.0)

    def report(self, norm: float) -> PolicyReport:
        count = max(self.num_tokens, 1)
        return PolicyReport(
            loss=self.loss,
            norm=norm,
            num_tokens=self.num_tokens,
            entropy=self.entropy / count,
            clipped_share=self.num_clipped / count,
            divergence=self.divergence / count,
            least_ratio=self.least,
            most_ratio=self.most,
            largest_gap=self.largest_gap,
            mean_gap=self.gap / count,
        )


T = TypeVar("T")


def pieces(items: Sequence[T], sizes: Sequence[int], most: int) -> Iterator[Sequence[T]]:
    """As many in a row as stay within ``most`` together; one at least."""
    begin = total = 0
    for at, size in enumerate(sizes):
        if at > begin and total + size > most:
            yield items[begin:at]
            begin, total = at, 0
        total += size
    if begin < len(items):
        yield items[begin:]


def minibatches(items: Sequence[T], count: int, seed: int) -> list[Sequence[T]]:
    """So many, at most one an item, drawn without replacement; each in the order of ``items``.

    So responses to one prompt stay neighbours: see ``shared_prompts``.
    """
    count = min(count, len(items))
    if count == 1:
        return [items]
    drawn = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(items), generator=drawn).tolist()
    return [[items[i] for i in sorted(order[k::count])] for k in range(count)]


def _tokens(piece: Sequence[Sampled], found: Scores, weights_X: Tensor) -> Tokens:
    responses = Segments.of_lengths([one.document.num_learnt for one in piece])
    advantages_B = torch.tensor([one.advantage for one in piece])
    references = [one.reference for one in piece if one.reference is not None]
    assert len(references) in (0, len(piece)), "all have a reference, or none"
    return Tokens(
        responses=responses,
        logprobs_T=found.logprobs_X,
        old_T=_joined([one.old for one in piece]),
        rollout_T=_joined([one.rollout for one in piece]),
        advantages_T=responses.spread(advantages_B),
        weights_T=weights_X,
        reference_T=_joined(references) if references else None,
        entropy_T=found.entropy_X,
    )


def _joined(rows: Sequence[tuple[float, ...]]) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=torch.float32)


def _backward(value: Tensor) -> None:
    if value.requires_grad:  # not where nothing in the piece is learnt
        value.backward()
