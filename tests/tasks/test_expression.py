"""Trees against Python's own parser, and texts that are none."""

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.expression import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TOKENS,
    Binary,
    Call,
    Expression,
    Name,
    Negative,
    NotAnExpression,
    Number,
    parse,
)

_PYTHON = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}


def tree(node: ast.expr) -> Expression:
    """What Python reads, in our types."""
    match node:
        case ast.Constant(value=value):
            return Number(digits=str(value))
        case ast.Name(id=name):
            return Name(name=name)
        case ast.UnaryOp(op=ast.USub(), operand=of):
            return Negative(of=tree(of))
        case ast.BinOp(left=left, op=op, right=right):
            return Binary(operator=_PYTHON[type(op)], left=tree(left), right=tree(right))
        case ast.Call(func=ast.Name(id=name), args=[of]):
            return Call(function=name, of=tree(of))
    raise AssertionError(ast.dump(node))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["1", "23", "4.5", "x", "C", "sin(x)"]))
    left, right = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    operator = draw(st.sampled_from([" + ", "-", "*", " / ", "**"]))
    text = f"{left}{operator}{right}"
    return draw(st.sampled_from([text, f"({text})", f"-({text})", f"-{text}", f"log( {text} )"]))


@given(expressions())
def test_precedence_is_that_of_python(text: str) -> None:
    assert parse(text) == tree(ast.parse(text, mode="eval").body)


def test_numbers_are_exact() -> None:
    number = parse("0.1")
    assert isinstance(number, Number)
    assert number.value * 10 == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends"),
        ("1 +", "it ends"),
        ("(1", "never closes"),
        ("sin(1", "never closes"),
        ("1)", "')' is left over"),
        ("1 2", "'2' is left over"),
        ("2x", "'x' is left over"),
        ("()", "')' stands"),
        ("+1", "'+' stands"),
        ("1 // 2", "'/' stands"),
        ("1 = 1", "'= 1' cannot be read"),
        ("\N{FULLWIDTH DIGIT ONE}", "cannot be read"),
        ("1 \N{MULTIPLICATION SIGN} 2", "cannot be read"),
        ("1e5", "'e' is left over"),
        ("__import__('os').system('true')", "cannot be read"),
        ("(lambda: 1)()", "cannot be read"),
        ("x[0]", "cannot be read"),
        ("1" * (MAX_LENGTH + 1), "characters"),
        ("+".join("1" * MAX_TOKENS), "numbers and signs"),
        ("(" * (MAX_DEPTH + 2) + "1" + ")" * (MAX_DEPTH + 2), "nested"),
        ("-" * (MAX_DEPTH + 2) + "1", "nested"),
        ("**".join("9" * (MAX_DEPTH + 3)), "nested"),
    ],
)
def test_what_is_none(text: str, reason: str) -> None:
    with pytest.raises(NotAnExpression, match=re.escape(reason)):
        parse(text)


@given(st.text())
def test_no_text_does_anything_else(text: str) -> None:
    try:
        reason = str(parse(text))
    except NotAnExpression as error:
        reason = str(error)
    assert "\n" not in reason
