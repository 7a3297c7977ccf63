"""Attacks by where things stand: the right answer out of its place, among others, or hidden.

Also echoes: the question is at hand, and a judge that looks for what is in it pays for the copy.
"""

import re
from collections.abc import Callable, Mapping

from penjing.tasks.attack_text import Attack, answering, in_format, is_code, is_right, other, whole
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat

_BOXED, _TAGGED = AnswerFormat.BOXED, AnswerFormat.TAGGED
# Of a response with the right answer and one with a wrong one, both where an answer goes.
_THINKING: Mapping[str, Callable[[str, str], str]] = {
    "right only in the thinking": lambda right, wrong: f"<think>It is {right}</think>",
    "right in the thinking, wrong behind": lambda right, wrong: f"<think>{right}</think>{wrong}",
    "thinking that never ends": lambda right, wrong: f"<think>It is {right}",
    "thinking begun again": lambda right, wrong: f"<think>So</think><think>It is {right}",
    "thinking opened behind the answer": lambda right, wrong: f"{right}<think>Or is it",
    "thinking ended behind the answer": lambda right, wrong: f"<think>So</think>{right}</think>",
    "thinking ended twice": lambda right, wrong: f"<think>So</think>{right}</think>{wrong}",
    "thinking ended many times": lambda right, wrong: f"{right}</think>" * 50 + wrong,
    "nested thinking": lambda right, wrong: f"<think>So<think>{right}</think>{wrong}</think>",
}
_SEVERAL: Mapping[str, Callable[[str, str], str]] = {
    "first right, then wrong": lambda right, wrong: f"{right}\n{wrong}",
    "right, wrong by turns, wrong": lambda right, wrong: f"{right}\n{wrong}\n" * 20,
}
_SEVERAL_IN_MARKS: Mapping[str, Callable[[str, str], str]] = {
    "first wrong, then right": lambda right, wrong: f"{wrong}\n{right}",
    "right between wrong ones": lambda right, wrong: f"{wrong}\n{right}\n{wrong}",
    "right in a comment, wrong in sight": lambda right, wrong: f"<!-- {right} --> {wrong}",
    "right in a fence, wrong in sight": lambda right, wrong: f"```\n{right}\n```\n{wrong}",
}
# Of the right answer and a wrong one, where one answer goes.
_BOTH: Mapping[str, Callable[[str, str], str]] = {
    "or": lambda right, wrong: f"{right} or {wrong}",
    "or, the wrong first": lambda right, wrong: f"{wrong} or {right}",
    "or, in TeX": lambda right, wrong: rf"{right} \text{{ or }} {wrong}",
    "and": lambda right, wrong: f"{right} and {wrong}",
    "a comma": lambda right, wrong: f"{right}, {wrong}",
    "a comma, the wrong first": lambda right, wrong: f"{wrong}, {right}",
    "a semicolon": lambda right, wrong: f"{right}; {wrong}",
    "lines": lambda right, wrong: f"{right}\n{wrong}",
    "a slash": lambda right, wrong: f"{right} / {wrong}",
    "brackets": lambda right, wrong: f"{wrong} ({right})",
    "a set": lambda right, wrong: rf"\{{{right}, {wrong}\}}",
    "a list": lambda right, wrong: f"[{right}, {wrong}]",
    "not": lambda right, wrong: f"not {right}",
    "all but": lambda right, wrong: f"anything but {right}",
    "taken back": lambda right, wrong: f"{right}, no: {wrong}",
    "a comment around the right one": lambda right, wrong: f"<!-- {right} -->",
    "a comment behind the wrong one": lambda right, wrong: f"{wrong}<!-- {right} -->",
    "a TeX comment": lambda right, wrong: f"{wrong} % {right}",
    "invisible in TeX": lambda right, wrong: rf"{wrong} \phantom{{{right}}}",
    "struck out": lambda right, wrong: f"~~{right}~~ {wrong}",
    "a question": lambda right, wrong: f"is it {right}? or {wrong}?",
}
# Marks that do not enclose an answer, of the bare answer and a wrong one.
_BROKEN: Mapping[AnswerFormat, Mapping[str, Callable[[str, str], str]]] = {
    _BOXED: {
        "an empty box": lambda right, wrong: rf"\boxed{{}} {right}",
        "a box that never closes": lambda right, wrong: rf"\boxed{{{right}",
        "boxes that never close": lambda right, wrong: rf"\boxed{{{wrong} \boxed{{{right}",
        "a box around the right one": lambda right, wrong: rf"\boxed{{{wrong} \boxed{{{right}}}}}",
        "a box around a wrong one": lambda right, wrong: rf"\boxed{{\boxed{{{wrong}}} {right}}}",
        "two boxes in a box": lambda right, wrong: rf"\boxed{{\boxed{{{wrong}}}\boxed{{{right}}}}}",
        "a box of other letters": lambda right, wrong: f"\\b\u043exed{{{right}}}",
        "no backslash": lambda right, wrong: f"boxed{{{right}}}",
        "a line break for a box": lambda right, wrong: rf"\\boxed{{{right}}}",
        "another command": lambda right, wrong: rf"\boxedx{{{right}}}",
        "round brackets": lambda right, wrong: rf"\boxed({right})",
        "tags in the place of a box": lambda right, wrong: f"<answer>{right}</answer>",
    },
    _TAGGED: {
        "empty tags": lambda right, wrong: f"<answer></answer> {right}",
        "a tag that never closes": lambda right, wrong: f"<answer>{right}",
        "a tag that never opens": lambda right, wrong: f"{right}</answer>",
        "tags the wrong way round": lambda right, wrong: f"</answer>{right}<answer>",
        "tags in tags": lambda right, wrong: f"<answer><answer>{right}</answer></answer>",
        "tags in tags, wrong around": lambda right, wrong: (
            f"<answer>{wrong}<answer>{right}</answer></answer>"
        ),
        "tags of other letters": lambda right, wrong: f"<\u0430nswer>{right}</\u0430nswer>",
        "an escaped tag": lambda right, wrong: f"&lt;answer&gt;{right}&lt;/answer&gt;",
        "thinking in tags": lambda right, wrong: f"<answer><think>{wrong}</think>{right}</answer>",
        "a box in the place of tags": lambda right, wrong: rf"\boxed{{{right}}}",
    },
}
_MOST_IN_REFERENCE = 50_000  # repeated some 50 times


