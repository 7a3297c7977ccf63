"""What form alone can tell of an answer and a reference."""

import json
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penjing.tasks.evaluated import leftovers
from penjing.tasks.math_algebra import same
from penjing.tasks.math_match import match
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import NotAValue, rational
from penjing.tasks.problem import Verdict
from tests.tasks.test_evaluated import DONE

GSM8K = Path(__file__).parents[3] / "shared/data/benchmarks/gsm8k"

# Self-made references in the forms that MATH's have, each with honest ways to write them.
GOLDS = {
    r"\frac{3}{4}": ["3/4", "0.75", r"\dfrac34"],
    r"-\frac{7}{12}": [r"\frac{-7}{12}", "-7/12"],
    r"2\frac{1}{3}": [r"\frac{7}{3}", "7/3", "2 1/3"],
    "7.5": ["7.50", r"\frac{15}{2}", r"7\frac12"],
    "1,234,567": ["1234567", "1{,}234{,}567", r"1,\!234,\!567"],
    r"0.\overline{36}": [r"\frac{4}{11}", r".\overline{36}"],
    r"6.02\times10^{23}": [r"6.02 \cdot 10^{23}"],
    "2^{100}": [str(2**100), "2^{100}"],
    r"3\sqrt{5}": [r"3\cdot\sqrt5", r"\sqrt{5}\cdot3"],
    r"\sqrt{2}": ["sqrt(2)", "√2"],
    r"\frac{\sqrt{3}}{2}": [r"\frac12\sqrt3", r"\sqrt3/2"],
    r"\frac{1+\sqrt{5}}{2}": [r"\frac{\sqrt5+1}{2}", r"\frac12+\frac{\sqrt5}{2}"],
    r"\frac{5\sqrt{2}}{2}": [r"\frac{5}{\sqrt2}", r"2.5\sqrt2"],
    r"\frac{\sqrt{6}+\sqrt{2}}{4}": [r"\frac14(\sqrt6+\sqrt2)", r"\frac{\sqrt2+\sqrt6}{4}"],
    r"-4+2\sqrt{7}": [r"2\sqrt7-4", r"2(\sqrt7-2)"],
    r"\sqrt[3]{7}": [r"\sqrt[3]7"],
    r"16\sqrt[4]{2}": [r"16\cdot\sqrt[4]2"],
    r"\frac{\pi}{6}": [r"\pi/6", r"\frac16\pi"],
    r"4\pi": ["4pi", "4π", r"4\cdot\pi"],
    r"12\pi - 9\sqrt{3}": [r"-9\sqrt3+12\pi", r"3(4\pi-3\sqrt3)"],
    r"\frac{e^2-1}{2}": [r"\frac{-1+e^{2}}{2}"],
    r"\log_2 5": [r"\log_{2}(5)"],
    "(2,3)": [r"\left(2, 3\right)", "2,3", "x=2, y=3"],
    r"\left(3, \frac{\pi}{2}\right)": [r"(3,\pi/2)"],
    r"[0,\infty)": [r"\left[0, +\infty\right)", r"x \ge 0", r"0 \le x"],
    "(-2, 5]": [r"x\in(-2,5]", r"-2 < x \le 5", r"5 \ge x > -2"],
    r"(-\infty,-1)\cup(1,\infty)": [r"(1,\infty) \cup (-\infty,-1)", r"x<-1 \text{ or } x>1"],
    r"\left[-\frac12,\frac12\right]": ["[-0.5,0.5]", "[-1/2,1/2]"],
    r"x \in [-2,7]": ["[-2,7]", r"-2\le x\le7"],
    r"k \le 4": [r"4\ge k", r"(-\infty,4]"],
    r"\{1,2,3\}": ["1,2,3", r"\left\{3,2,1\right\}"],
    "1, -3": ["-3 and 1", "x=1,-3", r"x=1 \text{ or } x=-3", r"\{-3,1\}"],
    r"-\sqrt{3}, 0, \sqrt{3}": [r"0,\pm\sqrt3"],
    r"2 \pm \sqrt{3}": [r"2+\sqrt3, 2-\sqrt3", r"x = 2\pm\sqrt{3}"],
    r"\emptyset": [r"\varnothing", r"\{\}"],
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}": [
        r"\begin{bmatrix}1&2\\3&4\end{bmatrix}",
        r"\left(\begin{array}{cc}1&2\\3&4\\\end{array}\right)",
    ],
    r"\begin{pmatrix} -1/3 \\ \sqrt{2}/2 \end{pmatrix}": [
        r"\begin{pmatrix}-\frac13\\\frac{1}{\sqrt2}\end{pmatrix}"
    ],
    "x^2+3x+2": ["2+3x+x^2", "x^{2} + 3 x + 2"],
    "(x+1)(x-2)": ["(x-2)(x+1)"],
    "3(x-2)^2": [r"3\left(2-x\right)^2"],
    r"\frac{x+1}{x-1}": ["(x+1)/(x-1)", r"1+\frac{2}{x-1}"],
    r"\frac{1}{x^{3}}": ["x^{-3}", "1/x^3"],
    r"\frac{a^2+b^2}{ab}": [r"\frac{b^2+a^2}{a b}"],
    "n(n+1)": ["n^2+n", "(n+1)n"],
    "(-1)^n": ["(-1)^{n}"],
    r"\sin\theta": [r"\sin(\theta)"],
    "3+4i": ["4i+3"],
    r"-\frac{1}{2}+\frac{\sqrt{3}}{2}i": [r"\frac{-1+\sqrt3i}{2}", r"-\frac12+i\frac{\sqrt3}{2}"],
    "y = 2x + 1": ["2x+1", "2x - y + 1 = 0"],
    "x^2+y^2=25": ["25 = y^2+x^2"],
    "2x+3y-6z+49=0": ["-2x-3y+6z-49=0"],
    "f(x)=2x-1": ["f(x) = 2x - 1"],
    "x=-11": ["-11"],
    "10:1": ["10 : 1"],
    r"\text{Tuesday}": ["Tuesday", "tuesday", r"\textbf{Tuesday}"],
    r"\text{odd}": ["odd", "Odd", r"\mathrm{odd}"],
    "yes": [r"\text{Yes}", "Yes"],
    r"\text{no solution}": ["no solution", "No solution"],
    r"\text{does not exist}": ["does not exist"],
    r"\text{June 20}": [r"\text{june 20}", r"\textbf{June 20}"],
    r"\text{odd}, \text{even}": ["even, odd"],
    r"\text{(B)}": ["B", "(B)", r"\textbf{(B)}"],
    r"\text{(A), (C)}": ["A, C", r"\text{C, A}", "A and C"],
    "AB": ["AB"],
    r"5\text{ cm}": ["5", "5cm", r"5\ \mathrm{cm}", "5.0 centimeters"],
    r"5\text{ m}": ["5", "5 m", "5 meters"],
    r"12\text{ cm}^2": ["12", r"12\ \text{cm}^{2}", "12 square centimeters", r"12\text{ sq cm}"],
    r"54\text{ mph}": ["54", "54 miles per hour", r"54\text{ mi/h}"],
    r"5\sqrt{13}\text{ units}": [r"5\sqrt{13}"],
    r"15\text{ min}": ["15 minutes", "15 min"],
    r"\$32.50": ["32.5", "$32.50", r"32.50\text{ dollars}"],
    r"90^\circ": ["90", "90°", r"90^{\circ}", r"90\text{ degrees}"],
    r"50\%": ["50%", "50", r"50.0\%", "50 percent"],
    "101_2": ["101", "101_{2}"],
    "3A_{16}": ["3A", "3A_{16}"],
    "BEE_{16}": ["BEE", "BEE_{16}"],
    r"6:00\text{ p.m.}": [r"6:00\text{ p.m.}"],
    r"\infty": [r"+\infty", "infinity"],
    "028": ["28"],
    "0": ["0.0", "-0"],
    "4!": ["24"],
}

