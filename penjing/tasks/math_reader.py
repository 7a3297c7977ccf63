r"""An answer's tokens read into a tree, or refused.

What has no meaning as an answer has no place in the grammar: integrals, sums over an index, dots,
``\approx``, words that compute, numbers side by side. Refusing is always right; a reading that is
not the text's would not be.
"""

import re

from penjing.tasks.math_tokens import FUNCTIONS, PLAIN_WORDS, Kind, Token, tokens
from penjing.tasks.math_tree import CONSTANTS, Node, NotAValue, Op, integer
from penjing.tasks.math_units import NO_UNIT, UNIT_WORDS

MAX_DEPTH = 40
MAX_CHARS = 2_000
RELATIONS = frozenset({"=", "<", ">", "le", "ge", "ne", "in", ":"})
GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota",
    "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi",
    "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega", "ell",
})  # fmt: skip
_MATRICES = frozenset({"matrix", "pmatrix", "bmatrix", "array"})
_INVERSES = frozenset({"sin", "cos", "tan"})
_WORDED = re.compile(r"\\(?:text|mbox|textbf|mathrm)\s*\{([^{}\\]*[0-9,][^{}\\]*)\}")  # 18 eggs
_PHRASE = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)+", re.ASCII)
_CLOSING = {"(": (")", "]"), "[": (")", "]"), r"\{": (r"\}",)}


def read(text: str) -> Node:
    """The tree of an answer; raises ``NotAValue``."""
    if len(text) > MAX_CHARS:
        raise NotAValue(f"{len(text)} characters are no answer; at most {MAX_CHARS} are read")
    text = text.strip()
    if _is_phrase(text):
        return Node(Op.TEXT, (), text)
    whole = _WORDED.fullmatch(text)
    try:
        return _Reader(whole[1] if whole else text).whole()
    except NotAValue:
        if whole is None or not whole[1].strip()[:1].isalpha():
            raise
        return Node(Op.TEXT, (), whole[1].strip())  # June 20