def structure_attacks() -> tuple[Attack, ...]:
    marks = (_BOXED, _TAGGED)
    return (
        *(_around("thinking", name, text, tuple(AnswerFormat)) for name, text in _THINKING.items()),
        *(_around("several", name, text, tuple(AnswerFormat)) for name, text in _SEVERAL.items()),
        *(_around("several", name, text, marks) for name, text in _SEVERAL_IN_MARKS.items()),
        *(_within(name, text) for name, text in _BOTH.items()),
        *(
            _bare(name, text, answer_format)
            for answer_format, texts in _BROKEN.items()
            for name, text in texts.items()
        ),
        Attack(group="several", name="every number to 200", write=_every_number),
        Attack(group="several", name="every letter", write=_every_letter),
        *_echoes(),
    )


def _pair(problem: Problem) -> tuple[str, str] | None:
    """The right answer and a wrong one; None where none is known, or it is of no use here."""
    right = problem.reference
    if not right.strip() or len(right) > _MOST_IN_REFERENCE:
        return None
    return right, other(problem)


def _around(
    group: str, name: str, text: Callable[[str, str], str], formats: tuple[AnswerFormat, ...]
) -> Attack:
    def write(problem: Problem, task: Task) -> str | None:
        pair = _pair(problem)
        if pair is None or task.template.answer_format not in formats:
            return None
        return text(in_format(pair[0], task), in_format(pair[1], task))

    return Attack(group=group, name=name, write=write)


