"""The program in an answer: a fenced block, or an answer that is nothing but Python."""

import ast
import warnings
from textwrap import dedent

from penjing.tasks.answer import MAX_TAGGED_CHARS, final_answer
from penjing.tasks.problem import Grade, Verdict
from penjing.tasks.template import AnswerFormat

_FENCE = "```"


def program_of(answer: str) -> str | Grade:
    """The last fenced block; without any fence the whole answer, if it parses as Python.

    A block that is indented as a whole, as in a list, is moved to the left.
    """
    code = _code_of(answer)
    return code if isinstance(code, Grade) else _moved_left(code)


def function_of(answer: str, prompt: str, entry_point: str) -> tuple[str, ...] | Grade:
    """Sources to run one after the other, such that ``entry_point`` is defined.

    Where the answer's code (see ``program_of``) defines it at its top level, the prompt is run
    before it, for the imports and functions that the problem brings along. Where it does not, the
    answer goes on where the prompt stops, as that of a base model does: its first lines, up to the
    first that is not indented, are the function's body. Other code is WRONG.
    """
    code = _code_of(answer)
    if isinstance(code, str) and entry_point in _defined(program := _moved_left(code)):
        return prompt, program
    body = _indented(code if isinstance(code, str) and _FENCE in answer else answer)
    whole = prompt + body
    if _FENCE not in body and body.strip() and _parsed(whole) is not None:
        return (whole,)
    if isinstance(code, Grade):
        return code
    reason = f"the code neither defines {entry_point} nor goes on where the prompt stops"
    if _parsed(_moved_left(code)) is None:
        reason = "the code does not parse as Python"
    return Grade(verdict=Verdict.WRONG, reason=reason, answer=code)


def _code_of(answer: str) -> str | Grade:
    if any("\ud800" <= c <= "\udfff" for c in answer):
        return _no_code("it holds half a surrogate pair, which no file can")
    if _FENCE in answer:
        return final_answer(answer, AnswerFormat.CODE)
    if (tree := _parsed(answer)) is None or not tree.body:
        return _no_code("there is no fenced block, and the whole is not Python")
    return answer


def _moved_left(code: str) -> str:
    """Only where it must be: ``dedent`` also changes blank lines inside of strings."""
    return dedent(code) if code.lstrip("\n")[:1].isspace() else code


def _no_code(reason: str) -> Grade:
    return Grade(verdict=Verdict.UNGRADABLE, reason=reason)


def _parsed(code: str) -> ast.Module | None:
    if len(code) > MAX_TAGGED_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of an invalid escape
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _indented(text: str) -> str:
    """The lines before the first one that is not indented; blank lines are kept."""
    lines = text.split("\n")
    ends = (at for at, line in enumerate(lines) if line.strip() and not line[0].isspace())
    return "\n".join([*lines[: next(ends, None)], ""])


def _defined(code: str) -> set[str]:
    """Names that the top level defines or imports; none where it does not parse."""
    tree = _parsed(code)
    names: set[str] = set()
    for node in tree.body if tree else ():
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                names.update(a.asname or a.name for a in node.names)
            case _:
                continue
    return names
