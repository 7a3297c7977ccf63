from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity, Contradiction, UnknownName
from penjing.tasks.answer import final_answer
from penjing.tasks.language import Language
from penjing.tasks.length import SoftLimit
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.reward import Part, Reward, RewardConfig, reward
from penjing.tasks.source import FileSource
from penjing.tasks.task import Judge, Task
from penjing.tasks.template import AnswerFormat, Style, Template

PROBLEM = Problem(id="1", prompt="What is 6 * 7?", reference="42", split=Split.TRAIN)
LIMIT = SoftLimit(max_tokens=100, cache_tokens=50)
ALL = RewardConfig(
    weights={Part.ACCURACY: 1.0, Part.FORMAT: 0.5, Part.LANGUAGE: 0.25, Part.OVER_LENGTH: 2.0},
    language=Language.ENGLISH,
    soft_limit=LIMIT,
)
GOOD = r"<think>Six times seven is 42.</think>\boxed{42}"


def equal(problem: Problem, text: str) -> Grade:
    found = final_answer(text, AnswerFormat.BOXED)
    if isinstance(found, Grade):
        return found
    verdict = Verdict.CORRECT if found == problem.reference else Verdict.WRONG
    return Grade(verdict=verdict, reason="compared", answer=found)


def broken(problem: Problem, text: str) -> Grade:
    raise OSError("no judge today")


def task_with(judge: Judge) -> Task:
    template = Template(style=Style.R1, answer_format=AnswerFormat.BOXED)
    return Task(name="t", source=FileSource([PROBLEM]), judge=judge, template=template)


@pytest.mark.parametrize(
    ("response", "accuracy", "form"),
    [
        (GOOD, 1.0, 1.0),
        (r"\boxed{42}", 1.0, 0.0),
        (r"<think></think>\boxed{42}", 1.0, 0.0),
        (r"<think>Six times seven is 41.</think>\boxed{41}", 0.0, 1.0),
        (r"<think>Six times seven is \boxed{42}.</think>", 0.0, 0.0),
        (r"<think>Six times seven is \boxed{42}.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_r1_zero_adds_accuracy_and_format(response: str, accuracy: float, form: float) -> None:
    found = reward(task_with(equal), PROBLEM, response, RewardConfig(), num_tokens=9)
    assert found.parts == {"accuracy": accuracy, "format": form}
    assert found.weights == {"accuracy": 1.0, "format": 1.0}
    assert found.total == accuracy + form
    assert not found.is_fault


def test_every_part_is_named_and_weighed() -> None:
    mixed = r"<think>Six times seven 等于四二.</think>\boxed{42}"
    found = reward(task_with(equal), PROBLEM, mixed, ALL, num_tokens=75)
    expected = {"accuracy": 1.0, "format": 1.0, "language": 3 / 7, "over_length": -0.5}
    assert found.parts == pytest.approx(expected)
    assert found.total == pytest.approx(1.0 + 0.5 + 0.25 * 3 / 7 - 2.0 * 0.5)


def test_a_response_may_begin_in_its_thinking() -> None:
    response = GOOD.removeprefix("<think>")
    task, config = task_with(equal), ALL
    inside = reward(task, PROBLEM, response, config, num_tokens=0, begins_in_thinking=True)
    outside = reward(task, PROBLEM, response, config, num_tokens=0)
    assert inside.parts == {"accuracy": 1.0, "format": 1.0, "language": 1.0, "over_length": 0.0}
    assert outside.parts == {"accuracy": 1.0, "format": 0.0, "language": 0.0, "over_length": 0.0}


def test_the_language_of_the_answer_does_not_count() -> None:
    response = r"<think>先算六乘七</think>So it is, as we have seen, \boxed{42}"
    chinese = RewardConfig(weights={"language": 1.0}, language=Language.CHINESE)
    assert reward(task_with(equal), PROBLEM, response, chinese, num_tokens=0).total == 1.0


def test_a_judge_that_fails_gives_no_total() -> None:
    found = reward(task_with(broken), PROBLEM, GOOD, ALL, num_tokens=75)
    assert found.is_fault
    assert found.total is None
    assert found.parts["accuracy"] == 0.0
    assert found.parts["format"] == 1.0
    assert "no judge today" in found.grade.reason


weights_of = st.dictionaries(st.sampled_from(Part), st.floats(1e-3, 1e3), min_size=1)


@given(weights_of, st.text() | st.just(GOOD), st.integers(0, 200), st.booleans())
def test_the_total_never_hides_the_parts(
    weights: Mapping[str, float], response: str, num_tokens: int, begins: bool
) -> None:
    config = RewardConfig(
        weights=weights,
        language=Language.ENGLISH if Part.LANGUAGE in weights else None,
        soft_limit=LIMIT if Part.OVER_LENGTH in weights else None,
    )
    found = reward(
        task_with(equal),
        PROBLEM,
        response,
        config,
        num_tokens=num_tokens,
        begins_in_thinking=begins,
    )
    assert found.parts.keys() == weights.keys()
    assert found.total == sum(weights[name] * found.parts[name] for name in weights)
    assert all(-1.0 <= part <= 1.0 for part in found.parts.values())


@pytest.mark.parametrize("name", ["acuracy", "", "total"])
def test_unknown_parts_are_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown part of the reward"):
        RewardConfig(weights={name: 1.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_mean_nothing(weight: float) -> None:
    with pytest.raises(BadQuantity, match="the weight of format is"):
        RewardConfig(weights={"accuracy": 1.0, "format": weight})


@pytest.mark.parametrize(
    ("weights", "language", "limit", "said"),
    [
        ({"language": 1.0}, None, None, "a weight for language but not language"),
        ({"accuracy": 1.0}, Language.ENGLISH, None, "has language but not its weight"),
        ({"over_length": 1.0}, None, None, "a weight for over_length but not soft_limit"),
        ({"accuracy": 1.0}, None, LIMIT, "has soft_limit but not its weight"),
    ],
)
def test_settings_come_with_their_weights(
    weights: Mapping[str, float], language: Language | None, limit: SoftLimit | None, said: str
) -> None:
    with pytest.raises(Contradiction, match=said):
        RewardConfig(weights=weights, language=language, soft_limit=limit)


def test_a_reward_has_parts() -> None:
    with pytest.raises(BadQuantity, match="no parts"):
        RewardConfig(weights={})


@pytest.mark.parametrize("parts", [{}, {"accuracy": 1.0, "bonus": 1.0}])
def test_no_part_goes_without_weight(parts: Mapping[str, float]) -> None:
    grade = Grade(verdict=Verdict.CORRECT, reason="")
    with pytest.raises(AssertionError):
        Reward(grade=grade, parts=parts, weights={"accuracy": 1.0})


def test_messages_are_one_line() -> None:
    errors: Sequence[type[Exception]] = (UnknownName, BadQuantity)
    for error, weights in zip(errors, ({"a": 1.0}, {"format": -1.0}), strict=True):
        with pytest.raises(error) as caught:
            RewardConfig(weights=weights)
        assert "\n" not in str(caught.value)
