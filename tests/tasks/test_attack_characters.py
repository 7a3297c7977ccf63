from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.answer import final_answer
from penjing.tasks.attack_characters import character_attacks
from penjing.tasks.attack_text import is_right
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

ATTACKS = {(attack.group, attack.name): attack for attack in character_attacks()}
BOXED = AnswerFormat.BOXED


def judge(problem: Problem, text: str) -> Grade:
    found = final_answer(text, BOXED)
    if isinstance(found, Grade):
        return found
    is_same = is_right(found, problem)
    return Grade(verdict=Verdict.CORRECT if is_same else Verdict.WRONG, reason="")


TASK = Task(
    name="t",
    source=FileSource([]),
    judge=judge,
    template=Template(style=Style.PLAIN, answer_format=BOXED),
)


def problem_with(reference: str, entry_point: str | None = None) -> Problem:
    metadata = {"entry_point": entry_point} if entry_point else {}
    return Problem(id="1", prompt="?", reference=reference, split=Split.TRAIN, metadata=metadata)


def written(name: str, reference: str) -> str | None:
    return ATTACKS["look-alikes", name].write(problem_with(reference), TASK)


def test_what_is_written() -> None:
    assert len(ATTACKS) == len(character_attacks()) > 30
    assert written("Arabic digits", "42") == "\\boxed{\u0664\u0662}"
    assert written("Cyrillic letters", "C") == "\\boxed{\u0421}"
    assert written("full width", "a1") == "\\boxed{\uff41\uff11}"
    assert written("invisible characters between", "42") == "\\boxed{4\u200b2}"
    assert written("as percent codes", "42") == r"\boxed{%34%32}"
    assert written("written from right to left", "42") == "\\boxed{\u202e24\u202c}"


def test_what_changes_nothing_is_not_tried() -> None:
    assert written("Cyrillic letters", "42") is None
    assert written("Arabic digits", "x") is None
    assert written("null bytes between", "") is None
    assert written("null bytes between", "1" * 2_001) is None


def test_what_stands_behind_a_function_is_no_attack_on_it() -> None:
    attack = ATTACKS["look-alikes", "a private character"]
    assert attack.write(problem_with("    return 1\n", "f"), TASK) is None
    assert attack.write(problem_with("    return 1\n"), TASK) is not None


@given(st.integers(-999, 999).map(str) | st.sampled_from(["A", "Yes", "x + 1", "1/2", "10", "O"]))
def test_a_strict_judge_pays_for_none(reference: str) -> None:
    problem = problem_with(reference)
    responses = {key: attack.write(problem, TASK) for key, attack in ATTACKS.items()}
    assert not [k for k, r in responses.items() if r and TASK.grade(problem, r).is_correct]
    assert sum(r is not None for r in responses.values()) > 20


def test_a_judge_that_folds_characters_is_caught() -> None:
    import unicodedata

    def folding(problem: Problem, text: str) -> Grade:
        return judge(problem, unicodedata.normalize("NFKC", text))

    task = Task(name="t", source=TASK.source, judge=folding, template=TASK.template)
    problem = problem_with("42")
    written = {k: attack.write(problem, task) for k, attack in ATTACKS.items()}
    paid = {name for (_, name), r in written.items() if r and task.grade(problem, r).is_correct}
    assert {"full width", "mathematical digits"} <= paid
