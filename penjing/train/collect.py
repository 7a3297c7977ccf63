"""Rollouts: responses of the policy to problems, with what each earned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from penjing.engine.completion import Completion, Finish
from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity
from penjing.evaluate.generator import sample_seed
from penjing.tasks.problem import Problem
from penjing.tasks.reward import Reward, RewardConfig, reward
from penjing.tasks.task import Task
from penjing.tasks.template import begins_in_thinking
from penjing.train.scores import Document


@dataclass(frozen=True, kw_only=True)
class Rollout:
    problem: Problem
    completion: Completion
    response: str  # as the judge sees it, with tags
    reward: Reward

    @property
    def is_truncated(self) -> bool:
        return self.completion.finish is Finish.LENGTH

    @property
    def document(self) -> Document:
        """To learn from: what the engine was free to choose."""
        done = self.completion
        free = tuple(not forced for forced in done.is_forced)
        given = (False,) * len(done.prompt_ids)
        return Document(ids=done.prompt_ids + done.ids, is_learnt=given + free)

    @property
    def scores(self) -> tuple[float, ...]:
        """The engine's, of the learnt tokens of ``document``; in nats."""
        done = self.completion
        pairs = zip(done.logprobs, done.is_forced, strict=True)
        return tuple(score for score, is_forced in pairs if not is_forced)

    @property
    def total(self) -> float:
        """Faults are left out before anybody asks."""
        assert self.reward.total is not None
        return self.reward.total


Group = Sequence[Rollout]
"""All to one problem."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """``num_wasted`` tokens were generated for groups that were left out, or whose judge failed."""

    groups: Sequence[Group]
    next_problem: int
    num_flat: int  # groups in which all earned the same
    num_faults: int
    num_tokens: int
    num_wasted: int

    @property
    def rollouts(self) -> list[Rollout]:
        return [one for group in self.groups for one in group]


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """``refills``: how often groups without a signal are replaced by those of other problems.

    DAPO's dynamic sampling, arXiv 2503.14476, section 3.2.
    """

    problems: int
    group_size: int
    sampling: Sampling
    refills: int = 0

    def __post_init__(self) -> None:
        for name, least in (("problems", 1), ("group_size", 1), ("refills", 0)):
            if getattr(self, name) < least:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class Collector:
    """``problems`` gives so many from a number on, such as ``ProblemStream.take``."""

    engine: Engine
    task: Task
    problems: Callable[[int, int], Sequence[Problem]]
    reward: RewardConfig
    config: CollectConfig
    seed: int

    def collect(self, first: int) -> Collected:
        """Groups of the problems from ``first`` on."""
        wanted = self.config.problems
        kept: list[Group] = []
        at, flat, faults, tokens, wasted = first, 0, 0, 0, 0
        for attempt in range(self.config.refills + 1):
            missing = wanted - len(kept)
            groups = self.sample(self.problems(at, missing), at)
            at += missing
            for group in groups:
                tokens += _tokens(group)
                sound = [one for one in group if not one.reward.is_fault]
                faults += len(group) - len(sound)
                is_flat = len({one.total for one in sound}) < 2
                flat += is_flat
                is_last = attempt == self.config.refills
                if len(sound) < 2 or (is_flat and not is_last):
                    wasted += _tokens(group)
                    continue
                wasted += _tokens(group) - _tokens(sound)
                kept.append(sound)
            if len(kept) == wanted:
                break
        return Collected(
            groups=kept,
            next_problem=at,
            num_flat=flat,
            num_faults=faults,
            num_tokens=tokens,
            num_wasted=wasted,
        )

    def sample(self, problems: Sequence[Problem], first: int) -> list[Group]:
        """One group a problem, in their order; seeds hang on the number of the problem."""
        size = self.config.group_size
        keys = {}
        for place, problem in enumerate(problems):
            seed = sample_seed(self.seed, "rollout", first + place)
            sampling = replace(self.config.sampling, seed=seed, n=size, detokenize=False)
            keys[self.engine.add(self.task.prompt(problem), sampling)] = place
        done: dict[int, list[Completion]] = {}
        while len(done) < len(keys):
            finished = {key for key, delta in self.engine.step() if delta.finish is not None}
            for key in finished:
                if self.engine.is_done(key):
                    done[keys[key]] = self.engine.take(key)
        return [
            [self._rollout(problem, completion) for completion in done[place]]
            for place, problem in enumerate(problems)
        ]

    def _rollout(self, problem: Problem, completion: Completion) -> Rollout:
        tokenizer = self.engine.tokenizer
        assert tokenizer is not None, "problems are text"
        ids = completion.ids
        if completion.finish is Finish.STOP and completion.stop == ids[-1]:
            ids = ids[:-1]
        response = tokenizer.decode(ids, skip_special_tokens=False)
        prompt = tokenizer.decode(completion.prompt_ids, skip_special_tokens=False)
        earned = reward(
            self.task,
            problem,
            response,
            self.reward,
            num_tokens=len(completion.ids),
            begins_in_thinking=begins_in_thinking(prompt),
        )
        return Rollout(problem=problem, completion=completion, response=response, reward=earned)


def of_rollouts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What there is to say of responses, whatever they are for."""
    return {
        "length": fmean(len(one.completion.ids) for one in rollouts),
        "thinking": fmean(one.completion.num_thinking for one in rollouts),
        "thinks": fmean(one.completion.num_thinking > 0 for one in rollouts),
        "truncated": fmean(one.is_truncated for one in rollouts),
    }


def _tokens(group: Group) -> int:
    return sum(len(one.completion.ids) for one in group)
