import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.format import Structure, format_reward, structure, thinking_part
from penjing.tasks.template import AnswerFormat
from penjing.tasks.thinking import answer_part

BOXED, TAGGED = AnswerFormat.BOXED, AnswerFormat.TAGGED
THOUGHT = "<think>Six times seven.</think>"
PYTHON = "```python\nprint(42)\n```"


@pytest.mark.parametrize(
    ("answer", "answer_format"),
    [
        (r"\boxed{42}", BOXED),
        (r"It is six times seven, so $\boxed{42}$.", BOXED),
        ("<answer>42</answer>", TAGGED),
        ("\n\n<answer>\n42\n</answer>\n", TAGGED),
        ("Six times seven.\n42", AnswerFormat.LAST_LINE),
        (PYTHON, AnswerFormat.CODE),
    ],
)
def test_what_is_good(answer: str, answer_format: AnswerFormat) -> None:
    assert structure(THOUGHT + answer, answer_format) is Structure.GOOD
    assert structure("\n " + THOUGHT + answer, answer_format) is Structure.GOOD
    assert format_reward(THOUGHT + answer, answer_format) == 1.0
    opened = THOUGHT.removeprefix("<think>") + answer
    assert format_reward(opened, answer_format, begins_in_thinking=True) == 1.0
    assert format_reward(opened, answer_format) == 0.0
    assert format_reward(THOUGHT + answer, answer_format, begins_in_thinking=True) == 0.0


@pytest.mark.parametrize(
    "thinking",
    [
        "",
        " ",
        "\n\n",
        ".",
        "...",
        "a",
        "42",
        "so so so so",
        "So so SO",
        "\u200b\u200b\u200b",
        "_ _ _",
    ],
)
def test_thinking_without_words_earns_nothing(thinking: str) -> None:
    for answer, answer_format in (("a", AnswerFormat.LAST_LINE), (r"\boxed{a}", BOXED)):
        response = f"<think>{thinking}</think>{answer}"
        assert structure(response, answer_format) is Structure.EMPTY_THINKING
        assert format_reward(response, answer_format) == 0.0


@pytest.mark.parametrize("thinking", ["先算六乘七", "6*7=42", "Let us see.", "сначала умножим их"])
def test_thinking_with_words(thinking: str) -> None:
    assert structure(f"<think>{thinking}</think>" + r"\boxed{a}", BOXED) is Structure.GOOD


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("", Structure.NO_THINKING),
        (r"\boxed{42}", Structure.NO_THINKING),
        (r"Six times seven.</think>\boxed{42}", Structure.NO_THINKING),
        (r"<THINK>Six times seven.</THINK>\boxed{42}", Structure.NO_THINKING),
        (r"<think>Six times seven.</think >\boxed{42}", Structure.NO_THINKING),
        (r"&lt;think&gt;Six times seven.&lt;/think&gt;\boxed{42}", Structure.NO_THINKING),
        ("Well. " + THOUGHT + r"\boxed{42}", Structure.TEXT_BEFORE_THINKING),
        ("</think>" + THOUGHT + r"\boxed{42}", Structure.TEXT_BEFORE_THINKING),
        (r"\boxed{42}" + THOUGHT, Structure.TEXT_BEFORE_THINKING),
        (r"<think>Six times seven. \boxed{42}", Structure.UNCLOSED_THINKING),
        (THOUGHT + THOUGHT + r"\boxed{42}", Structure.SEVERAL_BLOCKS),
        (THOUGHT + r"\boxed{42}" + THOUGHT, Structure.SEVERAL_BLOCKS),
        ("<think>" + THOUGHT + r"</think>\boxed{42}", Structure.SEVERAL_BLOCKS),
        ("<think>" + THOUGHT + r"\boxed{42}", Structure.SEVERAL_BLOCKS),
        (THOUGHT + r"</think>\boxed{42}", Structure.SEVERAL_BLOCKS),
        (THOUGHT + r"\boxed{42}</think>", Structure.SEVERAL_BLOCKS),
        (THOUGHT + r"\boxed{42}<think>", Structure.SEVERAL_BLOCKS),
        (THOUGHT + r"\boxed{42} < THINK >", Structure.SEVERAL_BLOCKS),
        (r"<think>Six <answer>42</answer> it is.</think>\boxed{42}", Structure.TAGS_IN_THINKING),
        (THOUGHT, Structure.NO_ANSWER),
        (THOUGHT + " \n", Structure.NO_ANSWER),
        (THOUGHT + r"<answer>\boxed{42}</answer>", Structure.TAGS_IN_ANSWER),
        (THOUGHT + r"\boxed{42}</Answer>", Structure.TAGS_IN_ANSWER),
        (THOUGHT + "It is 42.", Structure.NOT_IN_FORMAT),
        (THOUGHT + r"\boxed{}", Structure.NOT_IN_FORMAT),
        (THOUGHT + r"\boxed{42", Structure.NOT_IN_FORMAT),
        (THOUGHT + r"\boxed{41} \boxed{42}", Structure.NOT_IN_FORMAT),
    ],
)
def test_what_is_wrong_with_a_box(response: str, expected: Structure) -> None:
    assert structure(response, BOXED) is expected
    assert format_reward(response, BOXED) == 0.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("42", Structure.NOT_IN_FORMAT),
        ("<answer></answer>", Structure.NOT_IN_FORMAT),
        ("<answer> </answer>", Structure.NOT_IN_FORMAT),
        ("<answer>42</answer> or 43", Structure.NOT_IN_FORMAT),
        ("It is <answer>42</answer>", Structure.TAGS_IN_ANSWER),
        ("<answer>42", Structure.TAGS_IN_ANSWER),
        ("<answer>42</answer><answer>42</answer>", Structure.TAGS_IN_ANSWER),
        ("<answer><answer>42</answer></answer>", Structure.TAGS_IN_ANSWER),
        ("</answer>42<answer>", Structure.TAGS_IN_ANSWER),
        ("<ANSWER>42</ANSWER>", Structure.TAGS_IN_ANSWER),
        ("<answer>42<answer>", Structure.NOT_IN_FORMAT),
    ],
)
def test_what_is_wrong_with_tags(answer: str, expected: Structure) -> None:
    assert structure(THOUGHT + answer, TAGGED) is expected


