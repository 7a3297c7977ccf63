"""Thinking told from answer in the text of a response."""

OPEN, CLOSE = "<think>", "</think>"


def answer_part(response: str, *, begins_in_thinking: bool = False) -> str | None:
    """What stands behind the last thinking block; None: the thinking never ends.

    A text without tags is all answer, unless its prompt had opened a block.
    """
    _, closed, answer = response.rpartition(CLOSE)
    if OPEN in answer or (begins_in_thinking and not closed):
        return None
    return answer
