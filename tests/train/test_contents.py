"""What a recipe contains: what a stage takes from it where it says nothing itself."""

from penjing.train.recipe import read_recipe

TEXT = """
name = "mine"
[tasks.sums]
name = "reasoning_gym/chain_sum"
[tasks.words]
name = "reasoning_gym/spell_backward"
[evaluation]
task = "sums"
problems = 2
samples = 1
max_tokens = 8
[[stages]]
name = "one"
kind = "sft"
start = "./base"
data = ["rows.jsonl"]
epochs = 1
batch = 2
learning_rate = 1e-3
until = { accuracy = 0.5, every = 10, problems = 20 }
[[stages]]
name = "two"
kind = "reinforce"
start = "one"
task = "words"
steps = 1
problems = 1
group_size = 2
max_tokens = 64
learning_rate = 1e-5
until = { task = "sums", accuracy = 0.5, every = 10, problems = 20 }
evaluation = { task = "words", problems = 3, samples = 4, max_tokens = 5 }
[[stages]]
name = "three"
kind = "reject"
start = "two"
task = "sums"
problems = 1
samples = 2
max_tokens = 64
"""


def test_a_stage_is_measured_as_the_recipe_says_or_as_it_says_itself() -> None:
    recipe = read_recipe(TEXT, "here")
    one, two, three = recipe.stages
    assert recipe.evaluation_of(one) == recipe.evaluation_of(three) == recipe.evaluation
    own = recipe.evaluation_of(two)
    assert own is not None
    assert (own.task, own.problems, own.samples) == ("words", 3, 4)


def test_a_stop_rule_takes_what_it_lacks_from_its_stage_or_from_the_evaluation() -> None:
    recipe = read_recipe(TEXT, "here")
    found = [recipe.until_of(stage) for stage in recipe.stages]
    assert [(u.task, u.max_tokens) if u else None for u in found] == [
        ("sums", 8),
        ("sums", 64),
        None,
    ]


def test_the_digest_is_that_of_the_text() -> None:
    one, same, other = (read_recipe(t, "here") for t in (TEXT, TEXT, f"{TEXT}# more\n"))
    assert one.digest == same.digest != other.digest
