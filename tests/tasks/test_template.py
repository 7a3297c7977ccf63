"""Prompts, word for word, and what begins in a thinking block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import Contradiction
from penjing.tasks.template import (
    INSTRUCTIONS,
    AnswerFormat,
    Style,
    Template,
    begins_in_thinking,
)

# arXiv 2501.12948v1, page 6, table 1: "prompt" is what a question takes the place of.
TABLE_1 = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant "
    "solves it. The assistant first thinks about the reasoning process in the mind and then "
    "provides the user with the answer. The reasoning process and answer are enclosed within "
    "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process "
    "here </think> <answer> answer here </answer>. User: prompt. Assistant:"
)


def zero(answer_format: AnswerFormat, *, opens_thinking: bool = False) -> Template:
    return Template(style=Style.R1_ZERO, answer_format=answer_format, opens_thinking=opens_thinking)


def test_r1_zero_is_the_papers() -> None:
    assert zero(AnswerFormat.TAGGED).render("prompt") == TABLE_1


def test_r1_zero_may_open_the_thinking() -> None:
    assert zero(AnswerFormat.TAGGED, opens_thinking=True).render("prompt") == f"{TABLE_1} <think>"


def test_r1_zero_asks_for_a_box_within_the_prompt() -> None:
    expected = TABLE_1.replace("prompt", "1+1?\nPut your final answer within \\boxed{}")
    assert zero(AnswerFormat.BOXED).render("1+1?") == expected


def test_r1_is_one_user_message_with_deepseeks_directive() -> None:
    template = Template(style=Style.R1, answer_format=AnswerFormat.BOXED)
    # DeepSeek-R1's README, usage recommendations 2 and 3.
    directive = "Please reason step by step, and put your final answer within \\boxed{}."
    assert template.render("1+1?") == ({"role": "user", "content": f"1+1?\n{directive}"},)


@pytest.mark.parametrize(
    ("answer_format", "words"),
    [
        (AnswerFormat.TAGGED, "<answer> and </answer>"),
        (AnswerFormat.LAST_LINE, "last line"),
        (AnswerFormat.CODE, "```python"),
    ],
)
def test_every_format_has_its_own_directive(answer_format: AnswerFormat, words: str) -> None:
    rendered = Template(style=Style.R1, answer_format=answer_format).render("1+1?")
    assert not isinstance(rendered, str)
    assert words in rendered[0]["content"].splitlines()[1]


def test_no_two_formats_are_asked_for_alike() -> None:
    assert set(INSTRUCTIONS) == set(AnswerFormat)
    assert len(set(INSTRUCTIONS.values())) == len(AnswerFormat)


@given(st.text(), st.sampled_from(AnswerFormat))
def test_plain_is_the_question_alone(question: str, answer_format: AnswerFormat) -> None:
    assert Template(style=Style.PLAIN, answer_format=answer_format).render(question) == question


@given(st.text() | st.sampled_from(["{prompt}", "{0}", "\\1", "{}%s", "User: prompt."]))
def test_a_question_is_never_taken_for_a_template(question: str) -> None:
    before, after = TABLE_1.split("prompt")
    assert zero(AnswerFormat.TAGGED).render(question) == before + question + after


def test_last_line_does_not_go_with_tags() -> None:
    with pytest.raises(Contradiction, match=r"<answer> tags.*tagged or boxed"):
        zero(AnswerFormat.LAST_LINE)


@pytest.mark.parametrize("style", [Style.R1, Style.PLAIN])
def test_only_r1_zero_can_open_the_thinking(style: Style) -> None:
    with pytest.raises(Contradiction, match="cannot open the thinking"):
        Template(style=style, answer_format=AnswerFormat.BOXED, opens_thinking=True)


@pytest.mark.parametrize("prompt", [TABLE_1 + " <think>", "<|Assistant|><think>\n", "<think>"])
def test_an_open_block_at_the_end_is_seen(prompt: str) -> None:
    assert begins_in_thinking(prompt)


@pytest.mark.parametrize("prompt", [TABLE_1, "", "<think>\n\n</think>\n\n", "<think> a", "think>"])
def test_other_prompts_do_not_begin_in_thinking(prompt: str) -> None:
    assert not begins_in_thinking(prompt)