def _is_phrase(text: str) -> bool:
    """Words as they are, such as ``does not exist``, not letters and functions side by side."""
    words = text.replace("-", " ").split()
    is_long = any(len(word) > 3 for word in words)
    return bool(_PHRASE.fullmatch(text)) and is_long and not PLAIN_WORDS.intersection(words)


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens = _split(tokens(text))
        self.at = 0
        self.depth = 0
        self.unit = ""

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def sees(self, *texts: str) -> bool:
        return self.next.text in texts and self.next.kind in (Kind.SIGN, Kind.COMMAND)

    def sees_text(self) -> bool:
        return self.next.kind is Kind.TEXT

    def take(self, *texts: str) -> bool:
        if self.sees(*texts):
            self.at += 1
            return True
        return False

    def expect(self, kind: Kind, *texts: str) -> str:
        token = self.next
        if token.kind is not kind or (texts and token.text not in texts):
            what = token.text if token.kind is not Kind.END else "the end"
            raise NotAValue(f"{what[:20]!r} has no meaning where it stands")
        self.at += token.kind is not Kind.END
        return token.text

    def whole(self) -> Node:
        items = self.items()
        self.expect(Kind.END)
        return items[0] if len(items) == 1 else Node(Op.LIST, items)

    def items(self) -> tuple[Node, ...]:
        """One or several, between commas or words."""
        found = [self.item()]
        while self.take(",", ";", "and", "or"):
            self.take("and", "or")
            found.append(self.item())
        return tuple(found)

    def item(self) -> Node:
        """A value with its unit, or a relation."""
        parts, between = [self.measured()], list[str]()
        while self.sees(*RELATIONS):
            between.append(self.next.text)
            self.at += 1
            parts.append(self.measured())
        return Node(Op.RELATION, tuple(parts), " ".join(between)) if between else parts[0]

    def measured(self) -> Node:
        self.unit = ""
        if self.sees_text():
            return Node(Op.TEXT, (), self.expect(Kind.TEXT))
        node = self.union()
        words = [self.unit] if self.unit else []
        while self.sees_unit(words):
            words += self.next.text.lower().replace(".", "").replace("/", " / ").split()
            self.at += 1
        if not words:
            return node
        if words == ["percent"]:
            return Node(Op.PERCENT, (node,))
        if self.take("^"):
            words.append("^" + str(integer(self.argument())))
        wrong = [w for w in words if w in NO_UNIT or not (w == "/" or w.strip("^/-").isalnum())]
        if wrong:
            raise NotAValue(f"{wrong[0][:20]!r} is no unit")
        return Node(Op.UNIT, (node,), " ".join(words))

    def sees_unit(self, words: list[str]) -> bool:
        is_below = words[-1:] == ["/"] and self.next.kind is Kind.WORD  # the h of km/h
        return self.sees_text() or is_below or (bool(words) and self.sees("/"))

    def union(self) -> Node:
        parts, sign = [self.sum()], self.next.text
        while self.sees("cup", "cap", "setminus"):
            self.expect(Kind.COMMAND, sign)
            parts.append(self.sum())
        return Node(Op.UNION, tuple(parts), sign) if len(parts) > 1 else parts[0]

    def sum(self) -> Node:
        self.take("+")
        terms = [self.signed()]
        while self.sees("-", "pm", "mp") or self.take("+"):
            terms.append(self.signed())
        return Node(Op.SUM, tuple(terms)) if len(terms) > 1 else terms[0]

    def signed(self) -> Node:
        if self.take("-"):
            return Node(Op.MINUS, (self.term(),))
        if self.sees("pm", "mp"):
            sign = "+-" if self.take("pm") else "-+"
            self.take("mp")
            return Node(Op.PLUS_MINUS, (self.term(),), sign)
        return self.term()

    def term(self) -> Node:
        """Products from left to right, divided once; a factor may follow without a sign."""
        parts, is_divided = [self.factor()], False
        while True:
            if self.take("*"):
                parts.append(self.factor())
            elif self.sees("/") and self.tokens[self.at + 1].kind is not Kind.TEXT:
                self.at += 1
                if is_divided:
                    raise NotAValue("it is divided more than once")
                is_divided = True
                over = parts[0] if len(parts) == 1 else Node(Op.PRODUCT, tuple(parts))
                parts = [Node(Op.QUOTIENT, (over, self.factor()))]
            elif self.is_mixed(parts):
                parts[-1] = Node(Op.MIXED, (parts[-1], self.fraction()))
            elif self.starts_factor():
                parts.append(self.factor())
            else:
                return parts[0] if len(parts) == 1 else Node(Op.PRODUCT, tuple(parts))

    def starts_factor(self) -> bool:
        """Not a number: side by side with something else it is a slip or a trick."""
        token = self.next
        if token.kind is Kind.COMMAND:
            return token.text in {"frac", "sqrt", "pi", "binom"} | FUNCTIONS | GREEK
        return token.kind is Kind.WORD or (token.kind is Kind.SIGN and token.text in ("(", "{"))

    def is_mixed(self, parts: list[Node]) -> bool:
        if len(parts) != 1 or not (integer(parts[0]) and parts[0].op is Op.NUMBER):
            return False
        here = self.at
        try:
            node = self.fraction()
        except NotAValue:
            return False
        finally:
            self.at = here
        over, under = map(integer, node.parts)
        return over is not None and under is not None and 0 < over < under

    def fraction(self) -> Node:
        """``\frac{1}{2}`` or ``1/2``, of two whole numbers; a digit is not taken off for good."""
        if self.take("frac"):
            before = list(self.tokens)
            try:
                return Node(Op.QUOTIENT, (self.argument(1), self.argument(1)))
            except NotAValue:
                self.tokens = before
                raise
        over = Node(Op.NUMBER, (), self.expect(Kind.NUMBER))
        self.expect(Kind.SIGN, "/")
        return Node(Op.QUOTIENT, (over, Node(Op.NUMBER, (), self.expect(Kind.NUMBER))))

    def factor(self) -> Node:
        """One thing, with what may stand behind it: each once: ``9^9^9`` is none."""
        node = self.primary()
        if self.take("^"):
            node = self.power(node)
        if self.take("!"):
            node = Node(Op.FACTORIAL, (node,))
        if self.take("circ"):
            node = Node(Op.DEGREES, (node,))
        if self.take(r"\%", "%"):
            node = Node(Op.PERCENT, (node,))
        return node

    def power(self, base: Node) -> Node:
        if self.take("circ"):
            return Node(Op.DEGREES, (base,))
        if self.sees("{") and self.tokens[self.at + 1].text == "circ":
            self.at += 2
            self.expect(Kind.SIGN, "}")
            return Node(Op.DEGREES, (base,))
        if self.take("-"):
            return Node(Op.POWER, (base, Node(Op.MINUS, (self.argument(),))))
        return Node(Op.POWER, (base, self.argument()))

    def argument(self, most_digits: int = MAX_CHARS) -> Node:
        r"""A group, or one thing; TeX takes one digit, as in ``\frac34``."""
        token = self.next
        if token.kind is Kind.NUMBER:
            head, rest = token.text[:most_digits], token.text[most_digits:]
            tail = [Token(Kind.NUMBER, rest)] if rest else []
            self.tokens[self.at : self.at + 1] = [Token(Kind.NUMBER, head), *tail]
        return self.primary()

    def primary(self) -> Node:
        """All that is nested passes here."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotAValue(f"it is nested more than {MAX_DEPTH} deep")
        node = self.thing()
        self.depth -= 1
        return node

    def thing(self) -> Node:
        token = self.next
        match token.kind:
            case Kind.NUMBER | Kind.BASE:
                self.at += 1
                return Node(Op.NUMBER if token.kind is Kind.NUMBER else Op.BASE, (), token.text)
            case Kind.WORD:
                self.at += 1
                return self.name(token.text)
            case Kind.COMMAND:
                self.at += 1
                return self.command(token.text)
            case Kind.SIGN if token.text in _CLOSING:
                return self.brackets()
        if self.take(r"\$"):
            self.unit = "dollars"
            return Node(Op.MINUS, (self.primary(),)) if self.take("-") else self.primary()
        if self.take("|"):
            inside = self.union()
            self.expect(Kind.SIGN, "|")
            return Node(Op.CALL, (inside,), "abs")
        self.expect(Kind.SIGN, "{")
        inside = self.union()
        self.expect(Kind.SIGN, "}")
        return inside

    def name(self, text: str) -> Node:
        if self.take("_"):
            text += "_" + _subscript(self.argument())
        return Node(Op.NAME, (), text)

    def brackets(self) -> Node:
        opening = self.next.text
        self.at += 1
        parts = () if opening == r"\{" and self.sees(r"\}") else self.items()
        closing = self.expect(Kind.SIGN, *_CLOSING[opening])
        pair = (opening + closing).replace("\\", "")
        return parts[0] if pair == "()" and len(parts) == 1 else Node(Op.BRACKETS, parts, pair)

    def command(self, name: str) -> Node:
        match name:
            case "frac":
                return Node(Op.QUOTIENT, (self.argument(1), self.argument(1)))
            case "sqrt":
                return self.root()
            case "binom":
                return Node(Op.CALL, (self.argument(1), self.argument(1)), "binom")
            case "pi":
                return self.name("pi")
            case "infty":
                return Node(Op.NAME, (), "oo")
            case "emptyset":
                return Node(Op.BRACKETS, (), "{}")
            case "begin":
                return self.matrix()
            case "mathbb":
                self.expect(Kind.SIGN, "{")
                letter = self.expect(Kind.WORD)
                self.expect(Kind.SIGN, "}")
                return Node(Op.NAME, (), f"mathbb {letter}")
        if name in GREEK:
            return self.name(name)
        if name in FUNCTIONS:
            return self.call(name)
        raise NotAValue(f"\\{name[:20]} is not part of a value")

    def root(self) -> Node:
        index = Node(Op.NUMBER, (), "2")
        if self.take("["):
            index = self.union()
            self.expect(Kind.SIGN, "]")
        return Node(Op.ROOT, (self.argument(), index))

    def call(self, name: str) -> Node:
        r"""``\sin^2 x``, ``\log_2 8``, ``\gcd(24, 36)``."""
        exponent, below = None, tuple[Node, ...]()
        while self.sees("^", "_"):
            if self.take("_"):
                below = (self.argument(),)
            elif self.take("^"):
                exponent = self.power(Node(Op.TEXT)).parts[-1]
        if exponent is not None and name in _INVERSES and integer(exponent) == -1:
            name, exponent = f"arc{name}", None
        if self.sees("("):
            inside = self.brackets()
            arguments = inside.parts if inside.op is Op.BRACKETS else (inside,)
        else:
            parts = [self.factor()]
            while self.starts_factor() and not self.sees(*FUNCTIONS):
                parts.append(self.factor())
            arguments = (parts[0] if len(parts) == 1 else Node(Op.PRODUCT, tuple(parts)),)
        node = Node(Op.CALL, (*arguments, *below), f"{name}_" if below else name)
        return node if exponent is None else Node(Op.POWER, (node, exponent))

    def matrix(self) -> Node:
        self.expect(Kind.SIGN, "{")
        kind = self.expect(Kind.TEXT, *_MATRICES)
        self.expect(Kind.SIGN, "}")
        if kind == "array" and self.take("{"):  # how its columns are set
            while not self.take("}"):
                self.expect(self.next.kind if self.next.kind is not Kind.END else Kind.SIGN)
        rows = [self.row()]
        while self.take(r"\\") and not self.sees("end"):
            rows.append(self.row())
        self.expect(Kind.COMMAND, "end")
        self.expect(Kind.SIGN, "{")
        self.expect(Kind.TEXT, kind)
        self.expect(Kind.SIGN, "}")
        return Node(Op.MATRIX, tuple(rows))

    def row(self) -> Node:
        cells = [self.union()]
        while self.take("&"):
            cells.append(self.union())
        return Node(Op.LIST, tuple(cells))


def _split(found: list[Token]) -> list[Token]:
    """Up to three small letters are a product; longer words, units, and words behind them, text."""
    parts = list[Token]()
    for token in found:
        goes_on = token.kind is Kind.WORD and not token.is_close
        if goes_on and parts and parts[-1].kind is Kind.TEXT:
            parts.append(Token(Kind.TEXT, token.text))
        else:
            parts.extend(_letters(token))
    return parts


def _letters(token: Token) -> list[Token]:
    word = token.text
    if token.kind is not Kind.WORD or len(word) == 1:
        return [token]
    if word in UNIT_WORDS or len(word) > 3 or not word.islower():
        return [Token(Kind.TEXT, word, token.is_close)]
    return [Token(Kind.WORD, letter, token.is_close or i > 0) for i, letter in enumerate(word)]


def _subscript(node: Node) -> str:
    if node.op in (Op.NAME, Op.NUMBER):
        return node.text
    if node.op is Op.PRODUCT:
        return "".join(map(_subscript, node.parts))
    raise NotAValue("a subscript is more than a name")


assert not CONSTANTS & (FUNCTIONS | (GREEK - {"pi"}))
