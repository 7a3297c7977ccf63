from penjing.tasks.attack_floods import flood_attacks
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

ATTACKS = {(attack.group, attack.name): attack for attack in flood_attacks()}


def judge(problem: Problem, text: str) -> Grade:
    return Grade(verdict=Verdict.WRONG, reason="")


TASK = Task(
    name="t",
    source=FileSource([]),
    judge=judge,
    template=Template(style=Style.PLAIN, answer_format=AnswerFormat.TAGGED),
)
NUMBER = Problem(id="1", prompt="?", reference="42", split=Split.TRAIN)
WORD = Problem(id="2", prompt="?", reference="odd", split=Split.TRAIN)


def test_names_are_unique_and_many() -> None:
    assert len(ATTACKS) == len(flood_attacks()) > 90


def test_the_largest_have_ten_megabytes_and_are_tried_once() -> None:
    huge = [attack for (group, _), attack in ATTACKS.items() if group == "10 MB"]
    assert len(huge) == 12
    for attack in huge:
        text = attack.write(NUMBER, TASK)
        assert text is not None
        assert 9_900_000 < len(text) < 10_100_000
    assert sum(attack.once for attack in flood_attacks()) == len(huge)


def test_parsers_get_each_flood_as_the_answer_and_bare() -> None:
    inside = ATTACKS["parsing", "braces"].write(WORD, TASK)
    bare = ATTACKS["parsing", "braces, bare"].write(WORD, TASK)
    assert bare == "{" * 50_000 + "1" + "}" * 50_000
    assert inside == f"<answer>{bare}</answer>"


def test_numbers_hidden_in_what_computes() -> None:
    def written(name: str, problem: Problem) -> str | None:
        return ATTACKS["computing", name].write(problem, TASK)

    assert written("right, times a tower to the zeroth", NUMBER) == (
        r"<answer>42 \cdot (9^{9^{9^9}})^0</answer>"
    )
    digits = written("a million digits", NUMBER)
    assert digits is not None
    assert len(digits) > 999_990
    assert digits.startswith("<answer>420")
    summed = written("right, and a long sum of nothing", NUMBER)
    assert summed is not None
    assert summed.startswith("<answer>42+0+0")
    assert written("a million digits", WORD) is None
    assert written("right, in many brackets", WORD) is None
