"""Made problems, files as IFEval has them, and texts that keep the form and say nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile
from penjing.tasks.constraints import Constraint
from penjing.tasks.instruction import Refused, draw, instruction, judge, read_instructions
from penjing.tasks.problem import Problem, Split, Verdict

PROSE = (
    "Slow boats drift past the green hills while small birds call from tall trees, and a soft wind "
    "moves over fields where farmers carry baskets of apples."
)


def asking(*constraints: tuple[str, dict[str, object]], prompt: str = "Write of hills.") -> Problem:
    known = [{"kind": kind, "arguments": arguments} for kind, arguments in constraints]
    return Problem(
        id="1", prompt=prompt, reference="", split=Split.TRAIN, metadata={"constraints": known}
    )


NO_TITLE = asking(("detectable_format:title", {}))
PLAIN = asking(("startend:start_checker", {"start_phrase": "slow"}))


def test_all_must_hold() -> None:
    both = asking(
        ("startend:start_checker", {"start_phrase": "slow"}), ("punctuation:no_comma", {})
    )
    assert judge(PLAIN, f"\n{PROSE}\n").is_correct
    assert judge(PLAIN, PROSE).reason == "kept: startend:start_checker"
    assert judge(both, PROSE).reason == "not kept: punctuation:no_comma"
    assert judge(both, PROSE.replace(",", "")).is_correct
    assert judge(NO_TITLE, PROSE).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not kept"),
        ("slow", "it has 1 words of its own; 20 are asked"),
        ("slow " * 30, "it has 1 different words"),
        ("slow" + " boats" * 40 + PROSE, "one word is most of it"),
        ("slow write of hills " * 10, "it has 1 different words"),
        ("slow" * 60_000, "it has 240000 characters; at most 100000"),
    ],
)
def test_what_says_nothing_is_not_paid(text: str, reason: str) -> None:
    grade = judge(PLAIN, text)
    assert grade.verdict is Verdict.WRONG
    assert reason in grade.reason


def test_a_copy_of_the_question_is_not_paid() -> None:
    problem = asking(("punctuation:no_comma", {}), prompt=PROSE.replace(",", ""))
    own = "Meanwhile nobody at home knew anything about it yet"
    assert not judge(problem, problem.prompt).is_correct
    grade = judge(problem, f"{problem.prompt} {own} {own.upper()} again today.")
    assert grade.reason.endswith("of it is the question")
    assert judge(problem, f"{own} though they had all waited since noon for word of it.").is_correct


def test_what_must_be_repeated_does_not_count() -> None:
    prompt = f'First repeat "{PROSE}", then answer.'
    problem = asking(("combination:repeat_prompt", {"prompt_to_repeat": PROSE}), prompt=prompt)
    own = (
        "My own answer begins only here; it speaks about winter, ice, lamps, bread, salt, two old "
    )
    own += "cats, chairs, and whatever else one finds indoors."
    assert judge(problem, f"{PROSE} {own}").is_correct
    assert "words of its own" in judge(problem, f"{PROSE} Done.").reason


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (("detectable_format:constrained_response", {}), "My answer is maybe."),
        (
            ("length_constraints:number_words", {"num_words": 10, "relation": "less than"}),
            "Five different words are enough",
        ),
    ],
)
def test_where_little_is_allowed_little_is_asked(
    constraint: tuple[str, dict[str, object]], text: str
) -> None:
    assert judge(asking(constraint), text).is_correct
    assert not judge(asking(constraint), "").is_correct


@given(st.integers(0, 2**63 - 1))
def test_nothing_degenerate_is_paid_for_any_problem(number: int) -> None:
    drawn = draw(number)
    constraints = [Constraint(**known) for known in drawn.metadata["constraints"]]
    problem = Problem(
        id="1",
        prompt=drawn.prompt,
        reference="",
        split=Split.TRAIN,
        metadata=json.loads(json.dumps(drawn.metadata)),
    )
    said = [str(v) for c in constraints for v in c.arguments.values()]
    for text in (
        "",
        drawn.prompt,
        f"{drawn.prompt}\n{drawn.prompt}",
        drawn.prompt.upper(),
        " ".join(said),
        " ".join(said * 20),
        f'"{drawn.prompt}"',
        "word " * 300,
        "{}",
        f"{said} " * 9,
    ):
        assert not judge(problem, text).is_correct


def test_the_task_makes_problems() -> None:
    task = instruction()
    train, held_out = (task.problems(split, seed=1, size=20) for split in Split)
    assert not {p.prompt for p in train} & {p.prompt for p in held_out}
    assert task.prompt(train[0]) == train[0].prompt
    assert task.grade(train[0], "<think>\nhm").verdict is Verdict.UNGRADABLE


Writer = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Writer:
    def write(*rows: dict[str, object]) -> Path:
        path = tmp_path / "input_data.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return path

    return write


def row(ids: object, kwargs: object, **more: object) -> dict[str, object]:
    return {"prompt": "Write of hills.", "instruction_id_list": ids, "kwargs": kwargs, **more}


NO_COMMA = row(["punctuation:no_comma"], [{}], key=1000)
GERMAN = row(
    ["language:response_language", "length_constraints:number_words"],
    [{"language": "de"}, {"num_words": 300, "relation": "at least"}],
    key=1001,
    prompt="Write of lakes.",
)


def test_a_file(written: Writer) -> None:
    """Unknown arguments that are null, and numbers with a point, are as the hub's copy has them."""
    words = row(
        ["length_constraints:number_words"],
        [{"num_words": 5.0, "relation": "at least", "keywords": None}],
        prompt="Write.",
    )
    task = instruction(written(NO_COMMA, words))
    first, second = sorted(task.problems(None), key=lambda p: p.id)
    assert (first.id, second.id) == ("instruction-1000", "instruction-2")
    assert task.grade(first, PROSE.replace(",", "")).is_correct
    assert not task.grade(first, PROSE).is_correct
    assert task.grade(second, PROSE).is_correct


def test_what_cannot_be_checked_is_refused_and_the_others_go_on(written: Writer) -> None:
    data = written(NO_COMMA, GERMAN)
    found = read_instructions(data)
    assert found.refused == [
        Refused(row=2, reason="nothing here checks language:response_language")
    ]
    assert [p.id for p in found.problems] == ["instruction-1000"]
    assert len(instruction(data).problems(None)) == 1


@pytest.mark.parametrize(
    ("ids", "kwargs", "said"),
    [
        (["language:response_language", "a:b"], [{}, {}], "language:response_language, a:b"),
        ("punctuation:no_comma", [{}], "must be lists"),
        (["punctuation:no_comma"], [{}, {}], "1 instruction ids and 2 kwargs"),
        (["punctuation:no_comma"], [3], "kwargs of punctuation:no_comma are 3"),
        (["startend:end_checker"], [{}], "end_phrase None; it must be a text"),
        ([["punctuation:no_comma"]], [{}], "nothing here checks"),
    ],
)
def test_a_file_without_a_usable_row(
    written: Writer, ids: object, kwargs: object, said: str
) -> None:
    with pytest.raises(BadFile, match=rf"no row that can be checked; row 1: .*{said}"):
        instruction(written(row(ids, kwargs)))


def test_a_file_without_the_columns(written: Writer) -> None:
    with pytest.raises(BadFile, match="kwargs"):
        instruction(written({"prompt": "?", "instruction_id_list": []}))
