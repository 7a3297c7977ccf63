"""What form alone can tell of an answer and a reference."""

import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penjing.tasks.math_match import match
from penjing.tasks.problem import Verdict
from tests.tasks.test_evaluated import DONE

GSM8K = Path(__file__).parents[3] / "shared/data/benchmarks/gsm8k"

RIGHT = [
    ("$18", "18"), (r"\$18", "18"), ("18 dollars", "18"), (r"\text{18 dollars}", "18"),
    ("18.00", "18"), ("1,800", "1800"), ("x=18", "18"), ("18", "x = 18"),
    ("18", r"18\%"), (r"18\%", r"18\%"), ("0.5", r"\frac12"), ("1/2", r"\frac{1}{2}"),
    (r"1\frac12", "3/2"), (r"\frac{3}{2}", r"1\frac{1}{2}"), ("1,2", "(1,2)"), ("2,1", "1,2"),
    (r"\{2,1\}", r"\{1,2\}"), ("2, 1", r"\{1,2\}"), ("5", r"\{5\}"), ("3,-3", r"\pm 3"),
    (r"\pm3", "-3,3"), (r"2-\sqrt3, 2+\sqrt3", r"2\pm\sqrt3"), ("5 cm", r"5\text{ cm}"),
    ("5 square cm", r"5 \text{ cm}^2"), ("5 centimeters", "5 cm"), ("5", r"5 \text{ cm}^2"),
    ("90", r"90^\circ"), (r"90^\circ", "90"), ("90 degrees", r"90^\circ"), ("x > 5", "5 < x"),
    ("even", r"\text{Even}"), (r"\text{yes}", "yes"), ("no", r"\text{No}"), ("B", r"\text{(B)}"), ("2516", "2516_8"), ("2516_8", "2516_{8}"),
    (r"x \in (1,2)", "(1,2)"), (r"(-1,1)\cup(2,3)", r"(2,3)\cup(-1,1)"), (r"0.\overline{3}", "1/3"),
    (r"\begin{pmatrix}0.5\\2\end{pmatrix}", r"\begin{pmatrix}1/2\\2\end{pmatrix}"),
    ("2^3", "2^3"), ("not readable!", "not readable!"),
]  # fmt: skip
WRONG = [
    ("19", "18"), ("-18", "18"), (r"18\%", "18"), ("9*2", "18"), ("17+1", "18"), ("36/2", "18"),
    ("18 or 19", "18"), ("17, 18", "18"), ("[0,100]", "18"), ("18 19", "18"), ("nan", "18"),
    ("1e400", "18"), ("\uff11\uff18", "18"), ("0.333", "1/3"), (r"\pi", "3.14"),
    ("inf", "18"), ("(2,1)", "(1,2)"),
    ("[1,2)", "[1,2]"), ("(1,2,3)", "(1,2)"), (r"\{1\}", r"\{1,2\}"), ("5 meters", "5 cm"),
    ("5 inches", r"5 \text{ cm}"), ("odd", r"\text{Even}"),
    ("C", r"\text{(B)}"), ("2516_9", "2516_8"), ("x - 1 = 17", "18"), ("18 = 18", "18"),
    ("18 dozen", "18"), ("", "18"), (r"\text{eighteen}", "18"), ("18", r"\text{even}"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
]  # fmt: skip
OPEN = [
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}"), ("x^2+1", "1+x^2"),
    ("y=2x+1", "2x-y+1=0"), (r"(1, 2\sqrt3)", r"(1, \sqrt{12})"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference"), RIGHT[:-1])
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
    match(answer, reference)


@given(st.fractions(max_denominator=200), st.fractions(max_denominator=200))
def test_rationals_are_compared_exactly(a: Fraction, b: Fraction) -> None:
    def written(x: Fraction) -> str:
        sign = "-" if x < 0 else ""
        whole = x.denominator == 1
        return str(x) if whole else rf"{sign}\frac{{{abs(x.numerator)}}}{{{x.denominator}}}"

    wanted = Verdict.CORRECT if a == b else Verdict.WRONG
    assert match(written(a), written(b)).verdict is wanted
    assert match(str(a), written(a)).verdict is Verdict.CORRECT


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-999, max_value=999))
def test_a_rounded_decimal_is_another_number(x: object) -> None:
    value = Fraction(str(x))
    assert match(str(x), f"{value.numerator}/{value.denominator}").verdict is Verdict.CORRECT
    third = value + Fraction(1, 3)
    assume(third)
    assert match(str(x), f"{third.numerator}/{third.denominator}").verdict is Verdict.WRONG


@pytest.mark.parametrize(
    "hostile",
    ["9" * 1999, "9^" * 400 + "9", "9!" * 500, r"\sqrt" * 300 + "9",
     r"\sin" * 400 + "9", "(" * 1000, r"\frac{" * 300, ",".join("1" * 900),
     "1e" + "9" * 500, r"\pm" * 500 + "1", "x+" * 900 + "x"],
)  # fmt: skip
def test_hostile_ones_are_quick(hostile: str) -> None:
    began = time.process_time()
    assert match(hostile, "18").verdict is Verdict.WRONG
    match(hostile, hostile)
    assert time.process_time() - began < 0.5


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K is not here")
def test_every_reference_of_gsm8k_is_itself() -> None:
    import json

    golds = [
        json.loads(line)["answer"].rpartition("####")[2].strip()
        for name in ("test.jsonl", "train.jsonl")
        for line in (GSM8K / name).read_text(encoding="utf-8").splitlines()
    ]
    assert len(golds) == 1319 + 7473
    for gold in golds:
        for written in (gold, f"${gold}", f"{gold} dollars", f"x = {gold}"):
            assert match(written, gold).verdict is Verdict.CORRECT, written
        assert match(f"{gold}%", gold).verdict is not Verdict.CORRECT
