r"""An answer's text, LaTeX or plain, as tokens.

Only ASCII and the few signs of ``SIGNS`` are mathematics: a full-width digit, a superscript or a
Cyrillic letter that looks like a Latin one is refused, never read as what it looks like.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from penjing.tasks.math_tree import NotAValue


class Kind(StrEnum):
    NUMBER = "number"
    BASE = "base"
    WORD = "word"  # letters; several are a product of variables, or a text
    COMMAND = "command"  # without its backslash
    TEXT = "text"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    is_close: bool = False  # no space before it


SIGNS = {
    "−": "-",  # noqa: RUF001, the sign that is meant
    "×": r"\times ",  # noqa: RUF001, as above
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "÷": r"\div ",
    "±": r"\pm ",
    "π": r"\pi ",
    "√": r"\sqrt ",
    "∞": r"\infty ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "∪": r"\cup ",  # noqa: RUF001, as above
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "°": r"\circ ",
    "\u00a0": " ",
    "θ": r"\theta ",
}
SAME = {  # commands that mean another one
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "geq": "ge", "neq": "ne",
    "lt": "<", "gt": ">", "ast": "*", "div": "/", "times": "*", "cdot": "*", "colon": ":",
    "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "lbrace": r"\{", "rbrace": r"\}",
    "varnothing": "emptyset", "degree": "circ", "land": "and", "lor": "or", "langle": "(",
    "rangle": ")",
}  # fmt: skip
SILENT = frozenset({
    "left", "right", "big", "bigl", "bigr", "Big", "Bigl", "Bigr", "bigg", "Bigg", "displaystyle",
    "textstyle", "quad", "qquad", "limits", "thinspace", "rm",
})  # fmt: skip
PLAIN = {"sqrt": "sqrt", "pi": "pi", "infty": "infty", "infinity": "infty", "inf": "infty"}
FUNCTIONS = frozenset({
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
    "log", "ln", "lg", "exp", "gcd", "lcm", "max", "min",
})  # fmt: skip
_UNITS_TOO = frozenset({"min", "sec"})  # which without a backslash are minutes and seconds
PLAIN_WORDS = frozenset({*PLAIN, *FUNCTIONS, "and", "or"}) - _UNITS_TOO  # read without a backslash
_GROUP = r"[0-9]{1,3}(?:'[0-9]{3})+(?![0-9])"
_COMMAS = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])"
_REST = r"""
  | (?P<repeating>[0-9]*\.[0-9]*\\overline\s*\{[0-9]{1,20}\})
  | (?P<base>(?:[0-9][0-9A-F]*|[A-F][0-9A-F]+(?=_\{?1[0-6]))(?:\.[0-9A-F]+)?
      _(?:\{[0-9]{1,2}\}|[0-9]{1,2}))
  | (?P<number>(?:GROUP|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
  | (?P<text>\\(?:text|textbf|textit|textrm|textnormal|mbox|mathrm|mathbf|mathit|operatorname)
      \s*\{(?P<inside>[^{}\\$]*)\})
  | \\(?P<command>[A-Za-z]+)
  | (?P<word>[A-Za-z]+)
  | (?P<sign>\\[^A-Za-z]|[^A-Za-z0-9])
"""
_INSIDE = re.compile(rf"(?P<space>\s+){_REST.replace('GROUP', _GROUP)}", re.VERBOSE | re.ASCII)
_OUTSIDE = re.compile(
    rf"(?P<space>\s+){_REST.replace('GROUP', f'{_GROUP}|{_COMMAS}')}", re.VERBOSE | re.ASCII
)
_DEPTHS = {"(": 1, "[": 1, r"\{": 1, ")": -1, "]": -1, r"\}": -1}
_CHOICE = re.compile(r"\(?([A-Za-z])\)?", re.ASCII)
_METRES = frozenset({"m", "g", "s", "h", "l", "L"})  # and grams, seconds, hours, litres
_SPACES = frozenset(["\\,", "\\!", "\\;", "\\:", "\\ ", "~", "$"])


def tokens(text: str) -> list[Token]:
    """Raises ``NotAValue`` for a character that is no part of mathematics."""
    text = re.sub(r"\{,\}|,\s*\\!\s*(?=[0-9])", "'", text.strip()).replace(r"\!", "")
    text = re.sub(r"(?<=[0-9])\\,(?=[0-9]{3})", "'", text)
    text = "".join(SIGNS.get(c, c) for c in text.removesuffix("."))
    found, at, depth, is_close = list[Token](), 0, 0, False
    while at < len(text):
        pattern = _INSIDE if depth else _OUTSIDE  # (1,234) is a pair, 1,234 a number
        match = pattern.match(text, at)
        assert match is not None, "every character is a sign, if nothing else"
        at = match.end()
        token = _token(match, is_close)
        is_close = match.lastgroup != "space"
        if token is not None:
            depth = max(0, depth + _DEPTHS.get(token.text, 0))
            found.append(token)
    return [*found, Token(Kind.END, "")]


def _token(match: re.Match[str], is_close: bool) -> Token | None:
    """None for what is only space."""
    text = match.group()
    if match["space"] or text in _SPACES:
        return None
    if match["number"]:
        return Token(Kind.NUMBER, text.replace(",", "").replace("'", ""), is_close)
    if match["repeating"]:
        digits, _, repeating = text.partition("\\overline")
        return Token(Kind.NUMBER, f"{digits}({repeating.strip(' {}')})", is_close)
    if match["base"]:
        return Token(Kind.BASE, text.replace("{", "").replace("}", ""), is_close)
    if match["text"]:
        return _text(match["inside"], is_close)
    if match["command"]:
        return _command(match["command"], is_close)
    if match["word"]:
        name = PLAIN.get(text.lower(), text)
        if name in PLAIN_WORDS or name != text:
            return Token(Kind.COMMAND, name, is_close)
        return Token(Kind.WORD, text, is_close)
    if not text.isascii():
        raise NotAValue(f"U+{ord(text[-1]):04X} is no sign of mathematics")
    return Token(Kind.SIGN, text, is_close)


def _command(name: str, is_close: bool) -> Token | None:
    if name in SILENT:
        return None
    name = SAME.get(name, name)
    return Token(Kind.COMMAND if name.isalpha() else Kind.SIGN, name, is_close)


def _text(inside: str, is_close: bool) -> Token | None:
    """A letter in a text is the letter or a unit, a number the number, a choice the choice."""
    inside = inside.strip()
    if not inside:
        return None
    choice = _CHOICE.fullmatch(inside)
    if choice and inside not in _METRES:
        return Token(Kind.WORD, choice[1], is_close)
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", inside):
        return Token(Kind.NUMBER, inside, is_close)
    folded = inside.lower().strip(" ,")
    if folded in ("and", "or") or (inside in FUNCTIONS and inside not in _UNITS_TOO):
        return Token(Kind.COMMAND, folded, is_close)
    return Token(Kind.TEXT, inside, is_close)