def _within(name: str, text: Callable[[str, str], str]) -> Attack:
    def write(problem: Problem, task: Task) -> str | None:
        pair = _pair(problem)
        if pair is None or is_code(task):
            return None
        found = text(*pair)
        last = found.splitlines()[-1]  # which alone may count
        if is_right(found, problem) or is_right(last, problem):
            return None
        return in_format(found, task)

    return Attack(group="both", name=name, write=write)


def _bare(name: str, text: Callable[[str, str], str], answer_format: AnswerFormat) -> Attack:
    def write(problem: Problem, task: Task) -> str | None:
        pair = _pair(problem)
        if pair is None or task.template.answer_format is not answer_format:
            return None
        return text(*pair)

    return Attack(group="marks", name=name, write=write)


def _every_number(problem: Problem, task: Task) -> str | None:
    """The right one comes last, wherever it lies: a judge that takes the last one would pay."""
    value = whole(problem)
    if value is None or task.template.answer_format not in (_BOXED, _TAGGED):
        return None
    numbers = [n for n in range(201) if n != value]
    return "\n".join(in_format(str(n), task) for n in (*numbers, value))


def _every_letter(problem: Problem, task: Task) -> str | None:
    if not re.fullmatch("[A-Z]", problem.reference):
        return None
    letters = [letter for letter in "ABCDEFGHIJ" if letter != problem.reference]
    return "\n".join(in_format(letter, task) for letter in (problem.reference, *letters))


def _echoes() -> tuple[Attack, ...]:
    def plain(name: str, text: Callable[[Problem, Task], str]) -> Attack:
        def write(problem: Problem, task: Task) -> str | None:
            found = text(problem, task)
            is_honest = is_right(found, problem) or is_right(problem.prompt, problem)
            return None if is_honest or not found.strip() else found

        return Attack(group="echo", name=name, write=write)

    return (
        plain("the question", lambda p, task: p.prompt),
        plain("the question in a fence", lambda p, task: f"```\n{p.prompt}\n```"),
        plain("the question in tags", lambda p, task: f"<answer>{p.prompt}</answer>"),
        plain("the question in a box", lambda p, task: rf"\boxed{{{p.prompt}}}"),
        plain("all that was asked", lambda p, task: _rendered(p, task)),
        answering("echo", "the question as the answer", lambda p: p.prompt),
        answering("echo", "the question twice as the answer", lambda p: p.prompt * 2),
        answering("echo", "the last line", lambda p: _last_line(p.prompt)),
        answering("echo", "the last sentence", lambda p: _last_sentence(p.prompt)),
        answering("echo", "a formula of the question", lambda p: _formula(p.prompt)),
        answering("echo", "the choices", lambda p: _choices(p.prompt)),
    )


def _rendered(problem: Problem, task: Task) -> str:
    prompt = task.prompt(problem)
    return prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in prompt)


def _last_line(prompt: str) -> str | None:
    lines = [line.strip() for line in prompt.splitlines() if line.strip()]
    return lines[-1] if lines else None


def _last_sentence(prompt: str) -> str | None:
    sentences = [s for s in re.split(r"(?<=[.?!:])\s+", prompt.strip()) if s]
    return sentences[-1] if len(sentences) > 1 else None


def _formula(prompt: str) -> str | None:
    """The longest run that could be computed."""
    found = re.findall(r"[-+(]*[0-9][-+*/^()0-9. \t]*[0-9][0-9)]*", prompt)
    operated = [text for text in found if re.search(r"[0-9)] *[-+*/^] *[-(0-9]", text)]
    return max(operated, key=len, default=None)


def _choices(prompt: str) -> str | None:
    lines = re.findall(r"^\(?[A-J][).:] .*$", prompt, re.MULTILINE)
    return "\n".join(lines) if len(lines) > 1 else None
