"""Arithmetic as a tree, read without ``eval``: what a model wrote never runs.

``+ - * / **``, parentheses, decimal numbers, names and calls, with Python's precedence. Length and
depth are bounded, so that no text makes the parser, or who walks the tree, slow or deep.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 2_000  # characters
MAX_TOKENS = 400  # a sum of n terms is a tree n deep
MAX_DEPTH = 40  # of parentheses, signs and powers


class NotAnExpression(ValueError):
    """Why a text is none, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Number:
    digits: str  # as written

    @property
    def value(self) -> Fraction:
        return Fraction(self.digits)


@dataclass(frozen=True, kw_only=True)
class Name:
    name: str


@dataclass(frozen=True, kw_only=True)
class Negative:
    of: "Expression"


@dataclass(frozen=True, kw_only=True)
class Binary:
    operator: str  # + - * / **
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, kw_only=True)
class Call:
    function: str
    of: "Expression"


Expression = Number | Name | Negative | Binary | Call

# ASCII alone: what str.isdigit takes for digits would let look-alikes in.
_TOKEN = re.compile(
    r"[ \t\n]*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<name>[A-Za-z]+)|(?P<sign>\*\*|[-+*/()]))"
)


def parse(text: str) -> Expression:
    """Raises ``NotAnExpression``."""
    if len(text) > MAX_LENGTH:
        raise NotAnExpression(f"{len(text)} characters, more than {MAX_LENGTH}")
    tokens = list(_tokens(text.rstrip(" \t\n")))
    if len(tokens) > MAX_TOKENS:
        raise NotAnExpression(f"{len(tokens)} numbers and signs, more than {MAX_TOKENS}")
    parser = _Parser(tokens)
    expression = parser.sum(0)
    if parser.next:
        raise NotAnExpression(f"{parser.next!r} is left over")
    return expression


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise NotAnExpression(f"{text[at : at + 20].strip()!r} cannot be read")
        at = token.end()
        yield token[token.lastgroup or 0]


class _Parser:
    """Recursive descent; every method returns the tree of the tokens that it took."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def sum(self, depth: int) -> Expression:
        left = self._product(depth)
        while self.next in ("+", "-"):
            left = Binary(operator=self._take(), left=left, right=self._product(depth))
        return left

    def _product(self, depth: int) -> Expression:
        left = self._signed(depth)
        while self.next in ("*", "/"):
            left = Binary(operator=self._take(), left=left, right=self._signed(depth))
        return left

    def _signed(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise NotAnExpression(f"nested more than {MAX_DEPTH} deep")
        if self.next == "-":
            self._take()
            return Negative(of=self._signed(depth + 1))
        base = self._atom(depth)
        if self.next == "**":  # binds tighter than the sign before it, looser than the one behind
            self._take()
            return Binary(operator="**", left=base, right=self._signed(depth + 1))
        return base

    def _atom(self, depth: int) -> Expression:
        token = self._take()
        if token == "(":
            return self._closed(depth)
        if token[:1].isdigit():
            return Number(digits=token)
        if not token[:1].isalpha():
            raise NotAnExpression(f"{token!r} stands where a number should" if token else "it ends")
        if self.next != "(":
            return Name(name=token)
        self._take()
        return Call(function=token, of=self._closed(depth))

    def _closed(self, depth: int) -> Expression:
        inner = self.sum(depth + 1)
        if self._take() != ")":
            raise NotAnExpression("a parenthesis never closes")
        return inner

    def _take(self) -> str:
        token = self.next
        self._at += 1
        return token
