"""What a response earns in training: a sum of named parts that stay visible.

DeepSeek-R1-Zero adds accuracy and format with equal weight (arXiv 2501.12948, 2.2.2); R1 adds the
consistency of the language (2.3.2). The soft limit on length is DAPO's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from penjing.errors import BadQuantity, Contradiction, UnknownName
from penjing.tasks.format import format_reward, thinking_part
from penjing.tasks.language import Language, language_share
from penjing.tasks.length import SoftLimit, over_length
from penjing.tasks.problem import Grade, Problem
from penjing.tasks.task import Task


class Part(StrEnum):
    ACCURACY = "accuracy"  # 1 or 0
    FORMAT = "format"  # 1 or 0
    LANGUAGE = "language"  # 0 to 1
    OVER_LENGTH = "over_length"  # -1 to 0


R1_ZERO: Mapping[str, float] = {Part.ACCURACY: 1.0, Part.FORMAT: 1.0}


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """``weights`` by the name of the part; a part without one is not computed.

    Raises ``UnknownName``, ``BadQuantity`` and ``Contradiction``.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: dict(R1_ZERO), hash=False)
    language: Language | None = None
    soft_limit: SoftLimit | None = None

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in set(Part):
                raise UnknownName("part of the reward", name, Part)
            if not (math.isfinite(weight) and weight > 0):
                raise BadQuantity(
                    f"the weight of {name} is {weight}; it must be above 0: leave the part out, or "
                    "give a positive one"
                )
        if not self.weights:
            raise BadQuantity("the reward has no parts; give one a weight, such as accuracy = 1.0")
        self._check_pair(Part.LANGUAGE, "language", self.language)
        self._check_pair(Part.OVER_LENGTH, "soft_limit", self.soft_limit)

    def _check_pair(self, part: Part, name: str, value: object) -> None:
        """A setting without its weight would do nothing, and nobody would know."""
        if (part in self.weights) is (value is None):
            has, lacks = (f"a weight for {part}", name) if value is None else (name, "its weight")
            raise Contradiction(f"the reward has {has} but not {lacks}; give both, or neither")


@dataclass(frozen=True, kw_only=True)
class Reward:
    """``parts`` are not weighted yet; ``weights`` has the same names."""

    grade: Grade
    parts: Mapping[str, float] = field(hash=False)
    weights: Mapping[str, float] = field(hash=False)

    def __post_init__(self) -> None:
        assert self.parts.keys() == self.weights.keys()

    @property
    def is_fault(self) -> bool:
        """The judge failed: says nothing of the response, so that the sample must be dropped."""
        return self.grade.is_fault

    @property
    def total(self) -> float | None:
        """The weighted sum of the parts and of nothing else; None for a fault."""
        if self.is_fault:
            return None
        return sum(self.weights[name] * part for name, part in self.parts.items())


def reward(
    task: Task,
    problem: Problem,
    response: str,
    config: RewardConfig,
    *,
    num_tokens: int,
    begins_in_thinking: bool = False,
) -> Reward:
    """``num_tokens``: of the response, as the model counts them.

    ``begins_in_thinking`` is what ``Task.grade`` has.
    """
    grade = task.grade(problem, response, begins_in_thinking=begins_in_thinking)

    def value(part: Part) -> float:
        match part:
            case Part.ACCURACY:
                return float(grade.is_correct)
            case Part.FORMAT:
                asked = task.template.answer_format
                return format_reward(response, asked, begins_in_thinking=begins_in_thinking)
            case Part.LANGUAGE:
                assert config.language is not None
                thinking = thinking_part(response, begins_in_thinking=begins_in_thinking)
                return language_share(thinking, config.language)
            case Part.OVER_LENGTH:
                assert config.soft_limit is not None
                return over_length(num_tokens, config.soft_limit)
            case _:
                assert_never(part)

    parts = {str(name): value(Part(name)) for name in config.weights}
    return Reward(grade=grade, parts=parts, weights=dict(config.weights))