RIGHT = [
    ("$18", "18"), (r"\$18", "18"), (r"\$-5", "-5"), ("18 dollars", "18"),
    (r"\text{18 dollars}", "18"), ("18.00", "18"), ("1,800", "1800"), ("x=18", "18"),
    ("18", "x = 18"), ("1,2", "(1,2)"), ("2,1", "1,2"), ("5", r"\{5\}"), ("3,-3", r"\pm 3"),
    (r"\pm3", "-3,3"), (r"90^\circ", "90"), ("x > 5", "5 < x"),
    (r"\begin{pmatrix}0.5\\2\end{pmatrix}", r"\begin{pmatrix}1/2\\2\end{pmatrix}"),
    (r"\int_0^1  x dx", r"\int_0^1 x dx"),
]  # fmt: skip
WRONG = [
    ("19", "18"), ("-18", "18"), (r"18\%", "18"), (r"0.18\%", "18"), (r"1800\%", "18"),
    ("18 percent", "18"), (r"50\%", "0.5"), ("0.5", r"50\%"), ("9*2", "18"), ("17+1", "18"),
    ("36/2", "18"), ("18/1", "18"), ("18^{1}", "18"), ("17+1^x", "18"), (r"17+e^{0\pi}", "18"),
    (r"\pi\cdot\frac{18}{\pi}", "18"), ("18+0i", "18"), ("18 or 19", "18"), ("17, 18", "18"),
    ("18 or 18", "18"), (r"\{18\}", "18"), ("[18,18]", "18"), ("[0,100]", "18"), ("18 19", "18"),
    ("nan", "18"), ("1e400", "18"), ("\uff11\uff18", "18"), ("inf", "18"), ("18k", "18"),
    (r"\pi=18", "18"), (r"x \in 18", "18"), ("18=18", "18"), ("x - 1 = 17", "18"),
    ("18 dozen", "18"), ("18_{10}", "18"), (r"\pm 18", "18"), ("", "18"),
    ("18.0000000000000000001", "18"),
    (r"\text{eighteen}", "18"), ("18", r"\text{even}"), ("0.333", "1/3"), ("0.3333333333", "1/3"),
    (r"\pi", "3.14"), ("3.14", r"\pi"), ("5", "101_2"), ("2516_9", "2516_8"),
    ("(2,1)", "(1,2)"), ("[1,2)", "[1,2]"), ("(1,2,3)", "(1,2)"), (r"\{1\}", r"\{1,2\}"),
    ("(17+1, 2)", "(18,2)"), ("(1^x+17, 2)", "(18,2)"), (r"\{0\}\setminus A", r"A\setminus\{0\}"),
    ("x > 5", r"[5,\infty)"), ("x < 5", r"(5,\infty)"),
    ("5 meters", "5 cm"), ("5 inches", r"5 \text{ cm}"), ("5 cm", r"5 \text{ cm}^2"),
    ("5 n", r"5\text{ m}"), ("odd", r"\text{Even}"), ("C", r"\text{(B)}"),
    ("2x", "2y"), ("2x", "2"), (r"2\pi", "6.28"), (r"3\sqrt2", "5"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("(2x)(3x)", "6x^2"), (r"2(3\pi)", r"6\pi"), ("(x+1)(x+2)", "x^2+3x+2"),
]  # fmt: skip
OPEN = [
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}"), ("x^2+1", "1+x^2"), ("2^{100}", str(2**100)),
    ("y=2x+1", "2x-y+1=0"), (r"(1, 2\sqrt3)", r"(1, \sqrt{12})"),
]  # fmt: skip
# What the question already says, in another form than what it asks for.
COPIES = [
    (r"Rationalize $\frac{1}{\sqrt{2}}$.", r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"),
    (r"Write $0.\overline{36}$ as a fraction.", r"0.\overline{36}", r"\frac{4}{11}"),
    (r"Write $\dfrac34$ as a decimal.", r"\frac{3}{4}", "0.75"),
    ("Write 0.00032 in scientific notation.", "0.00032", r"3.2\times10^{-4}"),
    (r"Write $\frac{7}{3}$ as a mixed number.", r"\frac73", r"2\frac13"),
    ("Find the prime factorization of 24.", "24", r"2^3\cdot3"),
    ("Factor $x^2 + 3x + 2$.", "x^2+3x+2", "(x+1)(x+2)"),
    ("Factor $x^2 + 3x + 2$.", "3x+2+x^2", "(x+1)(x+2)"),
    ("Factor $3x^2-12$ completely.", "3(x^2-4)", "3(x-2)(x+2)"),
]


def wholly(answer: str, reference: str, question: str = "") -> Verdict | None:
    return match(answer, reference, same, question=question).verdict


@pytest.mark.parametrize("gold", sorted(GOLDS))
def test_honest_ways_to_write_a_reference(gold: str) -> None:
    assert match(gold, gold).verdict is Verdict.CORRECT
    for answer in GOLDS[gold]:
        assert wholly(answer, gold) is Verdict.CORRECT, answer


@pytest.mark.parametrize("gold", sorted(GOLDS))
def test_other_references_are_wrong(gold: str) -> None:
    others = [other for other in GOLDS if other != gold][::9]
    assert all(wholly(other, gold) is Verdict.WRONG for other in others)


@pytest.mark.parametrize(("answer", "reference"), RIGHT)
def test_right(answer: str, reference: str) -> None:
    assert match(answer, reference).verdict is Verdict.CORRECT


@pytest.mark.parametrize(("answer", "reference"), WRONG)
def test_wrong(answer: str, reference: str) -> None:
    found = match(answer, reference)
    assert found.verdict is Verdict.WRONG
    assert "\n" not in found.reason


@pytest.mark.parametrize(("answer", "reference"), OPEN)
def test_algebra_is_asked_for_what_form_cannot_tell(answer: str, reference: str) -> None:
    assert match(answer, reference).verdict is None
    assert match(answer, reference, lambda a, b: True).verdict is Verdict.CORRECT
    assert match(answer, reference, lambda a, b: False).verdict is Verdict.WRONG


@pytest.mark.parametrize(("question", "answer", "reference"), COPIES)
def test_a_copy_of_the_question_is_no_answer(question: str, answer: str, reference: str) -> None:
    assert wholly(answer, reference, question) is Verdict.WRONG
    assert wholly(answer, reference, "What is it?") is Verdict.CORRECT
    assert wholly(reference, reference, question) is Verdict.CORRECT


def test_a_number_of_the_question_may_be_the_answer() -> None:
    asked = "It costs $5.00. What do two cost, at half the price?"
    assert wholly("$5.00", "5", asked) is Verdict.CORRECT
    assert wholly("5 cm", "5", "A side is 5 cm. How long is the other?") is Verdict.CORRECT
    assert wholly(r"\frac12", "0.5", r"It is $\frac{1}{24}$ of $3\frac12$.") is Verdict.CORRECT


def test_percent_is_an_answer_where_it_is_asked_for() -> None:
    assert wholly("20%", "20", "What percentage of the cars is red?") is Verdict.CORRECT
    assert wholly(r"20\%", "20", "What is the percent increase?") is Verdict.CORRECT
    assert wholly(r"0.2\%", "20", "What percent is it?") is Verdict.WRONG
    assert wholly("20%", "20", "What does it cost after a 10 percent discount?") is Verdict.WRONG


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("18 eggs", True),
        ("18 duck", True),
        (r"18 \text{ eggs per day}", True),
        ("18 cups of flour", False),
        ("18 ducks", True),
        (r"18 \text{ is wrong}", False),
        (r"18 \text{ or any other}", False),
        (r"18 \text{ not the eggs}", False),
    ],
)
def test_only_what_the_question_speaks_of_is_counted(answer: str, is_right: bool) -> None:
    found = match(answer, "18", question="How many eggs do the ducks, or any other, lay a day?")
    assert found.verdict is (Verdict.CORRECT if is_right else Verdict.WRONG)


