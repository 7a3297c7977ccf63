"""The step loop: what the scheduler chose is computed, and every sample gets its next token."""

import torch
from torch import Tensor

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.decode import next_tokens
from penjing.engine.forward import Forward
from penjing.engine.memory import EnginePlan
from penjing.engine.pages import PagePool
from penjing.engine.request import Request
from penjing.engine.sample import Sample, Token
from penjing.engine.sampler import top_logprobs
from penjing.engine.scheduler import Chunk, Scheduler, Step
from penjing.engine.sequence import Sequence, Status
from penjing.engine.writes import Writes
from penjing.errors import RequestError
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import Numerics

Increment = tuple[int, Delta]  # of the request with that key


class Core:
    """Requests in, increments out. The weights may change between steps, never within one."""

    def __init__(self, decoder: Decoder, plan: EnginePlan, numerics: Numerics) -> None:
        self.forward = Forward(decoder, plan, numerics)
        self.pool = PagePool(plan.num_pages, plan.page_size)
        self.scheduler = Scheduler(
            self.pool,
            max_batch_tokens=plan.max_batch_tokens,
            max_sequences=plan.max_sequences,
            max_length=plan.max_length,
        )
        self.policy_version = 0
        self.num_computed_tokens = 0
        self._writes = Writes(decoder.parameters())
        self._next_key = 0
        self._requests: dict[int, Request] = {}
        self._members: dict[int, list[Sequence]] = {}  # of each request, in order of samples
        self._owners: dict[int, Request] = {}  # of each sequence

    @property
    def is_idle(self) -> bool:
        return not self._requests

    def add(self, request: Request) -> None:
        """Queues all samples of a request, the first computing the prompt for all."""
        members = [self._sequence(request, sample) for sample in request.samples]
        self._requests[request.key] = request
        self._members[request.key] = members
        self.scheduler.add(members[0], members[1:])

    def abort(self, key: int) -> list[Increment]:
        """Ends what is left of a request; empty if it has ended already."""
        request = self._requests.get(key)
        if request is None:
            return []
        return [
            (key, self._end(member))
            for member in list(self._members[key])
            if _sample(member).finish is None
        ]

    @torch.no_grad()
    def step(self) -> list[Increment]:
        """One pass; empty when nothing is left to do."""
        if self._writes.are_new():
            self.note_new_weights()
        step = self.scheduler.schedule()
        if not step.chunks:
            return []
        self._note_cached(step)
        try:
            hidden_TD = self.forward.hidden(step)
            self.num_computed_tokens += step.num_tokens
            self.scheduler.commit(step)
            self._score_prompts(step, hidden_TD)
            return self._extend(step, hidden_TD)
        except BaseException:  # an interrupt too: half a step must leave nothing half done
            self.scheduler.preempt_all()
            raise

    def note_new_weights(self) -> None:
        """Counts a change of the weights: caches of the old ones are never used again."""
        self.policy_version += 1
        self._writes.see()
        self.scheduler.preempt_all()

    def _sequence(self, request: Request, sample: Sample) -> Sequence:
        sequence = Sequence(key=self._next_key, ids=list(request.prompt_ids), state=sample)
        sequence.reads_index = not request.wants_prompt
        self._next_key += 1
        self._owners[sequence.key] = request
        return sequence

    def _note_cached(self, step: Step) -> None:
        for chunk in step.chunks:
            request = self._owners[chunk.sequence.key]
            if request.num_cached is None:
                request.num_cached = chunk.start

    def _score_prompts(self, step: Step, hidden_TD: Tensor) -> None:
        row = 0
        for chunk in step.chunks:
            request = self._owners.get(chunk.sequence.key)
            if request is not None and request.wants_prompt:
                self._score_chunk(chunk, row, request, hidden_TD)
            row += chunk.count

    def _score_chunk(self, chunk: Chunk, row: int, request: Request, hidden_TD: Tensor) -> None:
        """The row of each prompt token gives the log-probability of the one after it."""
        assert request.prompt_logprobs is not None
        last = min(chunk.start + chunk.count, len(request.prompt_ids) - 1)
        rows = [row + i for i in range(last - chunk.start)]
        for start, logits_RV in self.forward.logits(hidden_TD, rows):
            lse_R, _ = self.forward.log_sum_exp(logits_RV)
            first = chunk.start + start + 1
            targets = request.prompt_ids[first : first + len(logits_RV)]
            targets_R1 = torch.tensor(targets, device=logits_RV.device)[:, None]
            scores_R = logits_RV.gather(1, targets_R1)[:, 0] - lse_R
            request.prompt_logprobs[first : first + len(targets)] = scores_R.tolist()
            self._note_rivals(request, first, logits_RV, lse_R)
        if not request.wants_prompt:
            for member in self._members[request.key]:
                member.reads_index = True

    def _note_rivals(self, request: Request, first: int, logits_RV: Tensor, lse_R: Tensor) -> None:
        tops, k = request.prompt_top_logprobs, request.sampling.prompt_logprobs
        if tops is None or not k:
            return
        for i, (logits_V, lse) in enumerate(zip(logits_RV, lse_R, strict=True)):
            tops[first + i] = top_logprobs(logits_V, float(lse), k)

    def _extend(self, step: Step, hidden_TD: Tensor) -> list[Increment]:
        """The next token of every sequence whose last known token was computed."""
        ready, rows, row = [], [], 0
        for chunk in step.chunks:
            row += chunk.count
            if chunk.is_last and chunk.sequence.status is Status.RUNNING:
                ready.append(chunk.sequence)
                rows.append(row - 1)
        increments: list[Increment] = []
        for start, logits_RV in self.forward.logits(hidden_TD, rows):
            members, at = [], []
            for i, sequence in enumerate(ready[start : start + len(logits_RV)]):
                forked = self._forked(sequence)
                members += forked
                at += [i] * len(forked)
            lse_R, best_R = self.forward.log_sum_exp(logits_RV)
            samples = [_sample(member) for member in members]
            found = next_tokens(logits_RV, lse_R, best_R, at, samples, self.policy_version)
            for member, token in zip(members, found, strict=True):
                delta = self._advance(member, token)
                increments.append((self._owners[member.key].key, delta))
                self._retire(member)
        return increments

    def _forked(self, sequence: Sequence) -> list[Sequence]:
        """The sequence, and those that waited for its prompt."""
        if not sequence.siblings:
            return [sequence]
        return [sequence, *self.scheduler.fork(sequence)]

    def _advance(self, member: Sequence, token: Token | RequestError | None) -> Delta:
        sample = _sample(member)
        if token is None:
            return sample.end(Finish.LENGTH)
        if isinstance(token, RequestError):
            self._owners[member.key].error = token
            return sample.end(Finish.ABORT)
        delta = sample.accept(token)
        if sample.finish is None:
            member.ids.append(token.id)
        return delta

    def _end(self, member: Sequence) -> Delta:
        delta = _sample(member).end(Finish.ABORT)
        self._retire(member)
        return delta

    def _retire(self, member: Sequence) -> None:
        """Frees what a finished sample held, and forgets its request when all are finished."""
        if _sample(member).finish is None:
            return
        self.scheduler.finish(member)
        request = self._owners[member.key]
        if request.is_done:
            del self._requests[request.key]
            for one in self._members.pop(request.key):
                del self._owners[one.key]


def _sample(sequence: Sequence) -> Sample:
    sample = sequence.state
    assert isinstance(sample, Sample)
    return sample


def completions(request: Request, policy_version: int) -> list[Completion]:
    """Of a request that is done."""
    scores, tops = request.prompt_logprobs, request.prompt_top_logprobs
    return [
        sample.completion(
            request.prompt_ids,
            None if scores is None else tuple(scores),
            None if tops is None else tuple(tops),
            request.num_cached or 0,
            policy_version,
        )
        for sample in request.samples
    ]
