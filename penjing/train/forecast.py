"""What a recipe will take, said before it runs: seconds and bytes of each stage.

Work is counted: tokens to generate and to learn from. What a token takes is measured, on a new
model of the same shape, in a few seconds. Lengths of responses are the recipe's ``mean_tokens``:
nobody knows them before.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Literal

from penjing.engine.load import available_bytes, held_bytes
from penjing.engine.sampling import Sampling
from penjing.errors import DoesNotFit
from penjing.models.kernels.choice import Numerics
from penjing.models.parameters import count_parameters
from penjing.train.footprint import Batch, Footprint, training_footprint
from penjing.train.learner import Learner
from penjing.train.lora import LoraConfig
from penjing.train.models import MAX_SEQUENCES, Held
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.scores import Document
from penjing.units import format_bytes

_PROBED_TOKENS = 4096  # learnt from, and again generated, to see what one takes
_MOST_PROBED = 64  # of a response: longer ones take longer, a token the same


@dataclass(frozen=True, kw_only=True)
class Work:
    """Tokens of a stage by what is done with them; ``prompt``, ``response``: mean lengths."""

    generated: float = 0.0
    learnt_from: float = 0.0  # all that go through forward and backward passes
    prompt: float
    response: float
    length: int = 0  # of a prompt and its response, that an engine leaves room for
    batch: Batch | None = None  # the largest piece of a step
    has_reference: bool = False
    recompute: Literal["auto"] | bool = False
    adapter: LoraConfig | None = None
    numerics: Numerics = Numerics.EXACT


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds a token."""

    generate: float
    learn: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """``shortfall_bytes``: what this machine lacks now."""

    stage: str
    seconds: float
    footprint: Footprint
    shortfall_bytes: float = 0.0

    def to_json(self) -> Mapping[str, Any]:
        parts = {k: v for k, v in vars(self.footprint).items() if v}
        return {"seconds": self.seconds, "bytes": self.footprint.total, "parts": parts}


def forecast(stage: str, work: Work, evaluation: Work | None, held: Held, rates: Rates) -> Forecast:
    """Of a stage whose model has the shape of ``held``."""
    seconds = sum(_seconds(one, rates) for one in (work, evaluation) if one is not None)
    footprint = footprint_of(work, held)
    room = available_bytes(held.decoder.embedding.device)
    wanted = footprint.total - footprint.base
    return Forecast(
        stage=stage,
        seconds=seconds,
        footprint=footprint,
        shortfall_bytes=max(0.0, wanted - room),
    )


def footprint_of(work: Work, held: Held) -> Footprint:
    """Beside what the process holds before any model: its base."""
    like, engine = held.decoder.embedding, 0.0
    if work.generated:
        plan = held.plan(work.length, work.numerics)
        engine = plan.cache_bytes + plan.buffer_bytes
    found = _trained(work, held, recompute=recomputes(work, held))
    return replace(found, engine=engine, base=held_bytes(like.device))


def recomputes(work: Work, held: Held) -> bool:
    """Whether activations are made twice: asked for, or where they would not fit."""
    if work.recompute != "auto":
        return work.recompute
    kept = _trained(work, held, recompute=False)
    return kept.total > available_bytes(held.decoder.embedding.device)


def _trained(work: Work, held: Held, *, recompute: bool) -> Footprint:
    value_bytes = held.decoder.embedding.element_size()
    if work.batch is None:  # nothing is learnt
        weights = count_parameters(held.decoder.config).total * value_bytes
        return Footprint(weights=float(weights), gradients=0.0, optimizer=0.0, activations=0.0)
    return training_footprint(
        held.decoder.config,
        work.batch,
        value_bytes=value_bytes,
        recompute=recompute,
        has_reference=work.has_reference,
        adapter=work.adapter,
    )


def require_room(found: Forecast, largest: str) -> None:
    """Raises ``DoesNotFit`` with the bytes that lack and the largest that would do."""
    if not found.shortfall_bytes:
        return
    parts = {k: v for k, v in vars(found.footprint).items() if v}
    said = ", ".join(f"{name} {format_bytes(value)}" for name, value in parts.items())
    raise DoesNotFit(
        f"stage {found.stage} takes {format_bytes(found.footprint.total)} ({said}), and "
        f"{format_bytes(found.shortfall_bytes)} lack here; {largest}",
        shortfall_bytes=found.shortfall_bytes,
        nearest=largest,
    )


def measure_rates(held: Held, work: Work) -> Rates:
    """On documents like the stage's; it changes the weights, so give it a model to throw away."""
    prompt, response = max(2, round(work.prompt)), max(1, round(work.response))
    vocabulary = held.decoder.config.vocab_size
    ids = list(islice(cycle(range(min(200, vocabulary))), prompt))
    return Rates(
        generate=_generating(held, ids, response, work.numerics) if work.generated else 0.0,
        learn=_learning(held, ids, response, work.numerics) if work.batch else 0.0,
    )


def _generating(held: Held, ids: Sequence[int], response: int, numerics: Numerics) -> float:
    """Groups of eight, as many at once as an engine of a stage takes."""
    length = min(response, _MOST_PROBED)
    groups = max(1, min(2 * MAX_SEQUENCES, _PROBED_TOKENS // length) // 8)
    sampling = Sampling(max_tokens=length, ignore_eos=True, seed=0, n=8, detokenize=False)
    engine = held.engine(len(ids) + length, numerics)
    prompts = [[*ids[:-1], (ids[-1] + k) % held.decoder.config.vocab_size] for k in range(groups)]
    began = time.perf_counter()
    done = engine.generate(prompts, sampling)
    return (time.perf_counter() - began) / sum(len(one.ids) for one in done)


def _learning(held: Held, ids: Sequence[int], response: int, numerics: Numerics) -> float:
    """The second of two steps, as the first makes the moments."""
    given, vocabulary = (False,) * len(ids), held.decoder.config.vocab_size
    count = max(1, _PROBED_TOKENS // (len(ids) + response))
    documents = [
        Document(
            ids=(*ids[:-1], k % vocabulary, *((k + i) % vocabulary for i in range(response))),
            is_learnt=given + (True,) * response,
        )
        for k in range(count)
    ]
    optimizer = Optimizer(dict(held.decoder.named_parameters()), AdamW())
    learner = Learner(held.decoder, optimizer, max_tokens=_PROBED_TOKENS, numerics=numerics)
    learner.learn(documents[:1], 0.0)
    began = time.perf_counter()
    learner.learn(documents, 0.0)
    return (time.perf_counter() - began) / sum(len(one.ids) for one in documents)


def _seconds(work: Work, rates: Rates) -> float:
    return work.generated * rates.generate + work.learnt_from * rates.learn
