"""What is wrong with a recipe as a whole is said before anything runs, in one line."""

import pytest

from penjing.errors import BadFile, BadQuantity, UnknownName
from penjing.train.recipe import read_recipe

TEXT = """
name = "mine"
[tasks.sums]
name = "reasoning_gym/chain_sum"
options = { min_terms = 2 }
[tasks.words]
name = "reasoning_gym/spell_backward"
[tasks.both]
mixture = { sums = 2, words = 1 }
[checkpoints.base]
source = "./base"
[evaluation]
task = "both"
others = ["sums"]
problems = 2
samples = 1
max_tokens = 8
[[stages]]
name = "data"
kind = "reject"
start = "base"
task = "sums"
problems = 4
samples = 2
max_tokens = 16
[[stages]]
name = "student"
kind = "distil"
start = "base"
teacher = "./teacher"
task = "sums"
steps = 1
problems = 4
max_tokens = 16
learning_rate = 1e-3
[[stages]]
name = "sft"
kind = "sft"
start = "student"
data = ["data", "rows.jsonl"]
epochs = 1
batch = 2
learning_rate = 1e-3
until = { accuracy = 0.5, every = 1, problems = 2 }
"""


def test_it_is_sound_as_it_is() -> None:
    assert [stage.name for stage in read_recipe(TEXT, "here").stages] == ["data", "student", "sft"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "sft"', 'name = "data"', "two things are called data; rename the stage"),
        ('name = "sft"', 'name = "base"', "two things are called base"),
        ('name = "sft"', 'name = "tasks"', "no stage can be called tasks"),
        ("[checkpoints.base]", "[checkpoints.sums]", "two things are called sums"),
        ('start = "student"', 'start = "data"', "stage sft starts from 'data', which is not there"),
        ('teacher = "./teacher"', 'teacher = "big"', "stage student has the teacher 'big'"),
        ('teacher = "./teacher"', 'teacher = "sft"', "stage student has the teacher 'sft'"),
        ('data = ["data"', 'data = ["student"', "stage sft has the data 'student'"),
        ('task = "both"', 'task = "all"', "the evaluation has the task 'all'"),
        ('others = ["sums"]', 'others = ["sum"]', "the evaluation has the task 'sum'"),
        ("until = {", 'until = { task = "x",', "stage sft: until has the task 'x'"),
        ("mixture = { sums = 2", "mixture = { sum = 2", "the task both mixes in 'sum'"),
        ("mixture = { sums = 2", "mixture = { sums = 0", "takes 0 of sums in turn"),
        ("mixture = { sums = 2", "mixture = { both = 2", "both, which is a mixture itself"),
        ("mixture = { sums = 2, words = 1 }", "", "the task both must have a name, or a mixture"),
        ("mixture = {", 'name = "gsm8k"\nmixture = {', "and not both"),
        ('name = "reasoning_gym/spell_backward"', 'name = "gsm8k"', "words .gsm8k. needs data"),
        ('name = "reasoning_gym/chain_sum"', 'name = "countdown"', "countdown takes no options"),
    ],
)
def test_what_is_not_there_is_named(before: str, after: str, said: str) -> None:
    assert before in TEXT
    with pytest.raises(BadFile, match=said) as caught:
        read_recipe(TEXT.replace(before, after, 1), "here")
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "kind", "said"),
    [
        ("reasoning_gym/chain_sum", "reasoning_gym/chain_sun", UnknownName, "nearest: reasoning_g"),
        ("learning_rate = 1e-3", "learning_rate = 10", BadQuantity, "the learning rate is 10"),
    ],
)
def test_what_parts_refuse_says_where(
    before: str, after: str, kind: type[Exception], said: str
) -> None:
    assert before in TEXT
    with pytest.raises(kind, match=said) as caught:
        read_recipe(TEXT.replace(before, after, 1), "here")
    assert str(caught.value).startswith("here: ")


def test_a_stop_rule_needs_something_to_measure() -> None:
    begin, end = TEXT.index("[evaluation]"), TEXT.index("[[stages]]")
    with pytest.raises(BadFile, match="stage sft: until needs a task and max_tokens"):
        read_recipe(TEXT[:begin] + TEXT[end:], "here")