TAGS = ("<think>", "</think>", "<Think>", "</THINK>", "<answer>", "</answer>")
PIECES = (*TAGS, "we try this ", r"\boxed{4}", " ", "7")


@given(st.lists(st.sampled_from(PIECES)), st.sampled_from(AnswerFormat), st.booleans())
def test_what_is_good_has_one_block_and_an_answer(
    pieces: list[str], answer_format: AnswerFormat, begins: bool
) -> None:
    response = "".join(pieces)
    if format_reward(response, answer_format, begins_in_thinking=begins):
        assert response.count("<think>") == (0 if begins else 1)
        assert response.count("</think>") == 1
        assert "try" in thinking_part(response, begins_in_thinking=begins)
        assert (answer_part(response, begins_in_thinking=begins) or "").strip()


@given(st.text(), st.sampled_from(AnswerFormat), st.booleans())
def test_any_text_has_a_structure(text: str, answer_format: AnswerFormat, begins: bool) -> None:
    found = structure(text, answer_format, begins_in_thinking=begins)
    assert (found is Structure.GOOD) == bool(
        format_reward(text, answer_format, begins_in_thinking=begins)
    )


@pytest.mark.parametrize(
    ("response", "begins", "expected"),
    [
        ("<think>a</think>b", False, "a"),
        ("a</think>b", True, "a"),
        ("a</think>b", False, ""),
        ("a", True, "a"),
        ("b", False, ""),
        ("<think>a", False, "a"),
        ("<think>a</think>b<think>c</think>d", False, "a\nc"),
        ("<think>a<think>b</think>c", False, "a<think>b"),
    ],
)
def test_the_thinking_part(response: str, begins: bool, expected: str) -> None:
    assert thinking_part(response, begins_in_thinking=begins) == expected


@pytest.mark.parametrize("piece", ["<", "< ", "<think", "<think>", "</think>", "<answer ", "a "])
def test_no_response_takes_long(piece: str) -> None:
    began = time.process_time()
    structure("<think>" + piece * (2_000_000 // len(piece)), BOXED)
    assert time.process_time() - began < 3.0
