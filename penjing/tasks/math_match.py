r"""Whether an answer is the reference, as far as form alone can tell.

Numbers are compared exactly, as fractions; tuples, sets, intervals and matrices part by part. What
remains open is whether two expressions are equal, such as ``\frac{\sqrt2}{2}`` and
``\frac{1}{\sqrt2}``, for which a caller may bring algebra.

A unit, a dollar sign, a degree sign and ``x =`` may be left out or added, but not be another one.
What is counted may be named as the question names it; other words beside a number are no answer. A
percent sign may be left out, and added only where the question asks for percent: 18 % is not 18.

What was asked for matters where it shows: a number must be written out, a piece of the question in
other form than the reference's is a copy, and factors are factors, not the product.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from penjing.tasks.answer import normalised
from penjing.tasks.evaluated import leftovers
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import CONSTANTS, Node, NotAValue, Op, integer, rational
from penjing.tasks.math_units import strange_words, units_agree
from penjing.tasks.problem import Verdict

Algebra = Callable[[Node, Node], bool | None]
"""Whether two expressions are equal; None: it cannot say."""

MAX_UNORDERED = 6  # open parts that are matched in every order; more of them stay open
_MIRRORED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne"}
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which|how many) (?:(?:is|was|are|were|the|total) )*(?:percent|\\?%)", re.IGNORECASE
)
_ASKS_FACTORS = re.compile(r"\bfactor(?!ial)", re.IGNORECASE)
_SETTING = re.compile(
    r"\\(?:left|right)(?![A-Za-z])|[{}$]|\\[,;:! ]|(?<=\\)[dt](?=frac)"
    r"|(?<=[-+*/=^_,<>(])\s+|\s+(?=[-+*/=^_,<>)])|(?<=\\frac|\\sqrt)\s+"
)


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
        theirs = read(reference)
    except NotAValue as error:
        if normalised(answer) == normalised(reference):
            return Match(Verdict.CORRECT, "it is the reference, letter by letter")
        return Match(Verdict.UNGRADABLE, f"the reference cannot be read: {error}")
    try:
        ours = read(answer)
    except NotAValue as error:
        return Match(Verdict.WRONG, f"it is no value: {error}")
    ours, theirs = _alike(ours, theirs, question)
    if ours == theirs:
        return Match(Verdict.CORRECT, "equal")
    if undone := _left_undone(ours, theirs):
        return Match(Verdict.WRONG, f"it leaves to work out: {', '.join(sorted(undone))}")
    if strange := strange_words(ours, f"{question} {reference}"):
        return Match(Verdict.WRONG, f"nobody asked for {strange[0]!r}")
    same = equal(ours, theirs, _at_sight)
    is_other_form = same is None or (same and _is_other_number(ours, theirs))
    if is_other_form and _is_piece(answer, question):
        return Match(Verdict.WRONG, "it is a piece of the question")
    if same is None and _lacks_factors(ours, theirs, question):
        return Match(Verdict.WRONG, "the question asks for factors")
    if same is None:
        same = equal(ours, theirs, lambda a, b: algebra(a, b) if _at_sight(a, b) is None else False)
    if same is None:
        return Match(None, "whether it equals the reference takes algebra")
    return Match(Verdict.CORRECT, "equal") if same else Match(Verdict.WRONG, "it is another value")


def equal(a: Node, b: Node, algebra: Algebra) -> bool | None:
    """Of an answer ``a`` and a reference ``b``; None where algebra was needed and could not say."""
    a, b = _named(a, b)
    if not units_agree(a, b):
        return False
    a, b = _bare(a), _bare(b)
    if a == b:
        return True
    if b.op is Op.PERCENT:
        a, b = a.parts[0] if a.op is Op.PERCENT else a, b.parts[0]
    if b.op is Op.BASE:  # which the question has named
        return _letters(a) in (b.text, b.text.partition("_")[0])
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
    if a.op is Op.TEXT and b.op is Op.TEXT:
        return _words(a.text) == _words(b.text)
    if a.op is Op.LIST and b.op is Op.BRACKETS and b.text == "()":  # parentheses left out
        return _in_order(a.parts, b.parts, algebra)
    if a.op is Op.BRACKETS and a.text == "{}" and b.op is Op.LIST:
        b = replace(b, op=Op.BRACKETS, text="{}")
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
    is_set = a.op is Op.LIST or a.text in ("{}", "cup", "cap")
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
        same = next((y for y in left if equal(x, y, _at_sight) is True), None)
        if same is None:
            rest.append(x)
        else:
            left.remove(same)
    if len(rest) > MAX_UNORDERED:
        return None
    table = [[equal(x, y, algebra) for y in left] for x in rest]
    orders = permutations(range(len(left)))
    results = {_all(row[at] for row, at in zip(table, order, strict=True)) for order in orders}
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


def _alike(a: Node, b: Node, question: str) -> tuple[Node, Node]:
    """Each without what the other leaves out, and in the other's kind of writing."""
    is_number = a.op is Op.PERCENT and rational(a.parts[0]) is not None
    if is_number and b.op is not Op.PERCENT and _ASKS_PERCENT.search(question):
        a = a.parts[0]
    for change, kind in ((_spelled, Op.TEXT), (_region, Op.BRACKETS)):
        if b.has(kind):
            a = change(a)
        if a.has(kind):
            b = change(b)
    if b.op is Op.UNIT:
        a = _measured(a, b.text)
    if not b.has(Op.RELATION):
        a = _each(a, _value)
    if not a.has(Op.RELATION):
        b = _each(b, _value)
    return _named(a, b)