def test_a_reference_that_cannot_be_read_is_said_to_be() -> None:
    found = match("18", r"\int_0^1 x dx")
    assert found.verdict is Verdict.UNGRADABLE
    assert found.reason.startswith("the reference cannot be read")


@pytest.mark.parametrize("text", DONE)
def test_what_is_worked_out_equals_itself(text: str) -> None:
    assert match(text, text).verdict is Verdict.CORRECT


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_two_texts_have_a_verdict(answer: str, reference: str) -> None:
    match(answer, reference, question=reference + answer)


SIGNS = [
    r"\frac", "{", "}", "(", ")", "[", "]", "2", "10", "x", "^", "_", "+", "-", "*", "/", ",", "=",
    "<", r"\le", r"\pm", r"\sqrt", r"\text{ab}", "cm", "!", "|", r"\{", r"\}", r"\cup", "%", r"\$",
    " and ", "i", r"\pi", r"\infty", r"^\circ", r"\times 10^{3}", "yes", "101_2", ".5", r"\in", " ",
]  # fmt: skip


@given(st.lists(st.sampled_from(SIGNS), max_size=12), st.lists(st.sampled_from(SIGNS), max_size=12))
def test_any_piles_of_signs_have_a_verdict(ours: list[str], theirs: list[str]) -> None:
    answer, reference = "".join(ours), "".join(theirs)
    match(answer, reference, question=reference)
    with suppress(NotAValue):
        read(answer)
        assert match(answer, answer, question=answer).verdict is Verdict.CORRECT


