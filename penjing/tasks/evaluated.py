r"""The evaluated-form rule: an answer is a value, with nothing left to work out.

``17 \times 23`` equals 391 and is no answer: whoever writes it has copied the question. So the
operations that a writing leaves undone are named, and an answer may leave only those that the
reference leaves too. A value in its usual form leaves none: numbers, reduced fractions, mixed
numbers, scientific notation, irreducible roots with a coefficient, sums of incommensurable terms,
powers too long to write out, polynomials with like terms collected.
"""

from collections.abc import Iterator
from math import gcd, log10

from penjing.tasks.math_tree import Node, Op, integer, is_scientific, rational

SHORT_DIGITS = 15  # a power with fewer is worked out
MAX_EXPONENT = 10_000
MAX_RADICAND = 10**9  # a larger one is not searched for factors
_Atoms = tuple[str, ...]


def leftovers(node: Node) -> frozenset[str]:
    """Names of the operations that are not worked out, such as "product" or "gcd"."""
    if is_scientific(node):
        return frozenset()
    found = set(_own(node))
    for part in node.parts:
        found |= leftovers(part)
    return frozenset(found)


def _own(node: Node) -> Iterator[str]:
    """What this node leaves undone, whatever its parts do."""
    match node.op:
        case Op.SUM:
            keys = [key for part in node.parts for key in _keys(part)]
            if len(set(keys)) < len(keys) or any(rational(part) == 0 for part in node.parts):
                yield "sum"
        case Op.PRODUCT:
            yield from _of_product(node)
        case Op.QUOTIENT:
            yield from _of_quotient(*node.parts)
        case Op.POWER:
            yield from _of_power(*node.parts)
        case Op.ROOT:
            if not _is_irreducible(*node.parts):
                yield "root"
        case Op.CALL:
            yield node.text
        case Op.FACTORIAL:
            yield "factorial"
        case Op.PERCENT:
            yield "percent"
        case Op.MINUS if node.parts[0].op is Op.MINUS:
            yield "sign"
        case Op.BASE:
            yield "number in another base"
        case Op.RELATION:
            yield f"relation {node.text}"
        case Op.MIXED if integer(node.parts[0]) is None:
            yield "sum"
        case _:
            pass


def _of_product(node: Node) -> Iterator[str]:
    """One number but 0 and 1, one root, each base once, and no sum in brackets."""
    parts = _factors(node)
    bases = [_base(part) for part in parts]
    numbers = [part for part in parts if rational(part) is not None or part.op is Op.QUOTIENT]
    closed_sums = [p for p in parts if p.op is Op.SUM and not p.is_open]
    has_root_or_i = any(p.op is Op.ROOT or p == Node(Op.NAME, (), "i") for p in parts)
    roots = [p for p in parts if p.op is Op.ROOT and not p.is_open]
    is_long = len(numbers) > 1 or len(roots) > 1
    is_closed = len(closed_sums) > 1 or (closed_sums and has_root_or_i)
    is_idle = any(rational(part) in (0, 1, -1) for part in parts)
    is_shared = len(set(bases)) < len(bases) or _cancels(_atoms(node))
    if is_long or is_closed or is_idle or is_shared:
        yield "product"
    if any(sum_.op is Op.SUM and sum_.is_open for sum_ in map(_above, bases)):
        yield "expansion"


def _cancels(atoms: _Atoms) -> bool:
    return any(f"/{atom}" in atoms for atom in atoms)


def _factors(node: Node) -> tuple[Node, ...]:
    """Also of products in brackets: ``2(-3x)`` has three."""
    if node.op is Op.MINUS or (node.op is Op.PRODUCT and not is_scientific(node)):
        return tuple(factor for part in node.parts for factor in _factors(part))
    return (node,)


def _base(node: Node) -> Node:
    return node.parts[0] if node.op is Op.POWER else node


def _above(node: Node) -> Node:
    return node.parts[0] if node.op is Op.QUOTIENT else node


def _of_quotient(over: Node, under: Node) -> Iterator[str]:
    above, below = integer(over), integer(under)
    if above is not None and below is not None:
        if below <= 1 or gcd(above, below) != 1:
            yield "quotient"
        return
    if under.is_open:
        yield "quotient of variables"
    inner = {n.op for side in (over, under) for n in side.walk()} & {Op.QUOTIENT, Op.MIXED}
    is_whole = all("." not in n.text for s in (over, under) for n in s.walk() if n.op is Op.NUMBER)
    is_reduced = gcd(_content(over), _content(under)) == 1 and below not in (0, 1)
    shared = set(map(_base, _factors(over))) & set(map(_base, _factors(under)))
    if inner or not is_whole or not is_reduced or shared or _is_undone_below(over, under):
        yield "quotient"