def _each(node: Node, change: Callable[[Node], Node]) -> Node:
    """Of a list, every part changed."""
    if node.op is not Op.LIST:
        return change(node)
    return replace(node, parts=tuple(map(change, node.parts)))


def _spelled(node: Node) -> Node:
    """Letters side by side as the word that they are."""

    def word(part: Node) -> Node:
        text = _letters(part) if part.op is Op.PRODUCT else None
        return part if text is None else Node(Op.TEXT, (), text)

    return _each(node, word)


def _measured(node: Node, unit: str) -> Node:
    """``5 m``, where the m is no variable but the reference's unit."""
    if node.op is not Op.PRODUCT or node.parts[-1] != Node(Op.NAME, (), unit):
        return node
    rest = node.parts[:-1]
    return Node(Op.UNIT, (rest[0] if len(rest) == 1 else replace(node, parts=rest),), unit)


def _letters(node: Node) -> str | None:
    if node.op is Op.PRODUCT:
        texts = [_letters(part) for part in node.parts]
        return None if None in texts else "".join(text for text in texts if text)
    is_plain = node.op in (Op.NAME, Op.NUMBER, Op.TEXT, Op.BASE)
    return node.text if is_plain else None


def _region(node: Node) -> Node:
    """Inequalities of a variable as intervals: ``-2 < x \\le 5`` as ``(-2, 5]``."""
    parts = tuple(map(_interval, node.parts)) if node.op is Op.LIST else ()
    if parts and all(part.op is Op.BRACKETS for part in parts):
        return Node(Op.UNION, parts, "cup")
    return _interval(node)


def _interval(node: Node) -> Node:
    if node.op is not Op.RELATION:
        return node
    signs, parts = node.text.split(), node.parts
    if signs[0] in (">", "ge"):
        signs, parts = [_MIRRORED.get(sign, "") for sign in reversed(signs)], parts[::-1]
    infinity = Node(Op.NAME, (), "oo")
    if len(parts) == 2 and parts[0].op is Op.NAME:
        signs, parts = ["<", *signs], (Node(Op.MINUS, (infinity,)), *parts)
    elif len(parts) == 2:
        signs, parts = [*signs, "<"], (*parts, infinity)
    is_between = len(parts) == 3 and parts[1].op is Op.NAME and set(signs) <= {"<", "le"}
    if not is_between:
        return node
    opening, closing = "[" if signs[0] == "le" else "(", "]" if signs[1] == "le" else ")"
    return Node(Op.BRACKETS, (parts[0], parts[2]), opening + closing)


def _at_sight(a: Node, b: Node) -> bool | None:
    """Where neither algebra nor arithmetic is needed to see that they differ."""
    if rational(b) is not None and not _is_power(a):
        return False
    return None if a.variables == b.variables else False


def _is_power(node: Node) -> bool:
    """Of a number too long to write out, see ``evaluated``."""
    power = _unsigned(node)
    return power.op is Op.POWER and None not in map(integer, power.parts)


def _is_other_number(a: Node, b: Node) -> bool:
    """Such as a fraction for a decimal, or a mixed number for a fraction."""
    kinds = {_unsigned(_bare(node)).op for node in (a, b)}
    return len(kinds) == 2 and kinds <= {Op.NUMBER, Op.QUOTIENT, Op.MIXED, Op.PRODUCT}


def _unsigned(node: Node) -> Node:
    return node.parts[0] if node.op is Op.MINUS else node


def _is_piece(answer: str, question: str) -> bool:
    piece = re.escape(_SETTING.sub("", answer.strip()))
    found = re.search(rf"(?<![\w.\\]){piece}(?!\w|\.\d)", _SETTING.sub("", question))
    return found is not None


def _lacks_factors(ours: Node, theirs: Node, question: str) -> bool:
    return bool(_ASKS_FACTORS.search(question)) and _num_factors(ours) < _num_factors(theirs)


def _num_factors(node: Node) -> int:
    """That hold variables, each as often as its power says."""
    match node.op:
        case Op.MINUS | Op.PRODUCT:
            return sum(map(_num_factors, node.parts))
        case Op.POWER:
            return _num_factors(node.parts[0]) * (integer(node.parts[1]) or 1)
        case _:
            return int(node.is_open)


def _left_undone(ours: Node, theirs: Node) -> set[str]:
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
    if node.op is not Op.RELATION or node.text not in ("=", "in"):
        return node
    name, value = node.parts
    is_name = name.op is Op.NAME and name.text not in CONSTANTS and not value.has_name(name.text)
    is_set = value.op in (Op.BRACKETS, Op.UNION, Op.NAME)
    return value if is_name and (node.text == "=" or is_set) else node


def _is_name(node: Node) -> bool:
    return _unsigned(node).op is Op.NAME


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


def _words(text: str) -> str:
    return " ".join(text.casefold().replace("-", " ").strip(" .").split())
