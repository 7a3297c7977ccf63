"""Work is what the stages then do."""

from pathlib import Path

import pytest

from penjing.tasks.problem import Split
from penjing.tasks.task import Task
from penjing.train.footprint import Batch
from penjing.train.journey import made_task
from penjing.train.models import PROMPT_ROOM, Held, new_model
from penjing.train.recipe import Evaluation, Finetune, Pretrain, ReinforceStage, Reject, read_recipe
from penjing.train.texts import read_documents
from penjing.train.workload import evaluation_work, prompts_of, work_of, worst_case
from tests.train.test_journey import TEXT

RECIPE = read_recipe(TEXT.replace("MODEL", "student"), "tiny")
STAGES = {stage.name: stage for stage in RECIPE.stages}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder = tmp_path_factory.mktemp("model")
    return new_model("student", RECIPE.models["student"], folder, 1)


def task(name: str) -> Task:
    return made_task(RECIPE.tasks[name])


def test_prompts_have_the_tokens_of_the_task(held: Held) -> None:
    found = prompts_of(held, task("sums"))
    assert found == prompts_of(held, task("sums"), Split.TRAIN)
    assert 10 < found.mean <= found.longest < 40


def test_pretraining_learns_from_prompts_and_traces(held: Held) -> None:
    stage = STAGES["base"]
    assert isinstance(stage, Pretrain)
    found = work_of(RECIPE, stage, held, task)
    assert found.generated == 0
    assert found.learnt_from == pytest.approx(60 * 32 * (found.prompt + found.response))
    assert found.batch is not None
    assert found.batch.tokens == pytest.approx(32 * (found.prompt + found.response), abs=1)


def test_reinforcement_generates_and_learns_prompts_once_a_group(held: Held) -> None:
    stage = STAGES["zero"]
    assert isinstance(stage, ReinforceStage)
    found = work_of(RECIPE, stage, held, task)
    assert found.response == 6  # half of the 12 that it may have
    assert found.generated == 4 * 6 * 4 * 6
    assert found.learnt_from == pytest.approx(4 * (6 * found.prompt + 6 * 4 * 6))
    assert found.has_reference
    assert found.length == PROMPT_ROOM + 12
    assert found.batch is not None
    assert found.batch.learnt == 24 * 12
    expected = work_of(RECIPE, stage.model_copy(update={"mean_tokens": 9.0}), held, task)
    assert expected.generated == 4 * 6 * 4 * 9


def test_a_small_pass_bounds_the_piece(held: Held) -> None:
    stage = STAGES["zero"]
    assert isinstance(stage, ReinforceStage)
    small = work_of(RECIPE, stage.model_copy(update={"max_tokens_a_pass": 100}), held, task)
    assert small.batch is not None
    assert small.batch.tokens <= 100 + small.batch.longest


def test_rejections_generate_and_their_rows_are_learnt_from(held: Held) -> None:
    stage, tuned = STAGES["data"], STAGES["tuned"]
    assert isinstance(stage, Reject)
    assert isinstance(tuned, Finetune)
    assert work_of(RECIPE, stage, held, task).generated == 40 * 4 * 6
    learnt = work_of(RECIPE, tuned, held, task)
    assert learnt.generated == 0
    assert 0 < learnt.learnt_from / tuned.epochs <= 40 * (learnt.prompt + learnt.response)


def test_evaluations_generate_for_every_task(held: Held) -> None:
    asked = Evaluation(task="sums", problems=4, samples=2, max_tokens=12)
    assert evaluation_work(asked, held, task).generated == 4 * 2 * 6
    twice = asked.model_copy(update={"others": ["sums"]})
    assert evaluation_work(twice, held, task).generated == 2 * 4 * 2 * 6


def test_the_worst_case_fills_a_piece() -> None:
    found = worst_case(Batch(tokens=100, learnt=60, longest=20), 1000)
    assert [len(one.ids) for one in found] == [20] * 5
    assert sum(one.num_learnt for one in found) == 60
    assert [len(one.ids) for one in worst_case(Batch(tokens=5, learnt=4, longest=20), 8)] == [8]


def test_files_are_counted_as_they_are(held: Held, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "1 + 2", "response": "3"}\n{"prompt": "7", "response": "70"}\n')
    tuned = STAGES["tuned"].model_copy(update={"data": [str(path)]})
    assert isinstance(tuned, Finetune)
    found = work_of(RECIPE, tuned, held, task)
    documents = read_documents(held, [path])
    tokens = sum(len(one.ids) for one in documents)
    assert found.learnt_from == tuned.epochs * tokens
    assert found.batch is not None
    assert found.batch.longest == max(len(one.ids) for one in documents)
