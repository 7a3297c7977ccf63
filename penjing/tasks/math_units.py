"""Words beside a number: units of measure, and what is counted."""

import re

from penjing.tasks.math_tree import Node, Op

UNIT_WORDS = frozenset({
    "mm", "cm", "dm", "km", "mi", "ft", "yd", "in", "mg", "kg", "lb", "lbs", "oz", "ml", "mL", "hr",
    "hrs", "min", "sec", "day", "per", "mph", "kph", "rad", "Hz", "USD",
})  # fmt: skip
NO_UNIT = frozenset({  # they change what the number says
    "about", "approximately", "billion", "choose", "cubed", "divided", "double", "dozen", "dozens",
    "factorial", "half", "hundred", "hundreds", "hundredths", "less", "mod", "million", "millions",
    "minus", "modulo", "more", "not", "over", "percent", "plus", "squared", "tenths", "thousand",
    "thousands", "thousandths", "times", "to", "trillion", "twice", "unless", "without",
})  # fmt: skip
_LONG_WORDS = re.compile(r"[^\W\d_]{3,}")
_FUNCTION_WORDS = frozenset({  # they would say something of the number
    "all", "and", "any", "are", "but", "else", "false", "for", "incorrect", "maybe", "never", "no",
    "none", "nor", "not", "only", "other", "rather", "some", "than", "the", "then", "true", "was",
    "were", "what", "when", "which", "will", "with", "wrong",
})  # fmt: skip


def units_agree(a: Node, b: Node) -> bool:
    """False for two units of measure that differ; other words, such as "eggs", say nothing."""
    ours, theirs = _unit(a), _unit(b)
    return ours is None or theirs is None or ours == theirs


def _unit(node: Node) -> tuple[str, ...] | None:
    """In one spelling and order; None for no unit, or none that is known."""
    if node.op is Op.DEGREES:
        return ("degree",)
    if node.op is not Op.UNIT:
        return None
    text = " ".join(_SHORT.get(word, word) for word in node.text.casefold().split())
    found = [_UNITS.get(word) for word in text.split() if word not in ("per", "/")]
    return None if None in found else tuple(sorted(word for word in found if word))


def strange_words(node: Node, spoken: str) -> list[str]:
    """Beside a number: neither units of measure, nor what the question speaks of."""
    words = [w for n in node.walk() if n.op is Op.UNIT for w in n.text.casefold().split()]
    rest = [word for word in words if word not in _UNITS and word not in ("of", "per", "/")]
    if not rest:
        return []
    known = {word.removesuffix("s") for word in _LONG_WORDS.findall(spoken.casefold())}
    return [w for w in rest if w in _FUNCTION_WORDS or w.removesuffix("s") not in known]


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
_SHORT = {"mph": "mi per hr", "kph": "km per hr"}
