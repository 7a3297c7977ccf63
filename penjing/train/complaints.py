"""What is wrong with a recipe as a whole: names of what is not there, and parts that disagree."""

from collections.abc import Iterator, Sequence

from penjing.errors import BadFile
from penjing.tasks.catalogue import FAMILY, Needs, find_task
from penjing.train.algorithm import check_stage
from penjing.train.contents import Recipe, TaskChoice
from penjing.train.settings import RESERVED
from penjing.train.stages import AnyStage, DistilStage, Evaluation, Finetune, Reject


def complain(recipe: Recipe) -> None:
    """Raises ``BadFile`` for the first thing, and what ``check_stage`` and ``find_task`` raise."""
    for complaint in _complaints(recipe):
        raise BadFile(complaint)
    for stage in recipe.stages:
        check_stage(stage)


def _complaints(recipe: Recipe) -> Iterator[str]:
    for name in (*recipe.tasks, *recipe.checkpoints):
        if name in recipe.models or (name in recipe.tasks and name in recipe.checkpoints):
            yield f"two things are called {name}; rename one"
    for name, choice in recipe.tasks.items():
        yield from _of_task(name, choice, recipe)
    if recipe.evaluation:
        yield from _of_evaluation("the evaluation", recipe.evaluation, recipe)
    earlier: list[AnyStage] = []
    for stage in recipe.stages:
        yield from _of_stage(stage, earlier, recipe)
        earlier.append(stage)


def _of_task(name: str, choice: TaskChoice, recipe: Recipe) -> Iterator[str]:
    if bool(choice.name) is bool(choice.mixture):
        yield f"the task {name} must have a name, or a mixture, and not both"
    for part, weight in choice.mixture.items():
        if part not in recipe.tasks:
            yield _unknown(f"the task {name} mixes in", part, list(recipe.tasks))
        elif recipe.tasks[part].mixture:
            yield f"the task {name} mixes in {part}, which is a mixture itself; name its parts"
        if weight < 1:
            yield f"the task {name} takes {weight} of {part} in turn; it must be at least 1"
    if choice.mixture:
        return
    info = find_task(choice.name)
    if choice.options and not choice.name.startswith(FAMILY):
        yield f"the task {choice.name} takes no options; families of reasoning_gym do"
    if info.needs is Needs.FILE and not choice.data:
        yield (
            f"the task {name} ({choice.name}) needs data: a file with the columns {info.columns}, "
            "or hub:owner/name/path of one"
        )


def _of_evaluation(whose: str, asked: Evaluation, recipe: Recipe) -> Iterator[str]:
    for task in (asked.task, *asked.others):
        if task not in recipe.tasks:
            yield _unknown(f"{whose} has the task", task, list(recipe.tasks))


def _of_stage(stage: AnyStage, earlier: Sequence[AnyStage], recipe: Recipe) -> Iterator[str]:
    whose = f"stage {stage.name}"
    taken = [one.name for one in earlier]
    if stage.name in (*taken, *recipe.models, *recipe.checkpoints):
        yield f"two things are called {stage.name}; rename the stage"
    if stage.name in RESERVED:
        yield f"no stage can be called {stage.name}, which is a key of recipes; rename it"
    models = [
        *recipe.models,
        *recipe.checkpoints,
        *(one.name for one in earlier if not isinstance(one, Reject)),
    ]
    yield from _of_model(f"{whose} starts from", stage.start, models)
    if isinstance(stage, DistilStage):
        yield from _of_model(f"{whose} has the teacher", stage.teacher, models)
    task = getattr(stage, "task", None)
    if task is not None and task not in recipe.tasks:
        yield _unknown(f"{whose} has the task", task, list(recipe.tasks))
    if isinstance(stage, Finetune):
        sources = [one.name for one in earlier if isinstance(one, Reject)]
        for data in stage.data:
            if not data.endswith(".jsonl") and data not in sources:
                yield _unknown(f"{whose} has the data", data, sources)
    own = getattr(stage, "evaluation", None)
    if own is not None:
        yield from _of_evaluation(whose, own, recipe)
    yield from _of_until(whose, stage, recipe)


def _of_model(what: str, name: str, known: Sequence[str]) -> Iterator[str]:
    is_path = "/" in name or "." in name
    if not is_path and name not in known:
        yield _unknown(what, name, known)


def _of_until(whose: str, stage: AnyStage, recipe: Recipe) -> Iterator[str]:
    until = recipe.until_of(stage)
    if until is None:
        return
    if until.task is None or until.max_tokens is None:
        yield f"{whose}: until needs a task and max_tokens; give both, or the recipe an evaluation"
    elif until.task not in recipe.tasks:
        yield _unknown(f"{whose}: until has the task", until.task, list(recipe.tasks))


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    return f"{what} {name!r}, which is not there; there are: {', '.join(known) or 'none'}"
