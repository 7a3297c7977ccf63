"""A mathematical answer as a tree: what ``math_reader`` reads, and what is judged and compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


class NotAValue(Exception):
    """Why a text is not an answer that can be read, in a few words."""


class Op(StrEnum):
    NUMBER = "number"  # text: digits, with a point or ``(repeating)`` digits; never a sign
    NAME = "name"  # a variable, or one of CONSTANTS
    MINUS = "minus"  # one part
    PLUS_MINUS = "plus_minus"  # one part; text "+-" or "-+"
    SUM = "sum"
    PRODUCT = "product"
    QUOTIENT = "quotient"  # over, under
    MIXED = "mixed"  # whole, fraction
    POWER = "power"  # base, exponent
    ROOT = "root"  # radicand, index
    CALL = "call"  # text: the function
    FACTORIAL = "factorial"
    DEGREES = "degrees"
    PERCENT = "percent"
    UNIT = "unit"  # one part; text: the unit in its writing
    BASE = "base"  # text: digits, "_", base
    BRACKETS = "brackets"  # text: the two, such as "(]" or "{}"; never "()" with one part
    LIST = "list"  # several answers side by side
    UNION = "union"
    MATRIX = "matrix"  # parts are rows, each a LIST
    RELATION = "relation"  # text: what stands between the parts, with spaces
    TEXT = "text"


CONSTANTS = frozenset({"pi", "e", "i", "oo"})


@dataclass(frozen=True, slots=True)
class Node:
    op: Op
    parts: tuple["Node", ...] = ()
    text: str = ""

    def walk(self) -> Iterator["Node"]:
        """This node, and all below it."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(node.parts)

    def has(self, op: Op) -> bool:
        return any(node.op is op for node in self.walk())

    def has_name(self, name: str) -> bool:
        return any(node.op is Op.NAME and node.text == name for node in self.walk())

    @property
    def variables(self) -> frozenset[str]:
        names = (node.text for node in self.walk() if node.op is Op.NAME)
        return frozenset(names) - CONSTANTS

    @property
    def is_open(self) -> bool:
        """Whether a variable stands in it."""
        return bool(self.variables)


def number(text: str) -> Fraction:
    """The exact value of a NUMBER's text: ``0.1(6)`` is one sixth."""
    digits, _, repeating = text.rstrip(")").partition("(")
    value = Fraction(digits if digits[-1:] != "." else digits + "0")
    if not repeating:
        return value
    places = len(digits.partition(".")[2])
    return value + Fraction(int(repeating), (10 ** len(repeating) - 1) * 10**places)


def integer(node: Node) -> int | None:
    """The value of a whole number that is written out, with or without a minus."""
    if node.op is Op.MINUS:
        inner = integer(node.parts[0])
        return None if inner is None else -inner
    if node.op is Op.NUMBER and node.text.isdigit():
        return int(node.text)
    return None


def rational(node: Node) -> Fraction | None:
    """The value of a number that is written out: whole, decimal, fraction, mixed or scientific."""
    match node.op:
        case Op.NUMBER:
            return number(node.text)
        case Op.MINUS:
            inner = rational(node.parts[0])
            return None if inner is None else -inner
        case Op.QUOTIENT:
            over, under = map(integer, node.parts)
            return Fraction(over, under) if over is not None and under else None
        case Op.MIXED:
            whole, fraction = map(rational, node.parts)
            assert whole is not None
            return None if fraction is None else whole + fraction
        case Op.PRODUCT if is_scientific(node):
            mantissa, exponent = rational(node.parts[0]), integer(node.parts[1].parts[1])
            assert mantissa is not None
            assert exponent is not None
            return mantissa * Fraction(10) ** exponent
    return None


def is_scientific(node: Node) -> bool:
    """One digit before the point, times a power of ten of some sane size."""
    if node.op is not Op.PRODUCT or len(node.parts) != 2:
        return False
    first, second = node.parts
    mantissa = first.parts[0] if first.op is Op.MINUS else first
    if mantissa.op is not Op.NUMBER or second.op is not Op.POWER:
        return False
    base, exponent = map(integer, second.parts)
    is_sane = exponent is not None and abs(exponent) <= 1000
    return base == 10 and is_sane and 1 <= number(mantissa.text) < 10