def _is_undone_below(over: Node, under: Node) -> bool:
    if under.op is Op.MINUS or under.has_name("i"):
        return True
    if under.is_open:
        return False
    return under.has(Op.SUM) or (under.has(Op.ROOT) and over.has(Op.ROOT))


def _of_power(base: Node, exponent: Node) -> Iterator[str]:
    power, value = integer(exponent), rational(base)
    if base.op is Op.TEXT:  # only a function's exponent is read so
        return
    if power in (0, 1) or (value in (0, 1) and exponent.is_open):
        yield "power"
    elif value is not None and not exponent.is_open:
        whole = integer(base)
        if power is None or whole is None or not _is_long(whole, power):
            yield "power"
    elif base.op is Op.NAME:
        is_imaginary = base.text == "i" or (base.text == "e" and exponent.has_name("i"))
        if is_imaginary or (power is not None and abs(power) > MAX_EXPONENT):
            yield "power"
    elif base.op is Op.SUM and base.is_open:
        yield "expansion"
    elif base.op is not Op.CALL and value is None:
        yield "power"


def _is_long(base: int, exponent: int) -> bool:
    """Whether the power is left as it is, for having too many digits to write out."""
    if not 1 <= exponent <= MAX_EXPONENT or abs(base) < 2:
        return False
    return exponent * log10(abs(base)) >= SHORT_DIGITS


def _is_irreducible(radicand: Node, index: Node) -> bool:
    """No factor can be taken out: of a whole number, or of either side of a reduced fraction."""
    degree = integer(index)
    if radicand.is_open:
        return degree is None or radicand.op is not Op.POWER
    if degree is None or not 2 <= degree <= 100:
        return False
    if radicand.op is Op.NAME:
        return radicand.text in ("pi", "e")
    sides = radicand.parts if radicand.op is Op.QUOTIENT else (radicand,)
    values = [integer(side) for side in sides]
    return all(v is not None and v > 0 and _is_power_free(v, degree) for v in values) and (
        values != [1]
    )


def _is_power_free(value: int, degree: int) -> bool:
    """Whether no d ** degree above 1 divides it; false where that is too long to find out."""
    if value > MAX_RADICAND:
        return False
    factor = 2  # beyond the cube root, all that can be left is one prime to that degree
    while factor**degree <= value and factor**3 <= MAX_RADICAND:
        if value % factor**degree == 0:
            return False
        while value % factor == 0:
            value //= factor
        factor += 1
    root = round(value ** (1 / degree))
    return value == 1 or root**degree != value


def _keys(node: Node) -> list[_Atoms]:
    """What a term is a multiple of, by rational numbers; several for a sum in it."""
    match node.op:
        case Op.MINUS | Op.PLUS_MINUS | Op.UNIT:
            return _keys(node.parts[0])
        case Op.SUM:
            return [key for part in node.parts for key in _keys(part)]
        case Op.QUOTIENT:
            below = tuple(f"/{atom}" for atom in _atoms(node.parts[1]))
            return [tuple(sorted(key + below)) for key in _keys(node.parts[0])]
        case Op.PRODUCT if not is_scientific(node):
            first_sum = next((p for p in node.parts if p.op is Op.SUM), None)
            rest = tuple(a for p in node.parts if p is not first_sum for a in _atoms(p))
            inner = _keys(first_sum) if first_sum else [()]
            return [tuple(sorted(key + rest)) for key in inner]
        case _:
            return [_atoms(node)]


def _atoms(node: Node) -> _Atoms:
    """The factors that are no rational numbers, as text."""
    match node.op:
        case Op.NUMBER | Op.MIXED:
            return ()
        case Op.MINUS | Op.PLUS_MINUS | Op.UNIT:
            return _atoms(node.parts[0])
        case Op.PRODUCT:
            return tuple(sorted(a for part in node.parts for a in _atoms(part)))
        case Op.QUOTIENT:
            over, under = map(_atoms, node.parts)
            return tuple(sorted([*over, *(f"/{atom}" for atom in under)]))
        case _:
            return (repr(node),)


def _content(node: Node) -> int:
    """The greatest whole number that divides every coefficient; 1 where there is none."""
    match node.op:
        case Op.NUMBER:
            return integer(node) or 0 if node.text.isdigit() else 1
        case Op.MINUS | Op.PLUS_MINUS:
            return _content(node.parts[0])
        case Op.PRODUCT:
            content = 1
            for part in node.parts:
                content *= _content(part)
            return content
        case Op.SUM:
            return gcd(*map(_content, node.parts))
        case _:
            return 1