def _written(x: Fraction) -> str:
    sign = "-" if x < 0 else ""
    whole = x.denominator == 1
    return str(x) if whole else rf"{sign}\frac{{{abs(x.numerator)}}}{{{x.denominator}}}"


@given(st.fractions(max_denominator=200), st.fractions(max_denominator=200))
def test_rationals_are_compared_exactly(a: Fraction, b: Fraction) -> None:
    wanted = Verdict.CORRECT if a == b else Verdict.WRONG
    assert match(_written(a), _written(b)).verdict is wanted
    assert match(str(a), _written(a)).verdict is Verdict.CORRECT
    assert match(_written(a + Fraction(1, 10**9)), _written(a)).verdict is Verdict.WRONG


@given(st.integers(1, 999), st.integers(2, 99), st.integers(1, 98))
def test_a_mixed_number_is_its_fraction(whole: int, under: int, over: int) -> None:
    assume(over < under)
    fraction = Fraction(over, under)
    assume(fraction.denominator == under)
    mixed = rf"{whole}\frac{{{over}}}{{{under}}}"
    assert match(mixed, _written(whole + fraction)).verdict is Verdict.CORRECT
    assert match(f"-{whole} {over}/{under}", _written(-whole - fraction)).verdict is Verdict.CORRECT


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-999, max_value=999))
def test_a_rounded_decimal_is_another_number(x: object) -> None:
    value = Fraction(str(x))
    assume(value.denominator > 1)
    assert match(str(x), f"{value.numerator}/{value.denominator}").verdict is Verdict.CORRECT
    third = value + Fraction(1, 3)
    assert match(str(x), f"{third.numerator}/{third.denominator}").verdict is Verdict.WRONG


