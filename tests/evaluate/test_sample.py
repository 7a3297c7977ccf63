import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile
from penjing.evaluate.sample import Sample
from penjing.tasks.problem import Grade, Verdict

COUNTS = st.integers(min_value=0, max_value=1 << 40)
ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("a\\\ud83d\ude00", max_size=6)
GRADES = st.builds(
    Grade,
    verdict=st.sampled_from(sorted(Verdict)),
    reason=ANY_TEXT,
    answer=st.none() | ANY_TEXT,
) | st.builds(Grade, verdict=st.just(Verdict.UNGRADABLE), reason=ANY_TEXT, is_fault=st.just(True))
SAMPLES = st.builds(
    Sample,
    problem=ANY_TEXT,
    index=COUNTS,
    seed=st.integers(),
    response=ANY_TEXT,
    finish_reason=st.sampled_from(["stop", "length", "content_filter"]),
    num_prompt_tokens=COUNTS,
    num_tokens=st.just(1 << 40),
    num_thinking_tokens=st.none() | COUNTS,
    wall_s=st.floats(min_value=0, allow_infinity=False),
    grade=GRADES,
)
SAMPLE = Sample(
    problem="gsm8k-1",
    index=0,
    seed=7,
    response="<think>1 + 1</think>\n\\boxed{2}",
    finish_reason="stop",
    num_prompt_tokens=20,
    num_tokens=9,
    num_thinking_tokens=3,
    wall_s=0.5,
    grade=Grade(verdict=Verdict.CORRECT, reason="it is equal", answer="2"),
)


@given(SAMPLES)
def test_a_sample_comes_back_from_any_json(sample: Sample) -> None:
    for is_ascii in (False, True):
        line = json.dumps(sample.to_json(), ensure_ascii=is_ascii, allow_nan=False)
        assert Sample.from_json(json.loads(line.encode("utf-8"))) == sample


def test_what_a_line_holds() -> None:
    assert SAMPLE.to_json() == {
        "problem": "gsm8k-1",
        "index": 0,
        "seed": 7,
        "response": "<think>1 + 1</think>\n\\boxed{2}",
        "finish_reason": "stop",
        "num_prompt_tokens": 20,
        "num_tokens": 9,
        "num_thinking_tokens": 3,
        "wall_s": 0.5,
        "grade": {
            "verdict": "correct",
            "reason": "it is equal",
            "answer": "2",
            "is_fault": False,
        },
    }
    assert type(SAMPLE.to_json()["grade"]["verdict"]) is str


def test_halves_of_surrogate_pairs_stand_beside_the_text() -> None:
    values = SAMPLE.to_json() | {"response": ["é", 0xD83D, 0xDE00, "."]}
    sample = Sample.from_json(values)
    assert sample.response == "é\ud83d\ude00."  # four characters, not the one that a pair means
    assert sample.to_json() == values


def test_what_ran_out_of_room_is_truncated() -> None:
    assert not SAMPLE.is_truncated
    assert Sample.from_json(SAMPLE.to_json() | {"finish_reason": "length"}).is_truncated


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"problem": 3}, "problem is 3; it must be text"),
        ({"response": ["a", 65]}, "response is ['a', 65]; it must be text"),
        ({"response": ["a", True]}, "response is ['a', True]; it must be text"),
        ({"index": -1}, "index is -1; it must be 0 or more"),
        ({"index": True}, "index is True; it must be a whole number"),
        ({"seed": 0.5}, "seed is 0.5; it must be a whole number"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"num_tokens": "9"}, "num_tokens is '9'; it must be a whole number"),
        ({"num_thinking_tokens": 10}, "num_thinking_tokens is 10; it must be at most num_tokens"),
        ({"num_thinking_tokens": -1}, "num_thinking_tokens is -1; it must be 0 or more"),
        ({"wall_s": -0.1}, "wall_s is -0.1; it must be a finite number of seconds"),
        ({"wall_s": float("nan")}, "wall_s is nan; it must be a finite number"),
        ({"wall_s": float("inf")}, "wall_s is inf; it must be a finite number"),
        ({"wall_s": 10**400}, "it must be a finite number"),
        ({"wall_s": "1"}, "wall_s is '1'; it must be a finite number"),
        ({"grade": "correct"}, "a grade is an object with verdict, reason, answer, is_fault"),
        ({"num_token": 9}, "a sample has no field 'num_token'; did you mean num_tokens?"),
        ({"\n\ud800": 9}, "a sample has no field '\\n\\ud800'; take it out"),
    ],
)
def test_what_is_no_sample_is_one_line(change: dict[str, Any], line: str) -> None:
    with pytest.raises(BadFile) as caught:
        Sample.from_json(SAMPLE.to_json() | change)
    assert line in str(caught.value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"verdict": "right"}, "verdict is 'right'; it must be one of correct, wrong, ungradable"),
        ({"verdict": ["wrong"]}, "verdict is ['wrong']; it must be one of"),
        ({"reason": None}, "reason is None; it must be text"),
        ({"answer": 2}, "answer is 2; it must be text"),
        ({"is_fault": 0}, "is_fault is 0; it must be true or false"),
        ({"is_fault": True}, "is_fault is True; it must be false where the verdict is correct"),
    ],
)
def test_what_is_no_grade_is_one_line(change: dict[str, Any], line: str) -> None:
    values = SAMPLE.to_json()
    with pytest.raises(BadFile) as caught:
        Sample.from_json(values | {"grade": values["grade"] | change})
    assert line in str(caught.value)


@pytest.mark.parametrize("found", [None, [], "a", 3])
def test_what_is_no_object_is_no_sample(found: object) -> None:
    with pytest.raises(BadFile, match="a sample is an object with problem, index"):
        Sample.from_json(found)


@pytest.mark.parametrize("name", sorted(SAMPLE.to_json()))
def test_every_field_must_be_there(name: str) -> None:
    values = SAMPLE.to_json()
    del values[name]
    with pytest.raises(BadFile, match=f"a sample lacks {name};"):
        Sample.from_json(values)


@pytest.mark.parametrize(
    "change", [{"index": -1}, {"num_thinking_tokens": 10}, {"wall_s": float("nan")}]
)
def test_our_own_samples_are_sound(change: dict[str, Any]) -> None:
    values = {name: getattr(SAMPLE, name) for name in SAMPLE.to_json()}
    with pytest.raises(AssertionError):
        Sample(**values | change)
