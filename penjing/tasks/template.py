"""How a question is put to a model, and where its answer is then looked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from penjing.errors import Contradiction
from penjing.tasks.thinking import OPEN

Messages = Sequence[Mapping[str, str]]


class AnswerFormat(StrEnum):
    """Where the final answer stands."""

    BOXED = "boxed"  # \boxed{...}
    TAGGED = "tagged"  # <answer>...</answer>
    LAST_LINE = "last_line"  # the last line that is not empty
    CODE = "code"  # the last fenced block


class Style(StrEnum):
    R1_ZERO = "r1_zero"  # plain text for a base model: DeepSeek-R1, arXiv 2501.12948, table 1
    R1 = "r1"  # a chat message; the model's own chat template opens the thinking
    PLAIN = "plain"  # the question and nothing else


@dataclass(frozen=True, kw_only=True)
class Template:
    """``opens_thinking`` ends the prompt of R1-Zero with ``<think>``, which the paper does not.

    Raises ``Contradiction`` for what cannot be asked in a style.
    """

    style: Style
    answer_format: AnswerFormat
    opens_thinking: bool = False

    def __post_init__(self) -> None:
        is_zero = self.style is Style.R1_ZERO
        if is_zero and self.answer_format is AnswerFormat.LAST_LINE:
            raise Contradiction(
                "R1-Zero's template asks for an answer in <answer> tags, so that the last line is "
                "no answer; take the answer format tagged or boxed, or another style"
            )
        if self.opens_thinking and not is_zero:
            raise Contradiction(
                f"the style {self.style} cannot open the thinking: a chat template does, or "
                "nothing; take the style r1_zero, or leave it out"
            )

    def render(self, question: str) -> str | Messages:
        """Text as it is, or messages for the model's chat template."""
        match self.style:
            case Style.PLAIN:
                return question
            case Style.R1:
                # No system prompt: DeepSeek-R1's README, "Usage Recommendations".
                asked = f"Please reason step by step, and {INSTRUCTIONS[self.answer_format]}"
                return ({"role": "user", "content": f"{question}\n{asked}"},)
            case Style.R1_ZERO:
                text = _R1_ZERO.replace("{prompt}", self._with_format(question))
                return f"{text} {OPEN}" if self.opens_thinking else text
            case _:
                assert_never(self.style)

    def _with_format(self, question: str) -> str:
        if self.answer_format is AnswerFormat.TAGGED:  # the template itself asks for tags
            return question
        instruction = INSTRUCTIONS[self.answer_format]
        return f"{question}\n{instruction[0].upper()}{instruction[1:].removesuffix('.')}"


def begins_in_thinking(prompt: str) -> bool:
    """Whether a prompt as the model sees it ends in a thinking block that it leaves open."""
    return prompt.rstrip().endswith(OPEN)


# The first is DeepSeek's own, from the README of DeepSeek-R1.
INSTRUCTIONS = {
    AnswerFormat.BOXED: r"put your final answer within \boxed{}.",
    AnswerFormat.TAGGED: "put your final answer between <answer> and </answer>.",
    AnswerFormat.LAST_LINE: "write your final answer alone on the last line.",
    AnswerFormat.CODE: "end with the whole program in one fenced block that begins with ```python.",
}
"""What follows "Please reason step by step, and"."""

# Word for word, with the full stop that stands behind the prompt.
_R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves "
    "it. The assistant first thinks about the reasoning process in the mind and then provides the "
    "user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>. User: {prompt}. Assistant:"
)
