r"""Rows of verl, and of others with its columns: a chat message that asks, the answer elsewhere.

Columns: ``prompt`` (messages), ``reward_model`` (``style``, ``ground_truth``), ``extra_info``.
Publishers put their own directions around the question; those that are known are taken off, since
they ask for other formats than a template of ours, which adds its own.
"""

from collections.abc import Mapping
from typing import Any

from penjing.tasks.problem import Split

_BEFORE = (  # DAPO-Math-17k
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.",
)
_BEHIND = (
    "Let's think step by step and output the final answer within \\boxed{}.",  # MATH, DeepScaleR
    'Let\'s think step by step and output the final answer after "####".',  # GSM8K
    'Remember to put your answer on its own line after "Answer:".',  # DAPO-Math-17k
)
_SPLITS = {"train": Split.TRAIN, "test": Split.HELD_OUT}


def question(values: Mapping[str, Any]) -> str | None:
    """Without directions; the last message of the user where there are several."""
    bare = _extra(values).get("question")
    if isinstance(bare, str) and bare.strip():
        return bare.strip()
    text = _asked(values.get("prompt"))
    if text is None:
        return None
    for direction in _BEFORE:
        text = text.removeprefix(direction).strip()
    for direction in _BEHIND:
        text = text.removesuffix(direction).strip()
    return text or None


def ground_truth(values: Mapping[str, Any]) -> Any | None:
    graded = values.get("reward_model")
    return graded.get("ground_truth") if isinstance(graded, Mapping) else None


def worked_solution(values: Mapping[str, Any]) -> str | None:
    """GSM8K's ``answer`` column, which its rows keep beside."""
    found = _extra(values).get("answer")
    return found if isinstance(found, str) else None


def split(values: Mapping[str, Any]) -> Split | None:
    """What the row says of itself."""
    found = _extra(values).get("split")
    return _SPLITS.get(found) if isinstance(found, str) else None


def _extra(values: Mapping[str, Any]) -> Mapping[str, Any]:
    found = values.get("extra_info")
    return found if isinstance(found, Mapping) else {}


def _asked(prompt: Any) -> str | None:
    if isinstance(prompt, str):
        return prompt.strip()
    messages = (
        [one for one in prompt if isinstance(one, Mapping)] if isinstance(prompt, list) else []
    )
    asked = [one.get("content") for one in messages if one.get("role", "user") == "user"]
    return asked[-1].strip() if asked and isinstance(asked[-1], str) else None