Valued = tuple[str, Fraction]
NUMBERS = st.integers(0, 20).map(lambda n: (str(n), Fraction(n)))


def _sums(parts: st.SearchStrategy[Valued]) -> st.SearchStrategy[Valued]:
    return st.builds(_joined, parts, parts, st.sampled_from("+-*^pnis"))


def _joined(a: Valued, b: Valued, sign: str) -> Valued:
    (x, p), (y, q) = a, b
    match sign:
        case "+":
            return f"{x}+{y}", p + q
        case "-":
            return f"{x}-({y})", p - q
        case "*":
            return f"({x})({y})", p * q
        case "p":
            return rf"{x}+e^{{0({y})\pi}}", p + 1
        case "n":
            return rf"({x})\cdot1^{{{y}}}", p
        case "i":
            return f"{x}+i^2", p - 1
        case "s":
            return rf"\frac{{({x})\pi}}{{\pi}}", p
        case _:
            return f"({x})^{{1}}", p


@given(_sums(st.recursive(NUMBERS, _sums, max_leaves=4)))
def test_nothing_that_is_to_be_worked_out_earns_its_value(pair: Valued) -> None:
    text, value = pair
    assert match(text, str(value)).verdict is Verdict.WRONG
    assert rational(read(text)) is None
    assert leftovers(read(text))


@pytest.mark.parametrize(
    "hostile",
    ["9" * 1999, "9^" * 400 + "9", "9!" * 500, r"\sqrt" * 300 + "9",
     r"\sin" * 400 + "9", "(" * 1000, r"\frac{" * 300, ",".join("1" * 900), "9" * 10**5,
     "1e" + "9" * 500, r"\pm" * 500 + "1", "x+" * 900 + "x", "1" + "/1" * 900, "{" * 10**5,
     "x" + "/x" * 900, ",".join([r"\sqrt{999999937}"] * 100), "(x+" * 38 + "1" + ")x" * 38],
)  # fmt: skip
def test_hostile_ones_are_quick(hostile: str) -> None:
    began = time.process_time()
    assert match(hostile, "18", question=hostile).verdict is Verdict.WRONG
    match(hostile, hostile)
    match("18", hostile)
    assert time.process_time() - began < 0.3  # below 40 ms on a quiet machine


def test_open_parts_in_any_order_are_asked_of_once_a_pair() -> None:
    asked = list[tuple[object, object]]()

    def algebra(a: object, b: object) -> bool:
        asked.append((a, b))
        return False

    ours = ",".join(f"x^{n}+{n}" for n in range(2, 8))
    theirs = ",".join(f"{n}+x^{n}+1" for n in range(2, 8))
    assert match(ours, theirs, algebra).verdict is Verdict.WRONG
    assert len(asked) == 36


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K is not here")
def test_every_reference_of_gsm8k_is_itself() -> None:
    lines = [
        line
        for name in ("test.jsonl", "train.jsonl")
        for line in (GSM8K / name).read_text(encoding="utf-8").splitlines()
    ]
    golds = {json.loads(line)["answer"].rpartition("####")[2].strip() for line in lines}
    assert len(lines) == 1319 + 7473
    for gold in sorted(golds):
        for written in (gold, rf"\${gold}", f"{gold} dollars", f"x={gold}", f"{gold} mi per hour"):
            assert match(written, gold).verdict is Verdict.CORRECT, written
        for written in (f"{gold}%", f"{gold}+0i", f"{gold} {gold}", f"[0,{gold}]", rf"\pm{gold}"):
            assert match(written, gold).verdict is Verdict.WRONG, written
