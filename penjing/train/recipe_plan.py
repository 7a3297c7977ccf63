"""The plan of a recipe, made before anything runs, and kept beside the run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from penjing.engine.load import available_bytes
from penjing.errors import DoesNotFit, RequestError
from penjing.models.catalogue import load_model
from penjing.models.kernels.choice import Numerics
from penjing.models.parameters import count_parameters
from penjing.tasks.task import Task
from penjing.train.contents import Recipe
from penjing.train.forecast import Forecast, Rates, Work, forecast, measure_rates, require_room
from penjing.train.loop import forget_peak
from penjing.train.models import Held, device
from penjing.train.stages import AnyStage, Dtype, ReinforceStage, Reject
from penjing.train.workload import evaluation_work, work_of
from penjing.units import format_bytes


class Kind(NamedTuple):
    """What decides how long a token takes, and its bytes: measured once for all stages of it."""

    root: str
    dtype: Dtype
    numerics: Numerics


def plan_recipe(
    recipe: Recipe, fresh: Callable[[str, Dtype], Held], task: Callable[[str], Task]
) -> list[Forecast]:
    """One forecast a stage; ``fresh`` gives a model to measure on, and to throw away, by its name.

    Raises ``DoesNotFit`` for the first stage that this machine has no room for.
    """
    found: dict[str, Forecast] = {}
    for kind in dict.fromkeys(kind_of(recipe, stage) for stage in recipe.stages):
        held = fresh(kind.root, kind.dtype)
        own = [stage for stage in recipe.stages if kind_of(recipe, stage) == kind]
        works = {stage.name: work_of(recipe, stage, held, task) for stage in own}
        measured = {stage.name: _evaluation(recipe, stage, held, task) for stage in own}
        forget_peak()  # what was drawn to count prompts is no part of the run
        for stage in own:
            one = forecast(stage.name, works[stage.name], None, held, Rates(generate=0, learn=0))
            require_room(one, _largest(stage, one))
        rates = measure_rates(held, _typical([*works.values(), *filter(None, measured.values())]))
        forget_peak()
        for stage in own:
            work, evaluated = works[stage.name], measured[stage.name]
            found[stage.name] = forecast(stage.name, work, evaluated, held, rates)
    return [found[stage.name] for stage in recipe.stages]


def kind_of(recipe: Recipe, stage: AnyStage) -> Kind:
    root = root_of(recipe, stage.name)
    if isinstance(stage, Reject):
        return Kind(root, Dtype.FP32, Numerics.EXACT)
    return Kind(root, stage.dtype, stage.numerics)


def require_trainable(recipe: Recipe) -> None:
    """Known checkpoints that are hopelessly large are refused before they are fetched."""
    room = available_bytes(device())
    for name, choice in recipe.checkpoints.items():
        try:
            config = load_model(choice.source)
        except RequestError:  # not one that we know: its own config will tell
            continue
        parameters = count_parameters(config).total
        least = 2.0 * parameters  # bf16 weights alone
        if least > room:
            raise DoesNotFit(
                f"{name} is {config.name}: its {parameters / 1e9:.0f} billion parameters take "
                f"{format_bytes(least)} as weights alone and some eight times that to train, and "
                f"{format_bytes(room)} are free here; a model of some {room / 16e9:.2g} billion "
                "would fit, and penjing plan says what this one takes on many chips",
                shortfall_bytes=least - room,
                nearest=f"{room / 16e9:.2g} billion parameters",
            )


def root_of(recipe: Recipe, name: str) -> str:
    """The model of the recipe, or the checkpoint, that a stage comes from in the end."""
    starts = {stage.name: stage.start for stage in recipe.stages}
    while name in starts:
        name = starts[name]
    return name


def _evaluation(
    recipe: Recipe, stage: AnyStage, held: Held, task: Callable[[str], Task]
) -> Work | None:
    asked = None if isinstance(stage, Reject) else recipe.evaluation_of(stage)
    return None if asked is None else evaluation_work(asked, held, task)


def _typical(works: Sequence[Work]) -> Work:
    """Lengths to measure at: those of what generates and learns, if anything does both."""
    both = [work for work in works if work.generated and work.batch]
    first = (both or works)[0]
    return replace(
        first,
        generated=sum(work.generated for work in works),
        batch=next((work.batch for work in works if work.batch), None),
    )


def _largest(stage: AnyStage, one: Forecast) -> str:
    """What of the stage's settings would fit, roughly."""
    room = one.footprint.activations - one.shortfall_bytes
    if room > 0 and not isinstance(stage, Reject):
        share = room / one.footprint.activations
        least = max(1, int(stage.max_tokens_a_pass * share))
        return f"max_tokens_a_pass = {least} would fit"
    if isinstance(stage, ReinforceStage) and one.footprint.reference:
        return "kl = 0 would save the reference"
    parameters = one.footprint.weights / 4
    fits = parameters * max(0.0, 1 - one.shortfall_bytes / one.footprint.total)
    return f"a model of some {fits / 1e9:.2g} billion parameters would fit"
