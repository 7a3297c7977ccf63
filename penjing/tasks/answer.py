r"""The one final answer of a response: found where its format says, or not at all.

Nothing is guessed: a last number in running text is no answer. Work is bounded whatever the length
of the text: what stands outside boxes and tags is only searched, and what stands inside is limited.
"""

import re
from collections.abc import Iterable, Iterator
from typing import assert_never

from penjing.tasks.problem import Grade, Verdict
from penjing.tasks.template import AnswerFormat

MAX_ANSWER_CHARS = 2_000  # of a box or a last line; the longest of MATH's 12,500 has below 200
MAX_TAGGED_CHARS = 100_000  # of <answer> and of code, which may hold tables and programs
MAX_ANSWERS = 100  # boxes, or pairs of tags
MAX_FENCES = 2_000

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,8}")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?|[A-Za-z](?![A-Za-z])")
_TAG = re.compile(r"</?answer>")
_FENCE = re.compile(r"^[ \t]{0,12}(`{3,})([^`\n]{0,200})$", re.MULTILINE)
_PREFIX = re.compile(
    r"(?P<bold>\*\*)?(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+)?answer\b"
    r"\s*(?(bold)(?:(?:is\b|[:=])\s*\*\*|\*\*\s*(?:is\b|[:=]))\s*:?|(?:is\b\s*:?|[:=]))|####",
    re.IGNORECASE,
)
_DELIMITERS = (("**", "**"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


class _NotOne(Exception):
    """Why there is no final answer."""


def final_answer(text: str, answer_format: AnswerFormat) -> str | Grade:
    """The answer in ``text``, the part of a response behind its thinking.

    Without one, or with one that does not end, the grade is UNGRADABLE; with several that differ,
    WRONG. The same answer may stand there more than once. An empty box claims nothing.
    """
    try:
        match answer_format:
            case AnswerFormat.BOXED:
                return _agreed(boxes(text), "boxes")
            case AnswerFormat.TAGGED:
                return _agreed(_tagged(text), "answers in tags")
            case AnswerFormat.LAST_LINE:
                return _last_line(text)
            case AnswerFormat.CODE:
                return _last_block(text)
            case _:
                assert_never(answer_format)
    except _NotOne as reason:
        return Grade(verdict=Verdict.UNGRADABLE, reason=str(reason))


def last_box(text: str) -> str | None:
    """What the last box of a data set's solution holds: it may have several, for parts."""
    try:
        found = list(boxes(text))
    except _NotOne:
        return None
    return found[-1] if found else None


def boxes(text: str) -> Iterator[str]:
    r"""Contents of ``\boxed`` and ``\fbox``, in order; a box in a box belongs to the outer one."""
    at = 0
    while found := _BOX.search(text, at):
        begin = found.end()
        if _is_escaped(text, found.start()):  # a line break and a word
            at = begin
        elif text.startswith("{", begin):
            at = _closing_brace(text, begin) + 1
            yield text[begin + 1 : at - 1]
        elif bare := _BARE.match(text, begin):  # as TeX has it, but for more than one digit
            at = bare.end()
            yield bare.group()
        else:
            at = begin


def _is_escaped(text: str, at: int) -> bool:
    start = at
    while start and text[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 1


def normalised(answer: str) -> str:
    """For comparing as text: without delimiters, spaces and a full stop at the end."""
    return re.sub(r"\s+|\\[,;:! ]|(?<!\\)~", "", undecorated(answer)).removesuffix(".")


def undecorated(answer: str) -> str:
    """Without what only sets an answer off: spaces, ``$``, bold, and a box around the whole."""
    while True:
        before, answer = answer, answer.strip()
        for opening, closing in _DELIMITERS:
            inner = answer.removeprefix(opening).removesuffix(closing)
            is_around = len(answer) == len(inner) + len(opening) + len(closing)
            if is_around and opening not in inner and closing not in inner:
                answer = inner
        box = _BOX.match(answer)
        if box and answer.startswith("{", box.end()) and len(answer) <= MAX_ANSWER_CHARS:
            inside = _whole_box(answer, box.end())
            answer = answer if inside is None else inside
        if answer == before:
            return answer


def _whole_box(answer: str, begin: int) -> str | None:
    try:
        end = _closing_brace(answer, begin)
    except _NotOne:
        return None
    return answer[begin + 1 : end] if end == len(answer) - 1 else None


def _closing_brace(text: str, begin: int) -> int:
    """Where the brace at ``begin`` closes."""
    depth = 0
    for found in _BRACE.finditer(text, begin, begin + MAX_ANSWER_CHARS + 2):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if depth == 0:
            return found.start()
    limit = f"within {MAX_ANSWER_CHARS} characters" if len(text) - begin > MAX_ANSWER_CHARS else ""
    raise _NotOne(f"a box never closes {limit}".rstrip())


def _agreed(found: Iterable[str], what: str) -> str | Grade:
    """The one answer that all state; stops at the first that differs."""
    first = count = None
    for count, answer in enumerate(found, 1):
        if count > MAX_ANSWERS:
            raise _NotOne(f"more than {MAX_ANSWERS} {what}")
        if not normalised(answer):
            continue
        if first is None:
            first = answer
        elif normalised(answer) != normalised(first):
            several = f"several {what} differ: {_short(first)} and {_short(answer)}"
            return Grade(verdict=Verdict.WRONG, reason=several)
    if first is None:
        raise _NotOne(f"no {what} hold anything" if count else f"there are no {what}")
    return undecorated(first)


def _tagged(text: str) -> Iterator[str]:
    """What stands between tags, which must take turns: nothing says which of nested ones counts."""
    begin = None
    for found in _TAG.finditer(text):
        is_opening = found.group() == "<answer>"
        if is_opening is (begin is not None):
            raise _NotOne("answer tags do not pair")
        if begin is not None:
            yield _limited(text[begin : found.start()], MAX_TAGGED_CHARS)
        begin = found.end() if is_opening else None
    if begin is not None:
        raise _NotOne("an answer tag never closes")


def _last_line(text: str) -> str:
    text = text.rstrip()
    start = max(text.rfind("\n"), text.rfind("\r")) + 1
    line = undecorated(_limited(text[start:], MAX_ANSWER_CHARS))
    if prefix := _PREFIX.match(line):
        line = line[prefix.end() :]
    answer = undecorated(undecorated(line).removesuffix("."))
    if not answer:
        raise _NotOne("the last line holds no answer")
    return answer


def _last_block(text: str) -> str:
    """The last fenced block; a fence closes with as many backticks as it opened with, or more."""
    opening, block = None, None
    for count, found in enumerate(_FENCE.finditer(text.replace("\r\n", "\n")), 1):
        if count > MAX_FENCES:
            raise _NotOne(f"more than {MAX_FENCES} fences")
        ticks, word = found.groups()
        if opening is None:
            opening = found
        elif len(ticks) >= len(opening.group(1)) and not word.strip():
            block, opening = found.string[opening.end() + 1 : found.start()], None
    if opening is not None:
        raise _NotOne("the last fenced block never closes")
    if block is None or not block.strip():
        raise _NotOne("there is no fenced block" if block is None else "the fenced block is empty")
    return _limited(block, MAX_TAGGED_CHARS)


def _limited(answer: str, most: int) -> str:
    if len(answer) > most:
        raise _NotOne(f"the answer has {len(answer)} characters; at most {most} are read")
    return answer


def _short(answer: str, most: int = 40) -> str:
    answer = " ".join(answer.split())
    return answer if len(answer) <= most else answer[: most - 1] + "…"
