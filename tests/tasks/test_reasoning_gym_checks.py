"""Our checks, one by one: what is right however it is written, and what is only near."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.reasoning_gym_checks import CHECKS, MAX_DIGITS, Answered, number
from penjing.tasks.reasoning_gym_families import families


def verdict(name: str, answer: str, reference: str, **metadata: Any) -> str:
    """Why it is wrong; the scorer is not asked."""
    asked = Answered(
        answer=answer,
        reference=reference,
        metadata=metadata,
        family=next(f for f in families().values() if f.judge == name),
        score=lambda: pytest.fail("the scorer was asked"),
    )
    return CHECKS[name](asked)


SURVO = {"puzzle": [[1, 0, 3], [0, 2, 6], [5, 4, 9]], "candidate_numbers": [2, 4]}
SUM = {"numbers": [8, 5, 10, 6]}


@pytest.mark.parametrize(
    ("name", "answer", "reference", "metadata"),
    [
        ("text", "  1 2\n3 4  ", "1 2 \n3 4", {}),
        ("caseless", "true", "True", {}),
        ("words", "a,b , c", "a, b, c", {}),
        ("interval", "80", "80 days", {}),
        ("interval", "3 days, 04:05", "3 days, 04:05", {}),
        ("json", "[[0, 1],\n[1, 0]]", "[[0,1],[1,0]]", {}),
        ("value", "1,000.0", "1000", {}),
        ("value", "friday", "Friday", {}),
        ("numbers", "[52.2, '30.0', \"14\"]", "['52.2', '30.0', '14.0']", {}),
        ("roots", "0, -3.6250", "-3.625, 0.0", {}),
        ("grid", "4.50 4.5\n4.75 5", "4.5 4.5\n4.75 5.0", {}),
        ("primes", "7*2*2", "2 \N{MULTIPLICATION SIGN} 2 \N{MULTIPLICATION SIGN} 7", {}),
        ("complex", "(-15 + 3i)", "-15.0 + 3.0i", {"result": (-15, 3)}),
        ("complex", "-i", "-1.00i", {"result": (0, -1)}),
        ("complex", "4", "4.00", {"result": (4, 0)}),
        ("polynomial", "x - 2*x**2", "-2*x**2 + x", {}),
        ("antiderivative", "x**2", "x**2 + C", {"integrand": "2*x", "variable": "x"}),
        ("expression", "10*(8 - 5) - 6", "", SUM),
        ("member", "Q _\n_ Q", "_ Q\nQ _", {"valid_answers": ["Q _\n_ Q"]}),
        ("survo", "1 2 3\n4 2 6\n5 4 9", "", SURVO),
    ],
)
def test_right(name: str, answer: str, reference: str, metadata: dict[str, Any]) -> None:
    assert verdict(name, answer, reference, **metadata) == ""


@pytest.mark.parametrize(
    ("name", "answer", "reference", "metadata", "reason"),
    [
        ("text", "1 2 3 4", "1 2\n3 4", {}, "another answer"),
        ("caseless", "truely", "True", {}, "another answer"),
        ("words", "a, b, c, d", "a, b, c", {}, "another answer"),
        ("interval", "80 days, 01:00", "80 days", {}, "another answer"),
        ("json", "[[0,1],[1,true]]", "[[0,1],[1,1]]", {}, "another answer"),
        ("json", "[[0,1],[1,1],[0]]", "[[0,1],[1,1]]", {}, "another answer"),
        ("json", "[" * 9_000, "[1]", {}, "no JSON"),
        ("value", "999", "1000", {}, "another number"),
        ("value", "1000 km", "1000", {}, "no number"),
        ("value", "500 + 500", "1000", {}, "no number"),
        ("value", "2000/2", "1000", {}, "not carried out"),
        ("value", "100000%", "1000", {}, "no number"),
        ("numbers", "['52.3', '30.0']", "['52.2', '30.0']", {}, "another answer"),
        ("numbers", "52.2, 30.0", "['52.2', '30.0']", {}, "no list"),
        ("numbers", "[[52.2]]", "['52.2']", {}, "no list"),
        ("roots", "0", "-3.625, 0.0", {}, "1 solutions"),
        ("roots", "0, -3.63", "-3.625, 0.0", {}, "another number"),
        ("roots", "x, y", "-3.625, 0.0", {}, "no list"),
        ("grid", "4.5 4.5", "4.5 4.5\n4.75 5.0", {}, "another size"),
        ("grid", "4.5 4.5\n4.75 5.1", "4.5 4.5\n4.75 5.0", {}, "another number"),
        ("grid", "4.5 x\n4.75 5.1", "4.5 4.5\n4.75 5.0", {}, "no grid"),
        ("primes", "28", "2*2*7", {}, "another answer"),
        ("complex", "-15 + 3.1i", "", {"result": (-15, 3)}, "another number"),
        ("complex", "-15 + (1+2)i", "", {"result": (-15, 3)}, "no complex"),
        ("complex", "i3", "", {"result": (0, 3)}, "no complex"),
        ("polynomial", "x*(1 - 2*x)", "-2*x**2 + x", {}, "not written out"),
        ("polynomial", "x - 3*x**2", "-2*x**2 + x", {}, "another polynomial"),
        ("antiderivative", "x**3", "", {"integrand": "2*x", "variable": "x"}, "derivative"),
        ("antiderivative", "Integral(2*x)", "", {"integrand": "2*x", "variable": "x"}, "nobody"),
        ("expression", "4*6", "", SUM, "the numbers used are 4, 6"),
        ("member", "_ Q", "_ Q\nQ _", {"valid_answers": ["Q _\n_ Q"]}, "none of the solutions"),
        ("survo", "1 4 3\n2 2 6\n5 4 9", "", SURVO, "does not come out"),
        ("survo", "1 3 3\n3 2 6\n5 4 9", "", SURVO, "other numbers"),
        ("survo", "0 2 3\n4 2 6\n5 4 9", "", SURVO, "not kept"),
        ("survo", "1 2\n4 2", "", SURVO, "no grid of that size"),
        ("coloring", "[1, 2]", "", {}, "no JSON map"),
        ("coloring", '{"0": true}', "", {}, "no JSON map"),
        ("plan", "{}", "", {}, "no JSON list"),
        ("plan", '[{"Agent[0.5, 0.5]": "wait"}]', "", {}, "no JSON list"),
        ("plan", '[{"me": "move(box_red, target_red)"}]', "", {}, "no JSON list"),
    ],
)
def test_wrong(name: str, answer: str, reference: str, metadata: Any, reason: str) -> None:
    assert reason in verdict(name, answer, reference, **metadata)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234,567.5", Fraction("1234567.5")),
        ("-3/4", Fraction(-3, 4)),
        (" 1.23e+4 ", Fraction(12_300)),
        ("12,34", None),
        ("1/0", None),
        ("1e999", None),
        ("nan", None),
        ("1_000", None),
        ("0x10", None),
        ("\N{FULLWIDTH DIGIT ONE}", None),
        ("9" * (MAX_DIGITS + 1), None),
        ("", None),
    ],
)
def test_numbers_as_one_writes_them(text: str, value: Fraction | None) -> None:
    assert number(text) == value


@given(st.sampled_from(sorted(CHECKS)), st.text(max_size=60))
def test_no_check_raises_or_takes_any_text(name: str, answer: str) -> None:
    metadata = {"result": (1, 2), "integrand": "x", "variable": "x", "valid_answers": [], **SURVO}
    family = next(f for f in families().values() if f.judge == name)
    asked = Answered(
        answer=answer + "?", reference="17", metadata=metadata | SUM, family=family, score=float
    )
    assert CHECKS[name](replace(asked, reference="[17]" if name in ("numbers", "json") else "17"))


@pytest.mark.parametrize(
    ("score", "reason"), [(1.0, ""), (0.9999, "0.9999 of 1"), (0.25, "0.25 of 1")]
)
def test_the_scorer_must_give_full_marks(score: float, reason: str) -> None:
    family = families()["gcd"]
    asked = Answered(answer="5", reference="7", metadata={}, family=family, score=lambda: score)
    assert reason in CHECKS["library"](asked)
    assert bool(CHECKS["library"](asked)) == bool(reason)
    assert CHECKS["library"](replace(asked, answer=" 7 ")) == ""


def test_a_plan_may_not_leave_the_grid() -> None:
    def score() -> float:
        raise KeyError("9.5_0.5")

    plan = '[{"Agent[0.5, 0.5]": "move(box_red, square[9.5, 0.5])"}]'
    family = families()["boxnet"]
    asked = Answered(answer=plan, reference="", metadata={}, family=family, score=score)
    assert CHECKS["plan"](asked) == "a box leaves the grid"
