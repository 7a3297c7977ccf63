"""Every setting with its source."""

from itertools import groupby

from penjing.report.knobs import RECIPE, Knob, knobs_of
from penjing.report.markup import Html, element, joined
from penjing.report.run import Run
from penjing.report.wording import counted


def knob_table(run: Run) -> Html:
    knobs = knobs_of(run)
    if not knobs:
        return element("p", "The recipe cannot be read.", class_="lead")
    rest = "; what it leaves unsaid has the default" if _all_of_recipe(knobs) else ""
    lead = f"{counted(len(knobs), 'setting')}. Those without a source stand in the recipe{rest}."
    groups = [
        element("section", element("h4", stage), element("dl", *map(_row, of_stage)))
        for stage, of_stage in groupby(knobs, key=lambda knob: knob.stage)
    ]
    return joined(element("p", lead, class_="lead"), element("div", *groups, class_="knobs"))


def _all_of_recipe(knobs: list[Knob]) -> bool:
    return all(knob.source == RECIPE for knob in knobs)


def _row(knob: Knob) -> Html:
    source = None if knob.source == RECIPE else element("dd", knob.source, class_="source")
    return element("div", element("dt", knob.key), element("dd", knob.value), source)
