r"""Whether an answer is the reference, as far as form alone can tell.

Numbers are compared exactly, as fractions; tuples, sets, intervals and matrices part by part. What
remains open is whether two expressions are equal, such as ``\frac{\sqrt2}{2}`` and
``\frac{1}{\sqrt2}``, for which a caller may bring algebra.

A unit, a dollar sign, a degree sign and ``x =`` may be left out or added, but not be another one.
What is counted may be named as the question names it; other words beside a number are no answer. A
percent sign may be left out, and not added: 18 % is not 18.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from penjing.tasks.answer import normalised
from penjing.tasks.evaluated import leftovers
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import Node, NotAValue, Op, rational
from penjing.tasks.problem import Verdict

Algebra = Callable[[Node, Node], bool | None]
"""Whether two expressions are equal; None: it cannot say."""

MAX_UNORDERED = 6  # open parts that are matched in every order; more of them stay open
_LETTERS = re.compile(r"[^\W\d_]{3,}")
_FUNCTION_WORDS = frozenset({  # they would say something of the number
    "all", "and", "any", "are", "but", "else", "false", "for", "incorrect", "maybe", "never", "no",
    "none", "nor", "not", "only", "other", "rather", "some", "than", "the", "then", "true", "was",
    "were", "what", "when", "which", "will", "with", "wrong",
})  # fmt: skip
_MIRRORED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne"}


@dataclass(frozen=True)
class Match:
    """``verdict`` None: both are values, and whether they are equal takes algebra."""

    verdict: Verdict | None
    reason: str  # one line


def match(
    answer: str, reference: str, algebra: Algebra = lambda a, b: None, *, question: str = ""
) -> Match:
    """``reference`` is trusted; ``answer`` must be a value in evaluated form to be right."""
    try:
        ours = read(answer)
    except NotAValue as error:
        return Match(Verdict.WRONG, f"it is no value: {error}")
    try:
        theirs = read(reference)
    except NotAValue as error:
        if normalised(answer) == normalised(reference):
            return Match(Verdict.CORRECT, "it is the reference, letter by letter")
        return Match(Verdict.UNGRADABLE, f"the reference cannot be read: {error}")
    undone = _left_undone(ours, theirs)
    if undone:
        return Match(Verdict.WRONG, f"it leaves to work out: {', '.join(sorted(undone))}")
    strange = _strange_words(ours, f"{question} {reference}")
    if strange:
        return Match(Verdict.WRONG, f"nobody asked for {strange[0]!r}")
    same = equal(ours, theirs, algebra)
    if same is None:
        return Match(None, "whether it equals the reference takes algebra")
    return Match(Verdict.CORRECT, "equal") if same else Match(Verdict.WRONG, "it is another value")


def equal(a: Node, b: Node, algebra: Algebra) -> bool | None:
    """Of an answer ``a`` and a reference ``b``; None where algebra was needed and could not say."""
    a, b = _named(a, b)
    if not _units_agree(a, b):
        return False
    a, b = _bare(a), _bare(b)
    if a == b:
        return True
    if b.op is Op.PERCENT and a.op is not Op.PERCENT:
        b = b.parts[0]
    if b.op is Op.BASE and a.op in (Op.NUMBER, Op.BASE):  # the question has named the base
        return a.text in (b.text, b.text.partition("_")[0])
    if a.op is Op.NAME and b.op is Op.NAME:
        return False
    x, y = rational(a), rational(b)
    if x is not None and y is not None:
        return x == y
    if (x is not None and _is_name(b)) or (y is not None and _is_name(a)):
        return False
    return _by_structure(_spread(a), _spread(b), algebra)


def _by_structure(a: Node, b: Node, algebra: Algebra) -> bool | None:
    ordered = {Op.MATRIX, Op.BRACKETS, Op.LIST, Op.UNION, Op.RELATION, Op.TEXT}
    if a.op not in ordered and b.op not in ordered:
        return algebra(a, b)
    if Op.TEXT in (a.op, b.op):
        return _words(_letters(a)) == _words(_letters(b))
    if a.op is Op.LIST and b.op is Op.BRACKETS and b.text == "()":  # parentheses left out
        return _in_order(a.parts, b.parts, algebra)
    if b.op is Op.BRACKETS and b.text == "{}" and (a.op is Op.LIST or len(b.parts) == 1):
        a = replace(a, op=Op.BRACKETS, text="{}") if a.op is Op.LIST else _set_of(a)
    if a.op is not b.op:
        return False
    if a.op is Op.RELATION:
        return _relations(a, b, algebra)
    if a.text != b.text or len(a.parts) != len(b.parts):
        return False
    if a.op is Op.MATRIX:
        rows = zip(a.parts, b.parts, strict=True)
        return _all(_in_order(ours.parts, theirs.parts, algebra) for ours, theirs in rows)
    is_set = a.op in (Op.UNION, Op.LIST) or a.text == "{}"
    return (_in_any_order if is_set else _in_order)(a.parts, b.parts, algebra)


def _relations(a: Node, b: Node, algebra: Algebra) -> bool | None:
    """The same from left to right, or from right to left; equations may be transformed."""
    signs = a.text.split()
    mirrored = " ".join(_MIRRORED.get(sign, "") for sign in reversed(signs))
    ways = [(a.text, a.parts), (mirrored, tuple(reversed(a.parts)))]
    found = [_in_order(parts, b.parts, algebra) for text, parts in ways if text == b.text]
    if True in found:
        return True
    if a.text == b.text == "=" and (a.is_open or b.is_open):
        return algebra(a, b)
    return None if None in found else False


def _in_order(ours: Sequence[Node], theirs: Sequence[Node], algebra: Algebra) -> bool | None:
    if len(ours) != len(theirs):
        return False
    return _all(equal(x, y, algebra) for x, y in zip(ours, theirs, strict=True))


def _in_any_order(ours: Sequence[Node], theirs: Sequence[Node], algebra: Algebra) -> bool | None:
    if len(ours) != len(theirs):
        return False
    left = list(theirs)
    rest: list[Node] = []
    for x in ours:
        same = next((y for y in left if equal(x, y, _unasked) is True), None)
        if same is None:
            rest.append(x)
        else:
            left.remove(same)
    if len(rest) > MAX_UNORDERED:
        return None
    results = [_in_order(rest, order, algebra) for order in permutations(left)]
    if True in results:
        return True
    return None if None in results else False


def _all(results: Iterable[bool | None]) -> bool | None:
    is_open = False
    for result in results:
        if result is False:
            return False
        is_open = is_open or result is None
    return None if is_open else True


def _left_undone(ours: Node, theirs: Node) -> set[str]:
    ours, theirs = _named(ours, theirs)
    undone = leftovers(ours) - leftovers(theirs)
    is_relation = ours.op is theirs.op is Op.RELATION  # which may stand the other way round
    return {name for name in undone if not (is_relation and name.startswith("relation"))}


def _named(a: Node, b: Node) -> tuple[Node, Node]:
    """Without ``x =`` or ``x in`` before a value, unless they name different things."""
    x, y = _value(a), _value(b)
    if (x.op is Op.RELATION) is not (y.op is Op.RELATION):
        return a, b  # an equation, and a way to write it
    are_both = x is not a and y is not b
    return (a, b) if are_both and a.parts[0] != b.parts[0] else (x, y)


def _value(node: Node) -> Node:
    if node.op is Op.RELATION and node.text in ("=", "in") and node.parts[0].op is Op.NAME:
        first, value = node.parts
        return value if not value.has_name(first.text) else node
    return node


def _units_agree(a: Node, b: Node) -> bool:
    """False for two units of measure that differ; other words, such as "eggs", say nothing."""
    ours, theirs = _unit(a), _unit(b)
    return ours is None or theirs is None or ours == theirs


def _unit(node: Node) -> tuple[str, ...] | None:
    """In one spelling and order; None for no unit, or none that is known."""
    if node.op is Op.DEGREES:
        return ("degree",)
    if node.op is not Op.UNIT:
        return None
    words = [word for word in node.text.casefold().split() if word != "per"]
    found = [_UNITS.get(word) for word in words]
    return None if None in found else tuple(sorted(word for word in found if word))


def _is_name(node: Node) -> bool:
    return node.op is Op.NAME or (node.op is Op.MINUS and node.parts[0].op is Op.NAME)


def _strange_words(node: Node, question: str) -> list[str]:
    """Beside a number: neither units of measure, nor what the question speaks of."""
    words = [w for n in node.walk() if n.op is Op.UNIT for w in n.text.casefold().split()]
    rest = [word for word in words if word not in _UNITS and word not in ("of", "per", "/")]
    if not rest:
        return []
    spoken = {word.removesuffix("s") for word in _LETTERS.findall(question.casefold())}
    return [w for w in rest if w in _FUNCTION_WORDS or w.removesuffix("s") not in spoken]


def _bare(node: Node) -> Node:
    return _bare(node.parts[0]) if node.op in (Op.UNIT, Op.DEGREES) else node


def _spread(node: Node) -> Node:
    """Both values of what holds a plus-or-minus, as a list."""
    if not node.has(Op.PLUS_MINUS) or node.op in (Op.BRACKETS, Op.MATRIX, Op.RELATION, Op.UNION):
        return node
    if node.op is Op.LIST:
        parts = [part for p in node.parts for part in _values(p)]
    else:
        parts = _values(node)
    return Node(Op.LIST, tuple(parts))


def _values(node: Node) -> list[Node]:
    return [_signed(node, 1), _signed(node, -1)] if node.has(Op.PLUS_MINUS) else [node]


def _signed(node: Node, sign: int) -> Node:
    parts = tuple(_signed(part, sign) for part in node.parts)
    if node.op is Op.PLUS_MINUS:
        is_plus = (sign > 0) is (node.text == "+-")
        return parts[0] if is_plus else Node(Op.MINUS, parts)
    return replace(node, parts=parts)


def _set_of(node: Node) -> Node:
    return node if node.op is Op.BRACKETS else Node(Op.BRACKETS, (node,), "{}")


def _letters(node: Node) -> str:
    """Of a text, or of variables side by side, which may be a word; empty for all else."""
    if node.op in (Op.TEXT, Op.NAME):
        return node.text
    is_row = node.op is Op.PRODUCT and all(part.op is Op.NAME for part in node.parts)
    return "".join(part.text for part in node.parts) if is_row else ""


def _words(text: str) -> str:
    return " ".join(text.casefold().replace("-", " ").strip(" .").split())


def _unasked(a: Node, b: Node) -> bool | None:
    return None


def _spellings(*groups: str) -> dict[str, str]:
    return {word: words.split()[0] for words in groups for word in words.split()}


_UNITS = _spellings(
    "mm millimeter millimeters", "cm centimeter centimeters", "m meter meters metre metres",
    "km kilometer kilometers", "in inch inches", "ft foot feet", "yd yard yards", "mi mile miles",
    "mg milligram milligrams", "g gram grams", "kg kilogram kilograms", "oz ounce ounces",
    "lb lbs pound pounds", "ml milliliter milliliters", "l liter liters litre litres",
    "sec s second seconds", "min minute minutes", "hr hrs h hour hours", "day days",
    "week weeks", "month months", "year years", "dollar dollars usd", "cent cents",
    "degree degrees deg", "radian radians rad", "mph", "kph", "^2 square sq", "^3 cubic cu",
)  # fmt: skip
