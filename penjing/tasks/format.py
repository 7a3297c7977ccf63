"""Whether a response has the form that was asked for; what it says is not looked at.

DeepSeek-R1 rewards this beside accuracy (arXiv 2501.12948, 2.2.2). A pattern that only looks for
tags pays for ``<think></think>a``; here the thinking must hold words.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from penjing.tasks.answer import final_answer
from penjing.tasks.problem import Grade
from penjing.tasks.template import AnswerFormat
from penjing.tasks.thinking import CLOSE, OPEN

# Three words can be written without a thought too: this refuses what is not even written.
_MIN_WORDS = 3
_UNSPACED = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # where each character counts as a word
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
_TAG = re.compile(r"<\s{0,8}(/?)\s{0,8}(think|answer)\b[^<>]{0,100}>", re.IGNORECASE)


class Structure(StrEnum):
    """The first thing that is wrong, or nothing."""

    GOOD = "good"
    NO_THINKING = "there is no thinking block"
    TEXT_BEFORE_THINKING = "there is text before the thinking"
    UNCLOSED_THINKING = "the thinking never ends"
    SEVERAL_BLOCKS = "thinking blocks are several or nested"
    TAGS_IN_THINKING = "tags of an answer are within the thinking"
    EMPTY_THINKING = "the thinking has fewer than three different words"
    NO_ANSWER = "nothing is behind the thinking"
    TAGS_IN_ANSWER = "tags are left in the answer"
    NOT_IN_FORMAT = "no answer is in the format that was asked for"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Where a thinking block stands in a response, without its tags.

    ``end`` is None where it never closes; ``opens`` and ``closes`` are the outer ends.
    """

    opens: int
    start: int
    end: int | None
    closes: int | None


def format_reward(
    response: str, answer_format: AnswerFormat, *, begins_in_thinking: bool = False
) -> float:
    """1 or 0: all must be right. See ``structure``."""
    found = structure(response, answer_format, begins_in_thinking=begins_in_thinking)
    return float(found is Structure.GOOD)


def structure(
    response: str, answer_format: AnswerFormat, *, begins_in_thinking: bool = False
) -> Structure:
    """One thinking block at the start, with words in it, then one answer.

    ``begins_in_thinking``: the prompt holds the opening tag, so that the response must not.
    """
    found = thinking_blocks(response, begins_in_thinking=begins_in_thinking)
    if not found or not _is_as_asked(response, found[0]):
        return Structure.NO_THINKING
    block = found[0]
    if response[: block.opens].strip():
        return Structure.TEXT_BEFORE_THINKING
    if block.end is None or block.closes is None:
        return Structure.UNCLOSED_THINKING
    thinking, answer = response[block.start : block.end], response[block.closes :]
    if any(_word(tag) == "think" for tag in _TAG.finditer(f"{thinking}\n{answer}")):
        return Structure.SEVERAL_BLOCKS
    if _TAG.search(thinking):
        return Structure.TAGS_IN_THINKING
    if len({word.lower() for word in _WORD.findall(thinking)}) < _MIN_WORDS:
        return Structure.EMPTY_THINKING
    return _answer(answer.strip(), answer_format)


def _is_as_asked(response: str, block: Block) -> bool:
    """Not ``<THINK>``: what tells answers from thinking would not see it."""
    tags = response[block.opens : block.start], response[block.end : block.closes]
    return tags[0] in (OPEN, "") and (block.end is None or tags[1] == CLOSE)


def thinking_blocks(response: str, *, begins_in_thinking: bool = False) -> list[Block]:
    """In order; what is nested belongs to the outer block."""
    blocks = []
    opens, start = (0, 0) if begins_in_thinking else (None, 0)
    for tag in _TAG.finditer(response):
        if _word(tag) != "think":
            continue
        if opens is None and not tag[1]:
            opens, start = tag.start(), tag.end()
        elif opens is not None and tag[1]:
            blocks.append(Block(opens=opens, start=start, end=tag.start(), closes=tag.end()))
            opens = None
    if opens is not None:
        blocks.append(Block(opens=opens, start=start, end=None, closes=None))
    return blocks


def thinking_part(response: str, *, begins_in_thinking: bool = False) -> str:
    """The text of all thinking blocks, of one that never ends too."""
    blocks = thinking_blocks(response, begins_in_thinking=begins_in_thinking)
    return "\n".join(response[block.start : block.end] for block in blocks)


def _answer(answer: str, answer_format: AnswerFormat) -> Structure:
    """Answer tags must be around the whole answer, as R1-Zero's template has it."""
    if not answer:
        return Structure.NO_ANSWER
    tags = list(_TAG.finditer(answer))
    is_tagged = answer_format is AnswerFormat.TAGGED
    if is_tagged and len(tags) == 2 and answer.startswith("<answer>"):
        tags = [tag for tag in tags if tag[0] not in ("<answer>", "</answer>")]
        if not answer.endswith("</answer>"):
            return Structure.NOT_IN_FORMAT
    if tags:
        return Structure.TAGS_IN_ANSWER
    is_found = not isinstance(final_answer(answer, answer_format), Grade)
    return Structure.GOOD if is_found else Structure.NOT_IN_FORMAT


def _word(tag: re.Match[str]) -> str:
    return tag[2].lower()
